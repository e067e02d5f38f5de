"""The borders of cells over a panel."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.geometry import ImageGeometry, View
from featmap.rendering.grid import draw_grid

WARP = ImageGeometry.whole((16, 32)).warper((2, 4), (8.0, 8.0))


def test_a_line_where_a_cell_begins():
    panel = np.full((16, 32, 3), 200, np.uint8)
    changed = (draw_grid(panel, WARP) != panel).any(axis=-1)
    np.testing.assert_array_equal(np.flatnonzero(changed[0]), [8, 16, 24])
    np.testing.assert_array_equal(np.flatnonzero(changed[:, 0]), [8])
    assert (panel == 200).all()


@pytest.mark.parametrize(('level', 'line'), [(200, 100), (0, 127), (255, 127)])
def test_lines_can_be_seen_on_dark_and_light(level, line):
    assert tuple(draw_grid(np.full((16, 32, 3), level, np.uint8), WARP)[8, 0]) == (line,) * 3


def test_cells_too_small_to_draw_get_no_lines():
    panel = np.full((8, 16, 3), 200, np.uint8)
    warp = ImageGeometry.whole((16, 32)).warper((4, 8), (4.0, 4.0), View.of((16, 32), 16))
    np.testing.assert_array_equal(draw_grid(panel, warp), panel)


def test_a_single_cell_has_no_border():
    panel = np.full((16, 32, 3), 200, np.uint8)
    np.testing.assert_array_equal(draw_grid(panel, ImageGeometry.whole((16, 32)).warper((1, 1))), panel)
