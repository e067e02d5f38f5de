"""Relevance through attention: the equations of the paper, written out with whole matrices, and one net by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from featmap.attention.keys import KeyMap, Keys
from featmap.attention.relevant import relevant_for
from featmap.attention.rollout import ACROSS, IMAGE, QUERIES, relevance, weighted
from featmap.attention.tape import AttentionTape
from featmap.errors import LayerError
from featmap.geometry import Cells


def by_the_paper(steps, tokens: int, queries: int) -> Tensor:
    """R_qi by equations 6 to 10 as they stand."""
    r_ii, r_qq, r_qi = torch.eye(tokens), torch.eye(queries), torch.zeros(queries, tokens)

    def normalised(r: Tensor) -> Tensor:
        plain = r - torch.eye(len(r))
        sums = plain.sum(dim=1, keepdim=True)
        return torch.where(sums > 0, plain / sums, plain) + torch.eye(len(r))

    for kind, matrix in steps:
        if kind == IMAGE:
            r_ii = r_ii + matrix @ r_ii
        elif kind == QUERIES:
            r_qq, r_qi = r_qq + matrix @ r_qq, r_qi + matrix @ r_qi
        else:
            r_qi = r_qi + normalised(r_qq).T @ (matrix @ normalised(r_ii))
    return r_qi


@pytest.mark.parametrize('encoder', [0, 1, 3])
def test_object_queries_over_image_tokens(encoder):
    generator = torch.Generator().manual_seed(encoder)
    extents = {IMAGE: (6, 6), QUERIES: (4, 4), ACROSS: (4, 6)}
    steps = [
        (kind, torch.rand(*extents[kind], generator=generator)) for kind in [IMAGE] * encoder + [QUERIES, ACROSS] * 3
    ]
    steps[-2][1][1] = 0  # a query that attends to nothing
    whole = by_the_paper(steps, 6, 4)
    for query in range(4):
        row = torch.eye(4)[query]
        torch.testing.assert_close(relevance(steps, row), whole[query])


def test_image_tokens_alone():
    first, second = torch.tensor([[0.0, 1.0], [0.5, 0.0]]), torch.tensor([[0.25, 0.5], [0.0, 0.0]])
    # (I + second)(I + first) = [[1.25, 0.5], [0, 1]] [[1, 1], [0.5, 1]]
    torch.testing.assert_close(relevance([(IMAGE, first), (IMAGE, second)], torch.eye(2)[0]), torch.tensor([1.5, 1.75]))


def test_heads_are_averaged_after_negative_evidence_is_left_out():
    weights = torch.tensor([[[0.5, 0.5]], [[0.2, 0.8]]])
    gradient = torch.tensor([[[2.0, -2.0]], [[-1.0, 1.0]]])
    torch.testing.assert_close(weighted(weights, gradient), torch.tensor([[0.5, 0.4]]))


class TwoHeads(nn.Module):
    """Attention of two heads by a table; the second head's values count ``sign`` times."""

    def __init__(self, shares: list[list[list[float]]], sign: float) -> None:
        super().__init__()
        self.register_buffer('logits', torch.tensor(shares).log()[None])
        self.register_buffer('signs', torch.tensor([1.0, sign]).view(1, 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        values = x[:, None] * self.signs
        return x + (self.logits.softmax(dim=-1) @ values).sum(dim=1)


class TwoTokens(nn.Module):
    """Two layers of two heads over two tokens of one number; the answer is the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.first = TwoHeads([[[1 / 4, 3 / 4], [1 / 2, 1 / 2]], [[1 / 2, 1 / 2], [1 / 3, 2 / 3]]], -1.0)
        self.second = TwoHeads([[[3 / 4, 1 / 4], [1 / 2, 1 / 2]], [[1 / 2, 1 / 2], [1 / 2, 1 / 2]]], 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))[0, 0, 0]


def somewhere(layer: str, call: int, tokens: Tensor, grids=()) -> Keys:
    return Keys(layer, (KeyMap(tokens[0, :, 0].long()[None], Cells((1.0, 1.0))),))


def test_two_tokens_and_two_heads_by_hand():
    """Tokens x = (1, 2).

    The first layer's heads read (1.75, 1.5) and (1.5, 5/3), so that it puts out x₁ = (1 + 1.75 - 1.5, 2 + 1.5 - 5/3) =
    (1.25, 11/6), and the second y = 1.25 + (¾ · 1.25 + ¼ · 11/6) + (½ · 1.25 + ½ · 11/6).

    ∂y/∂A₂ of both heads is x₁ in the first row, 0 in the second: Ā₂ = [[⅝ · 1.25, ⅜ · 11/6], [0, 0]].
    ∂y/∂x₁ = (1 + ¾ + ½, ¼ + ½), so ∂y/∂A₁ is [[2.25 · 1, 2.25 · 2], [0.75 · 1, 0.75 · 2]] for the first head and the
    opposite of it for the second, whose part is left out: Ā₁ = ½ [[2.25 / 4, 4.5 · ¾], [0.75 / 2, 1.5 / 2]].
    """
    model = TwoTokens()
    tape = AttentionTape(model, somewhere)
    with tape:
        y = model(torch.tensor([[[1.0], [2.0]]]))
    assert float(y.detach()) == pytest.approx(1.25 + 0.9375 + 11 / 24 + 0.625 + 11 / 12)
    found = relevant_for(y, tape)
    first = torch.tensor([[0.28125, 1.6875], [0.1875, 0.375]])
    second = torch.tensor([[0.78125, 0.6875], [0.0, 0.0]])
    expected = ((torch.eye(2) + second) @ (torch.eye(2) + first))[0]
    torch.testing.assert_close(expected, torch.tensor([2.4111328125, 3.951171875]))
    torch.testing.assert_close(found.values, expected)
    assert found.rows.tolist() == [1, 0]  # of the first token, which nobody was told of
    assert found.layers == ('first', 'second')
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_does_not_depend_on_attention_is_refused():
    model = TwoTokens()
    tape = AttentionTape(model, somewhere)
    with tape:
        x = torch.ones(1, 2, 1, requires_grad=True)
        model(x)
        apart = x.sum()
    with pytest.raises(LayerError, match='no attention matrix of softmax'):
        relevant_for(apart, tape)
