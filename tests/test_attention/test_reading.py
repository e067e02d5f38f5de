"""What is taken for attention weights, and what is not."""

from __future__ import annotations

import pytest
import torch

from featmap.attention import matrices_in
from featmap.attention.reading import attended, numbered
from tests.attention_helpers import share, table

INPUT = (32, 48)
WEIGHTS = table(25, 25).softmax(dim=-1)
FEATURES = torch.rand(1, 8, 4, 6)


@pytest.mark.parametrize(
    ('value', 'heads', 'averaged'),
    [
        (WEIGHTS[None], 2, False),
        (WEIGHTS, 2, False),  # heads in the place of a batch of one
        (WEIGHTS[None].mean(dim=1), 1, True),
        (WEIGHTS[None].half(), 2, False),
        (WEIGHTS[None].bfloat16(), 2, False),
        (WEIGHTS[None, :, :5], 2, False),
    ],
)
def test_rows_that_sum_to_one_over_tokens_are(value, heads, averaged):
    (found,) = matrices_in((FEATURES, value), (), INPUT)
    assert (found.path, found.averaged, found.weights.shape[0]) == ('[1]', averaged, heads)
    assert found.weights.shape[1:] == value.shape[-2:]


@pytest.mark.parametrize(
    'value',
    [
        FEATURES,
        torch.rand(1, 8, 32, 48).softmax(dim=1),  # probabilities of classes
        WEIGHTS[None] * 0.9,
        WEIGHTS[None] - 0.01,
        torch.zeros(1, 2, 25, 25),
        torch.full((1, 2, 25, 25), float('nan')),
        WEIGHTS.expand(6, 2, 25, 25),  # of windows: the first axis is no batch of one
        torch.ones(1, 2, 25, 1),
        torch.ones(1, 25, 25, dtype=torch.long),
        None,
        'text',
        torch.ones(4, 4),
    ],
)
def test_anything_else_is_not(value):
    assert matrices_in({'out': value}, (), INPUT) == []


def test_only_the_wanted_part_is_looked_at():
    output = {'a': WEIGHTS[None], 'b': (FEATURES, WEIGHTS[None])}
    assert [each.path for each in matrices_in(output, (), INPUT)] == ['[a]', '[b][1]']
    assert [each.path for each in matrices_in(output, ('b',), INPUT)] == ['[b][1]']
    assert matrices_in(output, ('b', '0'), INPUT) == []


def test_a_map_of_convolutions_is_told_by_its_size_without_a_look_at_its_values():
    meta = torch.empty(1, 64, 32, 48, device='meta')  # has no values: a look would fail
    assert matrices_in(meta, (), INPUT) == []


def test_a_row_on_the_grid_of_its_keys():
    numbers = torch.arange(1, 25).view(4, 6)
    found = attended(WEIGHTS, 7, numbers)
    assert found.shape == (1, 2, 4, 6)
    for head in range(2):
        torch.testing.assert_close(found[0, head].flatten(), share(7, head, 25)[1:])


def test_tokens_that_hold_their_numbers():
    weights = torch.full((2, 5, 24), float('nan'))
    assert numbered(weights, -1).flatten().tolist() == list(range(24))
    assert numbered(weights, -2).flatten().tolist() == list(range(5))
