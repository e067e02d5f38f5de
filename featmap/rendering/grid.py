"""The borders of a map's cells over its panel."""

from __future__ import annotations

import numpy as np

from featmap.geometry import Axis, Warp

LEAST_CELL = 5  # pixels of the panel; lines that are closer would hide the map


def draw_grid(panel: np.ndarray, warp: Warp) -> np.ndarray:
    """A copy of an (H, W, 3) RGB uint8 panel with a line where one cell of the warp ends and the next begins.

    Lines are dark on a light panel and light on a dark one, and half transparent. None are drawn where the image was
    cut off, and none along an axis whose cells are under 5 pixels.
    """
    lines = np.zeros(panel.shape[:2], dtype=bool)
    lines[_borders(warp.rows)] = True
    lines[:, _borders(warp.columns)] = True
    lines = lines if warp.kept is None else lines & warp.seen()
    picture = panel.copy()
    under = picture[lines].astype(np.int16)
    ink = 0 if panel[::4, ::4].mean() > 110 else 255
    picture[lines] = ((under + ink) // 2).astype(np.uint8)
    return picture


def _borders(axis: Axis) -> np.ndarray:
    """The first pixel of each cell but the first."""
    borders = np.flatnonzero(np.diff(axis.nearest)) + 1
    close = len(borders) > 1 and np.diff(borders).min() < LEAST_CELL
    return borders[:0] if close else borders
