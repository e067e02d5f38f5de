"""Weights between cells are shared by the cells around them, and the levels of a pyramid add up where they lie."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from featmap.attention.splat import on_finest, splat
from featmap.geometry import Cells


def test_a_weight_is_shared_by_the_four_cells_around_it():
    # Of 2 × 4 cells: x = 0.5 · 4 - 0.5 = 1.5, y = 0.375 · 2 - 0.5 = 0.25; and a centre, x = 3, y = 1.
    plane = splat(torch.tensor([0.8, 0.2]), torch.tensor([[0.5, 0.375], [0.875, 0.75]]), (2, 4))
    expected = torch.tensor([[0, 0.3, 0.3, 0], [0, 0.1, 0.1, 0.2]])  # 0.8 · ½ · ¾, 0.8 · ½ · ¼
    torch.testing.assert_close(plane, expected)


def test_what_lies_outside_is_lost_as_in_sampling():
    # On the left edge half of the bilinear window is outside, at (2, 2) all of it.
    plane = splat(torch.tensor([1.0, 1.0]), torch.tensor([[0.0, 0.25], [2.0, 2.0]]), (2, 2))
    torch.testing.assert_close(plane, torch.tensor([[0.5, 0], [0, 0]]))


def test_it_is_the_adjoint_of_sampling():
    generator = torch.Generator().manual_seed(0)
    values, weights = torch.randn(5, 7, generator=generator), torch.rand(40, generator=generator)
    locations = torch.rand(40, 2, generator=generator) * 1.4 - 0.2
    read = F.grid_sample(values[None, None], locations[None, None] * 2 - 1, align_corners=False).flatten()
    torch.testing.assert_close((splat(weights, locations, (5, 7)) * values).sum(), (weights * read).sum())


def test_levels_add_up_where_their_cells_lie():
    fine, coarse = torch.zeros(4, 4), torch.zeros(2, 2)
    fine[3, 3], coarse[0, 0] = 1.0, 16.0
    total, cells = on_finest([fine, coarse], [Cells((8.0, 8.0), known=True), Cells((16.0, 16.0), known=True)])
    assert cells.stride == (8, 8)
    # A coarse cell's amount is that of four fine ones; between centres it falls linearly: 1, 1, ¾, ¼ of it by rows.
    along = torch.tensor([1.0, 0.75, 0.25, 0.0])
    expected = 16 / 4 * along[:, None] * along[None, :]
    expected[3, 3] += 1
    torch.testing.assert_close(total, expected)
    assert float(total.sum()) == pytest.approx(17)


def test_levels_whose_grids_reach_beyond_the_image_are_placed_by_their_strides():
    # Three cells of 64 pixels over 19 of 8: the middle of the second is at 96 pixels, which is between cells 11 and 12.
    coarse = torch.tensor([[0.0], [1.0], [0.0]])
    total, _ = on_finest([torch.zeros(19, 1), coarse], [Cells((8.0, 8.0)), Cells((64.0, 64.0))])
    assert total[:, 0].topk(2).indices.sort().values.tolist() == [11, 12]
    assert float(total[11, 0]) == pytest.approx(float(total[12, 0]))
