"""The mark of a queried pixel."""

from __future__ import annotations

import cv2
import numpy as np

from featmap.geometry import View
from featmap.rendering.boxes import line_width

DARK, LIGHT = (0, 0, 0), (255, 255, 255)
_SHIFT = 4  # binary digits of a pixel in which OpenCV is told a place


def draw_query(picture: np.ndarray, position: tuple[float, float], view: View) -> np.ndarray:
    """A copy of an (H, W, 3) RGB uint8 panel with a ring and a dot, white in black, on a position of the original.

    Args:
        picture: A panel of the view's size.
        position: Continuous ``(x, y)`` in pixels of the original; nothing is drawn where the view does not show it.
        view: What the panel shows.
    """
    place = place_in(view, position)
    if place is None:
        return picture
    picture = np.ascontiguousarray(picture).copy()
    # Pixel 0 of OpenCV has its centre at 0.
    centre = tuple(round((at - 0.5) * (1 << _SHIFT)) for at in place)
    width = max(round(0.6 * line_width(picture.shape)), 1)
    radius = max(min(picture.shape[:2]) / 60, 3 * width + 1)
    for color, edge in ((DARK, width), (LIGHT, 0)):
        ring, dot = round(radius * (1 << _SHIFT)), round((0.6 * width + edge * 0.8) * (1 << _SHIFT))
        cv2.circle(picture, centre, ring, color, width + 2 * edge, cv2.LINE_AA, _SHIFT)
        cv2.circle(picture, centre, dot, color, -1, cv2.LINE_AA, _SHIFT)
    return picture


def place_in(view: View, position: tuple[float, float]) -> tuple[float, float] | None:
    """Where a position of the original stands on a panel, continuous ``(x, y)``; None where the view ends before."""
    left, top, right, bottom = view.window
    (x, y), (step_x, step_y) = position, view.step
    if not (left <= x < right and top <= y < bottom):
        return None
    return (x - left) / step_x, (y - top) / step_y
