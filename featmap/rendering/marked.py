"""What is explained, over a picture: its boxes or its region bold, all other boxes thin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from featmap.geometry import View
from featmap.rendering.boxes import bright, color_of, draw_boxes, draw_tags, line_width
from featmap.rendering.masks import contours
from featmap.rendering.query import draw_query
from featmap.structures import Detections

_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
ASKED = (255, 255, 255)
"""RGB of a box that nobody found, but that was asked about."""


@dataclass(frozen=True)
class Marked:
    """What is bold in a picture, in pixels of the original.

    Attributes:
        boxes: (M, 4) x1 y1 x2 y2.
        tags: What stands at each of them where there is room; none where the label says it.
        labels: (M,) their class numbers, for their colours; -1 where there is none.
        among: The numbers that they have among the detections, which are not drawn once more.
        region: (H, W) bool; None for none.
        asked: (4,), a box that was asked about and not found, drawn thin and dashed; None for none.
    """

    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    tags: tuple[str, ...] = ()
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    among: tuple[int, ...] = ()
    region: np.ndarray | None = None
    asked: tuple[float, float, float, float] | None = None

    @property
    def pixel(self) -> tuple[float, float] | None:
        """``(x, y)``, the middle of a region that is a single pixel; None for any other."""
        if self.region is None or np.count_nonzero(self.region) != 1:
            return None
        y, x = np.argwhere(self.region)[0]
        return float(x) + 0.5, float(y) + 0.5


def draw_marked(
    picture: np.ndarray, marked: Marked, detections: Detections | None, view: View, tags: bool = True
) -> np.ndarray:
    """A copy of an (H, W, 3) RGB uint8 panel with what is explained, bold, over all other boxes, thin.

    Args:
        picture: The panel, of the view's size.
        marked: What is explained.
        detections: All that was found, in pixels of the original; None for none.
        view: What the panel shows.
        tags: Whether to write the tags.
    """
    picture = np.ascontiguousarray(picture).copy()
    if detections is not None and len(detections):
        picture = draw_boxes(picture, others(detections, marked.among).seen(view), tags=False)
    if marked.pixel is not None:
        picture = draw_query(picture, marked.pixel, view)
    elif marked.region is not None:
        _outline(picture, view.picture(marked.region.astype(np.float32)) > 0.5)
    if marked.asked is not None:
        left, top, right, bottom = np.round(view.boxes(np.array([marked.asked], np.float32))[0]).astype(int).tolist()
        _dashed(picture, (left, top, right, bottom))
    shown = view.shows(marked.boxes)
    boxes, labels = view.boxes(marked.boxes[shown]), marked.labels[shown]
    colors = [color_for(detections, int(label)) for label in labels]
    for (left, top, right, bottom), color in zip(np.round(boxes).astype(int).tolist(), colors):
        width = max(min(bold(picture.shape), round(min(right - left, bottom - top) / 10)), 1)
        # Around the box, or a small one would be hidden by what shows it.
        for number, ink in enumerate([color] * width + [_WHITE, _BLACK]):
            corners = (left - number, top - number), (right + number, bottom + number)
            cv2.rectangle(picture, *corners, ink, 1)
    if tags and marked.tags:
        draw_tags(picture, boxes, [tag for tag, seen in zip(marked.tags, shown) if seen], colors)
    return picture


def others(detections: Detections, among: Sequence[int]) -> Detections:
    """All boxes but those of these numbers, without masks, which would hide the heat."""
    rest = np.setdiff1d(np.arange(len(detections)), among)
    parts = {name: getattr(detections, name)[rest] for name in ('boxes', 'scores', 'labels')}
    return Detections(**parts, classes=detections.classes, palette=detections.palette)


def color_for(detections: Detections | None, label: int) -> tuple[int, int, int]:
    """The RGB colour of a bold box: its class's, bright enough to be seen on heat."""
    known = Detections() if detections is None else detections  # one that is empty has a palette, too
    return ASKED if label < 0 else bright(color_of(known, label))


def bold(shape: tuple[int, ...]) -> int:
    """The width of a bold line on a picture of this (height, width), edges not counted."""
    return max(round(1.3 * line_width(shape)), 2)


def _outline(picture: np.ndarray, mask: np.ndarray) -> None:
    """Draw the outlines of an (H, W) bool mask, white in black, which is seen on any colour."""
    lines, width = contours(mask), max(line_width(picture.shape) * 2 // 3, 1)
    cv2.drawContours(picture, lines, -1, _BLACK, width + 2, cv2.LINE_AA)
    cv2.drawContours(picture, lines, -1, _WHITE, width, cv2.LINE_AA)


def _dashed(picture: np.ndarray, box: tuple[int, int, int, int]) -> None:
    """Draw a box, black and white by turns."""
    left, top, right, bottom = box
    width = max(round(0.7 * line_width(picture.shape)), 1)
    dash = 5 * width
    cv2.rectangle(picture, (left, top), (right, bottom), _BLACK, width)
    for start in range(left, right, 2 * dash):
        for y in (top, bottom):
            cv2.line(picture, (start, y), (min(start + dash, right), y), _WHITE, width)
    for start in range(top, bottom, 2 * dash):
        for x in (left, right):
            cv2.line(picture, (x, start), (x, min(start + dash, bottom)), _WHITE, width)
