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
from featmap.rendering.boxes import has_dark_ink, line_width
from featmap.rendering.tags import place_tags
from featmap.rendering.text import draw_lines, font_size, line_height, text_width

_LEAST_SIDE = 100  # pixels; tags would cover a smaller picture
_TAG = 0.7  # of the text size of labels


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
        (IGNORED, truth.boxes[truth.ignored | truth.crowd], None),
        (FOUND, truth.boxes[objects], [f'{classes[o]} {detections.scores[d]:.2f}' for o, d in zip(objects, found)]),
        (FALSE, detections.boxes[false], [f'false: {detections.name(d)} {detections.scores[d]:.2f}' for d in false]),
        (MISSED, truth.boxes[missed], [f'missed: {classes[index]}' for index in missed]),
    ]
    large = min(picture.shape[:2]) >= _LEAST_SIDE
    width = max(line_width(picture.shape), 2 if large else 1)  # a thinner line is lost between its edges
    for style, boxes, _ in groups:
        for left, top, right, bottom in np.round(view.boxes(boxes[view.shows(boxes)])).astype(int).tolist():
            _rectangle(picture, (left, top, right, bottom), style, width)
    if large:
        tagged = [(style, boxes, texts) for style, boxes, texts in groups if texts]
        _draw_tags(picture, tagged[::-1], view)  # what went wrong chooses its places first
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


def _draw_tags(picture: np.ndarray, groups: list[tuple[Style, np.ndarray, list[str]]], view: View) -> None:
    height, width = picture.shape[:2]
    size = max(round(font_size(height, width) * _TAG), 9)
    tag_height = min(line_height(size) + 2, height)
    everything = [
        (style, box, text)
        for style, boxes, texts in groups
        for box, text, shown in zip(view.boxes(boxes), texts, view.shows(boxes))
        if shown
    ]
    if not everything:
        return
    widths = np.array([min(text_width(text, size) + 6, width) for _, _, text in everything])
    corners = np.round(np.array([box for _, box, _ in everything])).astype(np.int64)
    places, _ = place_tags(corners, widths, tag_height, (height, width))
    for (style, _, text), (x, y, end_x, end_y) in zip(everything, places.astype(np.int64).tolist()):
        ink = (0, 0, 0) if has_dark_ink(style.color) else (255, 255, 255)
        picture[y:end_y, x:end_x] = draw_lines([text], size, (end_y - y, end_x - x), ink, style.color, margin=3)
