"""The best classes of an image as a panel: a name, a bar and a probability for each."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from featmap.classification import MOST
from featmap.rendering.fonts import clusters
from featmap.rendering.text import SEPARATOR, draw_lines, font_size, line_height, printable, text_width
from featmap.rendering.tile import Cell
from featmap.structures import Detections

BAR, TRACK = (158, 202, 225), (238, 238, 238)
"""RGB colours: dark text reads well on both."""
_NARROWEST = 14.0  # times the size of the text
_LEAST = 11  # pixels: the smallest text
_IN_LABELS = 24  # characters of a name, lest it widen all panels
_LONGEST = 200  # characters of a name; a file may have any number


def chart_cell(shape: tuple[int, int], detections: Detections) -> Cell:
    """The panel of a (height, width); where that is too small for text, the names are in its label."""
    assert detections.classification is not None
    parts = list(detections.classification.title)
    if not _text_size(shape):
        best = detections.classification
        for (name, share), label in zip(best.ranking(detections.classes), best.labels):
            parts.append(f'{elided(name, int(label), lambda part: len(part) <= _IN_LABELS)} {share}')
    return Cell(draw_chart(shape, detections), SEPARATOR.join(parts))


def draw_chart(shape: tuple[int, int], detections: Detections) -> np.ndarray:
    """The best classes, one below the other, the best on top: (height, width, 3) RGB uint8.

    A bar is as long, of the panel's width, as the class is probable. A name that is too long is cut, and followed by
    the number of the class. A panel that is too small for text has the bars alone.
    """
    best = detections.classification
    assert best is not None
    height, width = shape
    picture = np.full((height, width, 3), 255, np.uint8)
    size = _text_size(shape)
    pitch = min(height / MOST, 3.0 * line_height(size)) if size else height / MOST
    ranking = best.ranking(detections.classes)
    for row, ((name, share), label, score) in enumerate(zip(ranking, best.labels, best.scores)):
        top, bottom = round(row * pitch), max(round((row + 1) * pitch - max(pitch / 8, 1)), round(row * pitch) + 1)
        cv2.rectangle(picture, (0, top), (width - 1, bottom - 1), TRACK, cv2.FILLED)
        if (end := round(float(score) * width)) > 0:
            cv2.rectangle(picture, (0, top), (end - 1, bottom - 1), BAR, cv2.FILLED)
        if size:
            _write(picture[top:bottom], name, share, int(label), size)
    return picture


def _text_size(shape: tuple[int, int]) -> int:
    """In pixels, for a panel of a (height, width); 0 where there is no room for text."""
    height, width = shape
    usual = font_size(height, width)
    size = int(min(max(usual, 0.3 * height / MOST), 1.6 * usual, width / _NARROWEST, height / MOST / 1.4))
    return size if size >= _LEAST else 0


def _write(plate: np.ndarray, name: str, share: str, label: int, size: int) -> None:
    """Name left and share right, in the middle of a plate, which is written to."""
    height, width = plate.shape[:2]
    gap = size // 2
    right = text_width(share, size)
    room = width - right - 3 * gap
    text = elided(name, label, lambda part: text_width(part, size) <= room)
    high = line_height(size) + size // 5
    first, over = max((height - high) // 2, 0), max((high - height) // 2, 0)
    for said, x in ((text, gap), (share, width - right - gap)):
        ink = draw_lines([said], size, (high, min(text_width(said, size) + 2, width - x)))[over : over + height]
        under = plate[first : first + len(ink), x : x + ink.shape[1]]
        under[:] = cv2.multiply(under, ink, scale=1 / 255)  # as ink takes from what it is put on


def elided(name: str, label: int, fits: Callable[[str], bool]) -> str:
    """A name as it is where it fits, else its beginning and the number of its class, or the number alone."""
    name = printable(name)
    if len(name) <= _LONGEST and fits(name):
        return name
    parts = clusters(name[:_LONGEST])
    low, high = 0, len(parts)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(_cut(parts[:middle], label)) else (low, middle - 1)
    return _cut(parts[:low], label) if low else f'#{label}'


def _cut(parts: list[str], label: int) -> str:
    return f'{"".join(parts).rstrip()}… #{label}'
