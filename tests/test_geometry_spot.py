"""Which cell of a map holds a pixel of the original."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.errors import DrawError
from featmap.geometry import Cells, ImageGeometry, Spot, position_of, spot_of

WHOLE = ImageGeometry.whole((48, 64))
# 100 x 50 pixels, doubled, 10 columns and 20 rows of padding before: 200 x 100 in an input of 240 x 160.
LETTERBOXED = ImageGeometry((50, 100), (160, 240), (2.0, 2.0), (10, 20))
CUT = ImageGeometry((100, 200), (64, 64), (1.0, 1.0), (-68, -18))


@pytest.mark.parametrize(
    ('geometry', 'query', 'cells', 'shape', 'cell'),
    [
        (WHOLE, (0, 0), Cells((8, 8)), (6, 8), (0, 0)),
        (WHOLE, (63, 47), Cells((8, 8)), (6, 8), (5, 7)),
        (WHOLE, (15, 16), Cells((8, 8)), (6, 8), (2, 1)),
        (WHOLE, (7.9, 8.1), Cells((8, 8)), (6, 8), (1, 0)),
        (WHOLE, (20, 20), Cells((8, 16)), (6, 4), (2, 1)),
        (LETTERBOXED, (30, 10), Cells((8, 8)), (20, 30), (5, 8)),  # 61 + 10 across, 21 + 20 down
        (LETTERBOXED, (0, 0), Cells((32, 32)), (5, 8), (0, 0)),
        (LETTERBOXED, (99, 49), Cells((8, 8)), (20, 30), (14, 26)),
        # One cell was taken away before the first, as convolutions without padding do; outer cells reach to the edges.
        (WHOLE, (20, 20), Cells((8, 8), (1.0, 1.0)), (4, 6), (1, 1)),
        (WHOLE, (2, 2), Cells((8, 8), (1.0, 1.0)), (4, 6), (0, 0)),
        (WHOLE, (63, 47), Cells((8, 8), (1.0, 1.0)), (4, 6), (3, 5)),
        (ImageGeometry((48, 64), (48, 64), flip=(True, False)), (0, 0), Cells((8, 8)), (6, 8), (0, 7)),
        (ImageGeometry((48, 64), (48, 64), flip=(True, True)), (63, 40), Cells((8, 8)), (6, 8), (0, 0)),
        (CUT, (68, 18), Cells((16, 16)), (4, 4), (0, 0)),
        (CUT, (131, 81), Cells((16, 16)), (4, 4), (3, 3)),
    ],
)
def test_the_cell_under_a_pixel_by_hand(geometry, query, cells, shape, cell):
    spot = spot_of(geometry, query, shape, cells)
    assert (spot.row, spot.column) == cell
    assert spot == Spot(query, *cell)


@pytest.mark.parametrize('flip', [(False, False), (True, False), (True, True)])
def test_it_is_the_cell_that_is_drawn_there(flip):
    geometry = ImageGeometry((50, 100), (160, 240), (2.0, 2.0), (10, 20), flip)
    numbers = np.arange(20 * 30, dtype=np.float32).reshape(20, 30)
    drawn = geometry.warper((20, 30), (8, 8)).nearest()(numbers[None])[0]
    for x, y in ((0, 0), (31, 7), (57, 44), (99, 49), (3, 49)):
        spot = spot_of(geometry, (x, y), (20, 30), Cells((8, 8)))
        assert drawn[y, x] == numbers[spot.row, spot.column]


@pytest.mark.parametrize(
    ('query', 'reason'),
    [
        (
            (64, 0),
            'query=(64, 0) lies outside of the image of 64×48 pixels: expected X from 0 to 63 and Y from 0 to 47',
        ),
        (
            (0, 48),
            'query=(0, 48) lies outside of the image of 64×48 pixels: expected X from 0 to 63 and Y from 0 to 47',
        ),
        (
            (-1, 3.5),
            'query=(-1, 3.5) lies outside of the image of 64×48 pixels: expected X from 0 to 63 and Y from 0 to 47',
        ),
    ],
)
def test_a_place_outside_of_the_image_is_refused_with_its_size(query, reason):
    with pytest.raises(DrawError) as caught:
        spot_of(WHOLE, query, (6, 8), Cells((8, 8)))
    assert str(caught.value) == reason


def test_what_was_cut_off_is_refused():
    with pytest.raises(DrawError) as caught:
        spot_of(CUT, (20, 50), (4, 4), Cells((16, 16)))
    assert str(caught.value) == (
        'query=(20, 50) lies where the preprocessing cut the image of 200×100 pixels off: the network was shown '
        '68,18 – 132,82 of it'
    )


def test_a_whole_number_is_the_middle_of_its_pixel():
    assert position_of((312, 200)) == (312.5, 200.5)
    assert position_of((312.25, 200.0)) == (312.25, 200.5)
    assert Spot((312.0, 200.0), 7, 12).pixel == '312,200'
    assert Spot((312.25, 200.0), 7, 12).pixel == '312.25,200'
    assert Spot((312.0, 200.0), 7, 12).name == 'cell 12,7'
