"""Channels of a head by name, with numbers that can be followed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from featmap.errors import OptionError
from featmap.meaning import Meaning, repeated, unknown
from featmap.reducers import build_reducer, reduce
from featmap.reducers.base import shows

HALF = 0.0  # sigmoid
THIRD, QUARTER, NINETENTHS = (math.log(p / (1 - p)) for p in (1 / 3, 0.25, 0.9))
# Two anchors of (cat, dog) on a map of one row and two columns.
SCORES = torch.tensor([[[HALF, QUARTER]], [[THIRD, HALF]], [[QUARTER, NINETENTHS]], [[HALF, QUARTER]]])
ONES = torch.ones(1, 2)


def meaning(**changes) -> Meaning:
    return Meaning(
        **{'kind': 'cls', 'level': 'P3', 'attributes': ('cat', 'dog'), 'classes': (0, 1), 'anchors': 2,
           'activation': 'sigmoid', **changes}
    )  # fmt: skip


def by_name(*channels, item: Meaning | None = None, maps=SCORES):
    return reduce(build_reducer('channels', channels=list(channels)), maps, ONES, item or meaning())


def test_a_class_is_the_most_likely_of_all_anchors():
    made = by_name('dog', 'cat')
    torch.testing.assert_close(made.values, torch.tensor([[[1 / 2, 1 / 2]], [[1 / 2, 0.9]]]))
    assert made.names == ('dog · sigmoid, max of 2 anchors', 'cat · sigmoid, max of 2 anchors')
    assert made.channels == (None, None)


def test_numbers_beside_names_are_channels_as_they_are():
    made = by_name(3, 'cat')
    torch.testing.assert_close(made.values[0], SCORES[3])
    assert made.channels == (3, None)
    assert made.names[0] == 'channel 3 (dog, anchor 1)'
    with pytest.raises(OptionError, match='no channel 4'):
        by_name(4, 'cat')


def test_a_score_is_the_class_times_what_the_head_multiplies_it_with():
    factor = torch.tensor([[[NINETENTHS, HALF]], [[HALF, QUARTER]]])
    item = meaning(factor=factor, factor_kind='obj')
    made = by_name('dog:score', 'score', item=item)
    torch.testing.assert_close(
        made.values[0], torch.tensor([[0.9 / 3, 0.25]])
    )  # 1/3·0.9 or 1/2·1/2; 1/2·1/2 or 1/4·1/4
    torch.testing.assert_close(made.values[1], torch.tensor([[0.45, 0.25]]))  # cat: 1/2·0.9; 0.9·1/4
    assert made.names == (
        'dog · score = cls × obj, max of 2 anchors',
        'best class · score = cls × obj, max of 2 anchors',
    )
    alone = by_name('dog:score')
    torch.testing.assert_close(alone.values, by_name('dog').values)
    assert alone.names == ('dog · score = cls, max of 2 anchors',)


def test_a_softmax_counts_the_background():
    logits = torch.tensor([2.0, 1.0, 1.0]).log().view(3, 1, 1)
    item = meaning(attributes=('cat', 'dog', 'background'), anchors=1, activation='softmax')
    made = by_name('cat', 'dog', item=item, maps=logits)
    torch.testing.assert_close(made.values.flatten(), torch.tensor([0.5, 0.25]))
    assert made.names == ('cat · softmax', 'dog · softmax')
    assert item.describe(2) == 'background'
    assert not item.has('background')


def test_probabilities_stay_what_they_are():
    maps = torch.tensor([[[0.2]], [[0.7]]])
    made = by_name('dog', item=meaning(anchors=1, levels=(maps,)), maps=maps)
    assert float(made.values) == pytest.approx(0.7)
    assert made.names == ('dog · probability',)
    assert by_name('dog', item=meaning(anchors=1, levels=(maps, -maps)), maps=maps).names == ('dog · sigmoid',)


def test_which_outputs_have_a_name():
    boxes, objectness = Meaning('box', 'P3', ('box 0',)), Meaning('obj', 'P3', ('objectness',), scores=(0,))
    dog, number = build_reducer('channels', channels=['dog']), build_reducer('channels', channels=['dog', 1])
    assert [shows(dog, item) for item in (meaning(), boxes, objectness)] == [True, False, False]
    assert shows(build_reducer('channels', channels='objectness'), objectness)
    assert shows(number, boxes)
    assert shows(build_reducer('l2'), boxes)
    assert shows(dog, unknown('no head'))  # it says why
    with pytest.raises(OptionError, match="no channel is called 'dog': no head"):
        by_name('dog', item=unknown('no head'))
    with pytest.raises(OptionError, match='no output of a detection head'):
        reduce(dog, SCORES, ONES)


def test_names_in_a_chain():
    chain = build_reducer(['channels', 'squeeze_mean'], channels=['cat', 'dog'])
    made = reduce(chain, SCORES, ONES, meaning())
    torch.testing.assert_close(made.values, torch.tensor([[[0.5, 0.7]]]))
    assert not shows(chain, Meaning('box', 'P3', ('box 0',)))


@pytest.mark.parametrize(
    ('given', 'channels'),
    [
        ('traffic light', ('traffic light',)),
        ('cat, traffic light', ('cat', 'traffic light')),
        (['cat', '3', 4, '6-7', 'dog:score'], ('cat', 3, 4, 6, 7, 'dog:score')),
        (['猫', 'cat', 'cat'], ('猫', 'cat')),
    ],
)
def test_how_names_are_written(given, channels):
    assert build_reducer('channels', channels=given).channels == channels


def test_two_classes_of_one_name_are_told_apart():
    assert repeated(('a', 'b', 'a', 'a')) == ('a', 'b', 'a (2)', 'a (3)')
