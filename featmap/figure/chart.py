"""The best classes of an image in a figure: a panel of names, bars and probabilities, all of them vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from featmap.classification import MOST
from featmap.figure.style import SMALLEST, Type, side_by_side
from featmap.figure.tiles import Tile
from featmap.rendering.chart import BAR, TRACK, elided
from featmap.structures import Detections

_LEADING = 1.45  # of the size of the text: from one bar to the next at least
_NARROWEST = 12.0  # times the size of the text
_FILLED = 0.88  # of that, by the bar
LOWEST = MOST * _LEADING * SMALLEST
"""Points: a lower panel has no room for the classes."""


@dataclass(frozen=True)
class Blank:
    """Nothing: all that is drawn is laid over it."""

    def pictures(self, shape: tuple[int, int]) -> list[np.ndarray]:
        """White at this height and width: (h, w, 3) RGB uint8."""
        return [np.full((*shape, 3), 255, np.uint8)]


def chart_tile(detections: Detections) -> Tile:
    """The panel of a classification, and what is said of it."""
    assert detections.classification is not None
    name, *parts = detections.classification.title
    return Tile(Blank(), 0, name, tuple(parts), plot=partial(draw_chart, detections))


def draw_chart(detections: Detections, axes: Axes, type: Type, shape: tuple[float, float]) -> None:
    """Draw the best classes, the best on top, on axes of a (height, width) in points.

    A name that is too long is cut, and followed by the number of the class.
    """
    best = detections.classification
    assert best is not None
    height, width = shape
    pitch = min(height / MOST, 3 * type.body)
    size = max(min(type.body, pitch / _LEADING, width / _NARROWEST), SMALLEST)
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    gap, ranking = size / 2, best.ranking(detections.classes)
    how = {**type.how(size), 'color': 'black', 'verticalalignment': 'center_baseline'}
    for row, ((name, share), label, score) in enumerate(zip(ranking, best.labels, best.scores)):
        top, high = row * pitch, _FILLED * pitch
        for color, long in ((TRACK, 1.0), (BAR, float(score))):
            bar = Rectangle((0, top), long * width, high, facecolor=np.array(color) / 255, linewidth=0)
            axes.add_patch(bar)
        room = width - 3 * gap - type.width(share, size)
        shown = _cut(name, int(label), type, size, room)
        axes.text(gap, top + high / 2, side_by_side(shown), **how)
        axes.text(width - gap, top + high / 2, share, horizontalalignment='right', **how)


def _cut(name: str, label: int, type: Type, size: float, room: float) -> str:
    return elided(name, label, lambda part: type.width(side_by_side(part), size) <= room)


def texts(detections: Detections) -> list[str]:
    """All that the panel says."""
    best = detections.classification
    return [] if best is None else [text for pair in best.ranking(detections.classes) for text in pair]
