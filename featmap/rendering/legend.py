"""Which colour stands for which class, below a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from featmap.rendering.boxes import color_of
from featmap.rendering.text import draw_lines, font_size, line_height, text_width
from featmap.structures import Detections, Rendering

_LINES = 6  # of which a legend has at most; a network without training sees every class


class Entry(NamedTuple):
    """A line of a legend: what stands there, and its RGB colour."""

    text: str
    color: tuple[int, int, int]


def entries_of(detections: Detections) -> list[Entry]:
    """The classes of segments, the largest first: name, number of segments where several, share of the image."""
    if detections.segments is None:
        return []
    entries = []
    for label, count, share in detections.segments.classes():
        percent = f'{share:.0%}' if share >= 0.01 else '<1%'
        times = f' ×{count}' if count > 1 else ''
        entries.append(Entry(f'{detections.class_name(label)}{times}, {percent}', color_of(detections, label)))
    return entries


def add_legend(rendering: Rendering, entries: list[Entry]) -> Rendering:
    """The picture with a legend below it, of at most six lines; itself where there is nothing to tell."""
    if not entries:
        return rendering
    panel, width = rendering.panels[0], rendering.image.shape[1]
    size = font_size(panel.height, panel.width)
    margin, height = max(panel.x, 2), line_height(size) + 2
    x, row = margin, 0
    legend = np.full((_LINES * height, width, 3), 255, dtype=np.uint8)
    for number, entry in enumerate(entries):
        rest = len(entries) - number
        more = text_width(f'and {rest} more', size) if rest > 1 else 0
        needed = 2 * size + text_width(entry.text, size)
        last = row == _LINES - 1
        if x + needed + (size + more if last else 0) > width and x > margin:
            if last:
                _write(legend, f'and {rest} more', size, (x, row * height), height)
                break
            x, row = margin, row + 1
        top = row * height
        legend[top + height // 4 : top + height - height // 4, x : x + size] = entry.color
        _write(legend, entry.text, size, (x + size + size // 3, top), height)
        x += needed + size // 2
    legend = legend[: (row + 1) * height + size // 2]
    return replace(rendering, image=np.concatenate([rendering.image, legend]))


def _write(picture: np.ndarray, text: str, size: int, corner: tuple[int, int], height: int) -> None:
    x, y = corner
    width = min(text_width(text, size) + 1, picture.shape[1] - x)
    if width > 0:
        picture[y : y + height, x : x + width] = draw_lines([text], size, (height, width))
