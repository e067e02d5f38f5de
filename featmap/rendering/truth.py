"""Ground truth over a picture: what was found, what was missed, and what is false.

Lines differ in dash and in brightness as well as in hue, and tags say which is which, so that colours need not be told
apart. The hues are of the set by Okabe and Ito (https://jfly.uni-koeln.de/color/), which most readers can tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from featmap.geometry import View
from featmap.matching import Match
from featmap.rendering.boxes import draw_tags, has_room_for_tags, line_width


@dataclass(frozen=True)
class Style:
    """How a group of boxes is drawn: RGB colours of line and edge, and dash and gap in line widths; (1, 0) is solid."""

    color: tuple[int, int, int]
    edge: tuple[int, int, int]
    dash: tuple[float, float] = (1, 0)


FOUND = Style((0, 114, 178), (255, 255, 255))
MISSED = Style((213, 94, 0), (255, 255, 255), (6, 3))
FALSE = Style((240, 228, 66), (0, 0, 0), (1.5, 2.5))
IGNORED = Style((150, 150, 150), (255, 255, 255), (1.5, 4))


def draw_match(picture: np.ndarray, match: Match, view: View | None = None) -> np.ndarray:
    """A copy of an (H, W, 3) RGB panel with the objects that were found and missed, and the detections of nothing.

    Found objects (solid) stand where the ground truth has them, with the detection's class and score; missed ones
    (dashed) too; false detections (dotted) where the detector has them; ignored boxes (sparsely dotted) untagged.

    Args:
        picture: The panel.
        match: Ground truth and detections, in pixels of the original.
        view: Which part of the original the panel shows; None for all of it, pixel for pixel.
    """
    picture = np.ascontiguousarray(picture).copy()
    view = view or View.of(picture.shape[:2])
    truth, detections = match.truth, match.detections
    found, false, missed = match.found, match.false, match.missed
    objects = match.of_detection[found]
    classes = [detections.class_name(int(label)) for label in truth.labels]
    groups = [
        (IGNORED, truth.boxes[truth.ignored | truth.crowd], []),
        (FOUND, truth.boxes[objects], [f'{classes[o]} {detections.scores[d]:.2f}' for o, d in zip(objects, found)]),
        (FALSE, detections.boxes[false], [f'false: {detections.name(d)} {detections.scores[d]:.2f}' for d in false]),
        (MISSED, truth.boxes[missed], [f'missed: {classes[index]}' for index in missed]),
    ]
    width = max(line_width(picture.shape), 2 if has_room_for_tags(picture.shape) else 1)  # or edges would hide it
    for style, boxes, _ in groups:
        for left, top, right, bottom in np.round(view.boxes(boxes[view.shows(boxes)])).astype(int).tolist():
            _rectangle(picture, (left, top, right, bottom), style, width)
    tagged = [
        (box, text, style.color)
        for style, boxes, texts in groups[::-1]  # what went wrong chooses its places first
        for box, text, shown in zip(view.boxes(boxes), texts, view.shows(boxes))
        if shown
    ]
    if tagged:
        boxes, texts, colors = zip(*tagged)
        draw_tags(picture, np.array(boxes), texts, colors)
    return picture


def _rectangle(picture: np.ndarray, box: tuple[int, int, int, int], style: Style, width: int) -> None:
    left, top, right, bottom = box
    on, off = (max(part * width, 1.0) if part else 0.0 for part in style.dash)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    pieces = [
        piece for start, end in zip(corners, [*corners[1:], corners[0]]) for piece in _dashes(start, end, on, off)
    ]
    for color, thickness in ((style.edge, width + 2), (style.color, width)):
        before, after = (thickness - 1) // 2, thickness // 2
        for (x, y), (end_x, end_y) in pieces:  # not as lines, whose ends are round
            first = min(x, end_x) - before, min(y, end_y) - before
            cv2.rectangle(picture, first, (max(x, end_x) + after, max(y, end_y) + after), color, cv2.FILLED)


def _dashes(
    start: tuple[int, int], end: tuple[int, int], on: float, off: float
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The pieces of a line: as many whole dashes as fit, evenly, with one at each end, so that corners are closed."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    if not off or length <= 2 * on + off:
        return [(start, end)]
    count = max(round((length - on) / (on + off)), 1)
    step = (length - on) / count
    spans = [(number * step / length, (number * step + on) / length) for number in range(count + 1)]
    return [(_between(start, end, first), _between(start, end, last)) for first, last in spans]


def _between(start: tuple[int, int], end: tuple[int, int], share: float) -> tuple[int, int]:
    return round(start[0] + (end[0] - start[0]) * share), round(start[1] + (end[1] - start[1]) * share)
