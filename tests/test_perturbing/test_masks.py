"""Masks over a network input."""

from __future__ import annotations

import pytest
import torch

from featmap.geometry import Cells, ImageGeometry
from featmap.perturbing import ChannelMasks, Frame, RandomMasks, Windows, hats

FRAME = Frame(0, 0, 32, 32, (32, 32))


def b_spline(distance: torch.Tensor) -> torch.Tensor:
    """The cubic B-spline, as its two polynomials are written."""
    far = distance.abs()
    return torch.where(far < 1, 2 / 3 - far**2 + far**3 / 2, (2 - far).clamp(min=0) ** 3 / 6)


def test_the_frame_is_what_holds_image():
    letterboxed = ImageGeometry((640, 1024), (640, 640), (0.625, 0.625), (0, 120))
    assert Frame.of(letterboxed) == (120, 0, 400, 640, (640, 640))
    flipped = ImageGeometry((640, 1024), (640, 640), (0.625, 0.625), (0, 120), flip=(True, True))
    assert Frame.of(flipped) == (120, 0, 400, 640, (640, 640))
    # A centre crop: 32 of 64 columns, 8 to the left of the input.
    assert Frame.of(ImageGeometry((32, 64), (32, 32), (1.0, 1.0), (-16, 0))) == (0, 0, 32, 32, (32, 32))
    assert Frame.of(ImageGeometry((32, 64), (32, 32), (1.0, 1.0), (0, 0), crop=(4, 0, 20, 32))).width == 16


def test_cells_of_a_frame_are_about_square_and_lie_on_it():
    frame = Frame(120, 0, 400, 640, (640, 640))
    assert frame.grid(16) == (10, 16)
    assert frame.grid(1) == (1, 1)
    # (i + 0.5 + offset) · stride: the first row's middle is 20 pixels below the frame's top.
    assert frame.cells((10, 16)) == Cells((40, 40), (3, 0), known=True)


def test_hats_by_hand():
    shares = hats(torch.tensor([0.0, 0.25, 1.5, 2.0, -3.0, 9.0]), 3)
    assert shares.tolist() == [[1, 0, 0], [0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1], [1, 0, 0], [0, 0, 1]]


def test_random_masks_are_the_same_in_any_portions_and_by_their_seed():
    masks = RandomMasks(FRAME, 12, seed=3)
    whole = masks[:]
    assert whole.shape == (12, 32, 32)
    assert len(masks) == 12
    torch.testing.assert_close(torch.cat([masks[0:5], masks[5:6], masks[6:40]]), whole, rtol=0, atol=1e-6)
    assert torch.equal(RandomMasks(FRAME, 12, seed=3)[:], whole)
    assert not torch.equal(RandomMasks(FRAME, 12, seed=4)[:], whole)


def test_random_masks_reach_from_0_to_1_and_are_piecewise_linear():
    masks = RandomMasks(Frame(0, 0, 64, 64, (64, 64)), 20, cells=2)[:]  # knots 32 pixels apart: one bend a row, or two
    assert masks.min() >= 0
    assert masks.max() <= 1
    bends = (masks[:, :, 2:] - 2 * masks[:, :, 1:-1] + masks[:, :, :-2]).abs() > 1e-4
    assert bends.any(dim=1).sum(dim=1).max() <= 4  # two pixels see each of at most two knots


def test_every_cell_kept_is_the_image_and_none_kept_the_baseline():
    assert RandomMasks(FRAME, 3, kept=1.0)[:].allclose(torch.ones(3, 32, 32))
    assert RandomMasks(FRAME, 3, kept=0.0)[:].eq(0).all()


@pytest.mark.parametrize('kept', [0.5, 0.2])
def test_mean_and_covariance_of_random_masks_are_those_of_theory(kept):
    masks = RandomMasks(Frame(0, 0, 32, 32, (32, 32)), 20000, cells=4, kept=kept, seed=1)[:]
    torch.testing.assert_close(masks.mean(dim=0), torch.full((32, 32), kept), atol=0.015, rtol=0)
    row = masks[:, 17]
    covariance = ((row - kept) * (row[:, 5:6] - kept)).mean(dim=0)
    distance = (torch.arange(32) - 5) / 8  # in cells
    expected = kept * (1 - kept) * b_spline(distance) * 2 / 3
    torch.testing.assert_close(covariance, expected, atol=0.004, rtol=0)


def test_cells_of_masks_are_square_on_any_image():
    masks = RandomMasks(Frame(0, 0, 16, 64, (16, 64)), 4000, cells=4, seed=0)  # 2 × 8 of 8 × 8 pixels
    assert masks.grid(1) == (2, 8)
    assert masks.grid(8) == (16, 64)
    values = masks[:] - 0.5
    for line in (values[:, 8, 20:36], values[:, :, 20]):
        covariance = (line * line[:, :1]).mean(dim=0)
        expected = 0.25 * b_spline(torch.arange(16) / 8) * 2 / 3
        torch.testing.assert_close(covariance, expected, atol=0.012, rtol=0)


def test_coarse_masks_are_the_same_masks_elsewhere():
    masks = RandomMasks(Frame(4, 2, 24, 30, (32, 32)), 5)
    fine, coarse = masks[1:4], masks.coarse(slice(1, 4), (8, 10))
    # Cells of 3 × 3 pixels: their middles are those of pixels.
    torch.testing.assert_close(coarse, fine[:, 5:28:3, 3:32:3])


def test_windows_hide_each_cell_as_often():
    frame = Frame(2, 0, 4, 6, (8, 6))
    windows = Windows(frame, (2, 3), size=2)
    assert len(windows) == 3 * 4
    masks = windows[:]
    hidden = (1 - masks).sum(dim=0)
    assert hidden[2:6].eq(4).all()
    assert hidden[:2].eq(0).all()
    assert hidden[6:].eq(0).all()
    first, middle = torch.ones(8, 6), torch.ones(8, 6)
    first[2:4, 0:2] = 0  # only its last cell lies on the frame
    middle[2:6, 0:4] = 0
    assert torch.equal(masks[0], first)
    assert torch.equal(masks[5], middle)
    assert torch.equal(torch.cat([windows[0:7], windows[7:99]]), masks)


def test_values_of_windows_are_spread_over_what_they_hide():
    windows = Windows(Frame(0, 0, 2, 3, (2, 3)), (2, 3), size=2)
    values = torch.zeros(1, 12)
    values[0, 5] = 8.0  # hides rows 0 to 1, columns 0 to 1
    assert windows.spread(values).tolist() == [[[2, 2, 0], [2, 2, 0]]]


def test_channels_as_masks():
    features = torch.tensor([[[1.0, 3]], [[5, 5]], [[0, -4]]])
    masks = ChannelMasks(features, Cells((4.0, 4.0)), (4, 8))
    line = torch.tensor([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    assert len(masks) == 3
    torch.testing.assert_close(masks[0:1][0], line.expand(4, 8))
    assert masks[1:2].eq(0).all()
    torch.testing.assert_close(masks[2:3][0], line.flip(0).expand(4, 8))


def test_channels_as_masks_lie_where_the_cells_lie():
    features = torch.tensor([[[0.0, 1, 0]]])
    masks = ChannelMasks(features, Cells((8.0, 4.0), (0.0, 0.5)), (8, 16))
    assert masks[:][0, 0].argmax() in (7, 8)  # (1 + 0.5 + 0.5) · 4
