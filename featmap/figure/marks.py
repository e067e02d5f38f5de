"""What is drawn over the panels of a figure: boxes, masks and segments, and on the image their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from featmap.figure.regions import draw_masks, draw_segments
from featmap.figure.style import Type, side_by_side
from featmap.geometry import View
from featmap.rendering.boxes import bright, color_of, has_dark_ink
from featmap.rendering.legend import entries_of
from featmap.rendering.tags import place_tags
from featmap.rendering.text import printable
from featmap.structures import Detections

_GAP = 6.0  # points from one entry of the legend to the next
_MOST_HIDDEN = 0.2  # of the image, by tags
_MOST_CLASSES = 40  # of segments, in a legend


@dataclass(frozen=True)
class Entry:
    """A box of the legend: its number, its class and score, and its colour; or without number, a class of segments."""

    number: str
    text: str
    color: tuple[int, int, int]


class Marks:
    """What was found in the image of a figure, and where the tags of boxes stand on its image.

    Tags that fit nowhere are replaced by numbers, which a legend explains. All of them are where most do not fit, or
    where those that do would hide a good part of the image.

    Args:
        detections: In pixels of the original.
        view: What is shown of the original.
        shape: Height and width of the image in the figure, in points.
        type: The figure's fonts.
    """

    def __init__(self, detections: Detections, view: View, shape: tuple[float, float], type: Type) -> None:
        shown = np.flatnonzero(view.shows(detections.boxes))
        self._order = shown[np.argsort(-detections.scores[shown], kind='stable')]
        self._detections, self._type, self._shape, self._view = detections, type, shape, view
        left, top, right, bottom = view.window
        self._corner = np.array([left, top, left, top])
        self._point = np.array([(right - left) / shape[1], (bottom - top) / shape[0]] * 2)  # in pixels
        self.entries: list[Entry] = []
        self._tags: list[tuple[str, np.ndarray, tuple[int, int, int]]] = []
        self._place()
        if detections.segments is not None:
            classes = entries_of(replace(detections, segments=detections.segments.seen(view.window, view.shape)))
            self.entries += [Entry('', printable(text), color) for text, color in classes[:_MOST_CLASSES]]

    @staticmethod
    def texts(detections: Detections) -> list[str]:
        """Class and score of each box."""
        return [side_by_side(detections.name(index), f'{score:.2f}') for index, score in enumerate(detections.scores)]

    def _place(self) -> None:
        detections = self._detections
        boxes = (self._detections.boxes[self._order] - self._corner) / self._point
        texts = self.texts(self._detections)
        texts = [texts[index] for index in self._order]
        colors = [color_of(detections, int(detections.labels[index])) for index in self._order]
        shape, size = self._shape, self._type.tag
        height = size + 1
        widths = np.array([self._type.width(text, size) + 2 for text in texts])
        places, fits = place_tags(boxes, widths, height, shape, insist=False)
        hidden = widths[fits].sum() * height / (shape[0] * shape[1])
        if not fits.all() and (2 * fits.sum() < len(fits) or hidden > _MOST_HIDDEN):
            fits[:] = False
        rest = np.flatnonzero(~fits)
        numbers = [str(count + 1) for count in range(len(rest))]
        widths = np.array([self._type.width(number, size) + 2 for number in numbers])
        places[rest], _ = place_tags(boxes[rest], widths, height, shape, boxes, places[fits])
        for index, number in zip(rest, numbers):
            self.entries.append(Entry(number, texts[index], colors[index]))
            texts[index] = number
        self._tags = list(zip(texts, places, colors))

    def draw(self, axes: Axes, tags: bool = False) -> None:
        """Draw all, the best on top, on axes in pixels of the original: with tags and fill, or bare outlines."""
        detections = self._detections
        if detections.segments is not None:
            draw_segments(axes, detections, self._view, full=tags)
        elif detections.masks is not None:
            draw_masks(axes, detections, self._order.tolist(), float(self._point[0]), full=tags)
        boxed = detections.boxed and (tags or (detections.masks is None and detections.segments is None))
        for depth, index in enumerate(self._order if boxed else ()):
            left, top, right, bottom = (float(value) for value in detections.boxes[index])
            rgb = color_of(detections, int(detections.labels[index]))
            color = np.array(rgb if tags else bright(rgb)) / 255
            for edge, line in (('white', 1.0), (color, 0.5)):
                box = Rectangle((left, top), right - left, bottom - top, fill=False)
                box.set(edgecolor=edge, linewidth=line if tags else 0.7 * line, zorder=2 - depth / len(self._order))
                axes.add_patch(box)
        for text, place, shade in self._tags if tags else ():
            across, down = self._point[:2].tolist()
            x, y, end_x, end_y = (place * self._point + self._corner).tolist()
            plate = Rectangle((x, y), end_x - x, end_y - y, color=np.array(shade) / 255, linewidth=0, zorder=3)
            axes.add_patch(plate)
            foot = (x + across, end_y - 0.28 * self._type.tag * down)
            how = self._type.how(self._type.tag)
            axes.text(*foot, text, color=_ink(shade), zorder=4, clip_on=True, **how)


def draw_query(axes: Axes, position: tuple[float, float], size: float) -> None:
    """A ring of ``size`` points and a dot, white in black, on an ``(x, y)`` of axes in pixels of the original."""
    for color, edge in (('black', 0.6), ('white', 0.0)):
        alike: dict[str, Any] = {'color': color, 'linestyle': 'none', 'zorder': 5, 'clip_on': True}
        ring = axes.plot(
            *position, marker='o', markersize=size, fillstyle='none', markeredgewidth=0.7 + 2 * edge, **alike
        )
        dot = axes.plot(*position, marker='o', markersize=1.2 + 2 * edge, markeredgewidth=0, **alike)
        for line in (*ring, *dot):
            line.set_gid('query')


class Legend:
    """What the numbers at boxes stand for, in as many columns as there is room for.

    Args:
        entries: In order; they are read along the lines.
        type: The figure's fonts.
        room: The width that there is, in points.
    """

    def __init__(self, entries: Sequence[Entry], type: Type, room: float) -> None:
        self._entries, self._type = entries, type
        size = type.tag
        self._plate = max((type.width(entry.number, size) + 2 for entry in entries), default=0.0)
        self._plate = max(self._plate, size)
        widest = max((type.width(entry.text, size) for entry in entries), default=0.0)
        self._column = self._plate + 2 + widest + _GAP
        self._columns = max(int((room + _GAP) / self._column), 1)
        self._line = size * 1.35

    @property
    def height(self) -> float:
        """In points."""
        return self._line * -(-len(self._entries) // self._columns)

    @property
    def width(self) -> float:
        """In points."""
        return self._column * min(self._columns, len(self._entries)) - _GAP

    def draw(self, figure: Figure, x: float, y: float) -> None:
        """Draw it with its top left corner at so many points from that of the figure."""
        across, down = figure.get_size_inches() * 72
        size, high = self._type.tag, self._type.tag + 1
        for count, entry in enumerate(self._entries):
            row, column = divmod(count, self._columns)
            left, foot = x + column * self._column, y + row * self._line + high
            color = np.array(entry.color) / 255
            plate = Rectangle((left / across, 1 - foot / down), self._plate / across, high / down)
            plate.set(color=color, linewidth=0, transform=figure.transFigure)
            figure.add_artist(plate)
            base = 1 - (foot - 0.28 * size) / down
            how = self._type.how(size)
            middle = (left + self._plate / 2) / across
            figure.text(middle, base, entry.number, color=_ink(entry.color), ha='center', **how)
            figure.text((left + self._plate + 2) / across, base, entry.text, **how)


def _ink(color: tuple[int, int, int]) -> str:
    return 'black' if has_dark_ink(color) else 'white'
