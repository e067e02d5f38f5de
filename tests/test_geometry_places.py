"""Where receptive fields have their middles: by hand, and against what really reaches a cell."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.geometry import Place
from featmap.geometry.places import AxisPlace, merged


def place(shape=(64, 96)):
    return Place.of_input(shape)


def axis(cells, step, shift):
    return AxisPlace(cells, step, shift, shift)


@pytest.mark.parametrize(
    ('kernel', 'stride', 'padding', 'dilation', 'shift'),
    [
        (1, 1, 0, 1, 0),
        (3, 1, 1, 1, 0),
        (3, 2, 1, 1, -0.5),  # output 0 looks at inputs -1 to 1, whose middle is 0.5; its nominal cell ends at 2
        (6, 2, 2, 1, 0),
        (7, 2, 3, 1, -0.5),
        (1, 2, 0, 1, -0.5),
        (2, 2, 0, 1, 0),
        (16, 16, 0, 1, 0),
        (3, 1, 0, 1, 1),
        (3, 1, 6, 6, 0),
        (3, 1, 0, 2, 2),
    ],
)
def test_a_window(kernel, stride, padding, dilation, shift):
    assert AxisPlace(64, 1.0).windowed(9, kernel, stride, padding, dilation) == axis(9, stride, shift)
    # Where cells are 4 pixels apart and 3 off, all is four times as far.
    assert axis(64, 4, 3).windowed(9, kernel, stride, padding, dilation) == axis(9, 4 * stride, 3 + 4 * shift)


def test_five_convolutions_of_stride_two():
    found = AxisPlace(64, 1.0)
    for cells, shift in ((32, -0.5), (16, -1.5), (8, -3.5), (4, -7.5), (2, -15.5)):
        found = found.windowed(cells, 3, 2, 1, 1)
        assert found == axis(cells, 64 / cells, shift)


@pytest.mark.parametrize(('kernel', 'stride', 'padding', 'shift'), [(2, 2, 0, 0), (4, 2, 1, 0), (3, 2, 1, 0.25)])
def test_a_transposed_convolution_goes_back(kernel, stride, padding, shift):
    assert axis(8, 1, 0).transposed(16, kernel, stride, padding, 1) == axis(16, 0.5, shift)


def test_slices():
    assert AxisPlace(9, 2.0).sampled(1, 2, 4) == axis(4, 4, 1)  # pixels 1, 3, 5, 7 of 2 begin at 2; their cells at 0
    assert AxisPlace(9, 2.0).sampled(3, 1, 6) == axis(6, 2, 6)
    assert AxisPlace(9, 2.0).sampled(-2, 1, 13) == axis(13, 2, -4)


@pytest.mark.parametrize(
    ('cells', 'how', 'step', 'shift', 'stretched'),
    [
        (20, {}, 16, 0, False),
        (20, {'nearest': True}, 16, 0, False),  # each cell twice: as far left as right
        (5, {'nearest': True}, 64, -16, False),  # every other cell: the first of two
        (5, {}, 64, 0, False),
        (7, {}, 320 / 7, 0, True),
        (19, {'corners': True}, 16, 8, True),
        (1, {}, 320, 0, False),
    ],
)
def test_a_resize(cells, how, step, shift, stretched):
    found = AxisPlace(10, 32.0).resized(cells, **how)
    assert (found.cells, found.stretched) == (cells, stretched)
    assert (found.step, found.low, found.high) == pytest.approx((step, shift, shift))
    assert AxisPlace(10, 32.0).resized(10, **how) == AxisPlace(10, 32.0)


def test_two_ways_to_one_map():
    straight = Place(axis(10, 8, -3), axis(12, 8, -3))
    from_above = Place(axis(10, 8, -7), axis(12, 8, -7))
    both = merged([straight, from_above])
    assert (both.stride, both.offset, both.spread) == ((8, 8), (-5 / 8, -5 / 8), (2 / 8, 2 / 8))
    assert merged([straight, straight]) == straight
    assert merged([]) is None
    assert merged([straight, place()]) is None


def test_strides_win_over_a_stretch_to_the_same_size():
    # 13 cells of 64 pixels, resized to 25: not quite the 32 of the level itself. Half-way along they agree.
    stretched = AxisPlace(13, 64.0).resized(25)
    found = AxisPlace(25, 32.0).merged(stretched)
    assert found == stretched.merged(AxisPlace(25, 32.0))
    assert (found.step, found.stretched) == (32, False)
    assert (found.low, found.high) == pytest.approx((0, 16))  # the middles: 13 · 32 against 25 · 16


@pytest.mark.parametrize(
    ('low', 'high', 'origin'),
    [(0, 0, 0), (-4, -4, 0), (-3.9, -3.9, 0), (5, 5, 1), (13, 13, 2), (-15, -3, 0), (-2, 9, 0), (-15, -9, -1)],
)
def test_whole_cells_of_the_least_shift(low, high, origin):
    found = Place(AxisPlace(9, 8.0, low, high), AxisPlace(9, 8.0)).origin
    assert found == (origin, 0)
    assert not np.signbit(found).any() or origin < 0
