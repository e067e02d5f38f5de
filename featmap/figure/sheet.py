"""Where everything stands in a figure, and the drawing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from featmap.figure.tiles import Line, Tile, shared_bars
from featmap.rendering.boxes import class_color, has_dark_ink
from featmap.rendering.text import SEPARATOR, text_width, wrap
from featmap.structures import Detections

# All lengths are points, 72 to the inch, from the top left corner.
_MARGIN, _GAP, _BAR, _NARROWEST = 1.0, 6.0, 5.0, 90.0
_HIGHEST = 0.6  # a panel, of the width of the figure
_HEAD, _TITLE, _SMALLEST, _TICK, _TAG = 8.0, 7.0, 5.0, 6.0, 4.0
_LEADING, _BOLD = 1.25, 1.16  # of the size of a text: from one line to the next; what bold adds to its width


@dataclass(frozen=True)
class _Text:
    """A line of text: bold, then plain."""

    size: float
    bold: str = ''
    plain: str = ''

    @property
    def height(self) -> float:
        return self.size * _LEADING


def _height(texts: Sequence[_Text]) -> float:
    return sum(text.height for text in texts)


def _measure(text: str, size: float) -> float:
    """The text's width."""
    return text_width(text, 100) * size / 100


def _fold(parts: Sequence[str], size: float, room: float) -> list[str]:
    """Parts joined to lines that fit; only what is wider by itself is cut, after a dot or the like."""
    lines = []
    for line in wrap(SEPARATOR.join(filter(None, parts)), 100, int(room * 100 / size)):
        while len(line) > 1 and _measure(line, size) > room:
            cut = next((n for n in range(len(line) - 1, 1, -1) if _measure(line[:n], size) <= room), 1)
            after_mark = max(line.rfind(mark, cut // 3, cut) for mark in '._/- ') + 1
            cut = after_mark or cut
            lines.append(line[:cut])
            line = line[cut:]
        lines.append(line)
    return [line for line in lines if line]


class Sheet:
    """The layout of a figure.

    Args:
        original: The tile of the image itself, which stands in the corner.
        lines: The tiles right of it.
        width: Of the figure, in inches.
        table: The (256, 3) RGB colours of the bars.
    """

    def __init__(self, original: Tile, lines: Sequence[Line], width: float, table: np.ndarray) -> None:
        self._table, self._lines, self._width = table, list(lines) or [Line('', ())], width * 72
        self._shared = shared_bars(self._lines)
        tiles = [original, *(tile for line in lines for tile in line.tiles)]
        ends = [_measure(f'≥ {end}', _TICK) for tile in tiles if tile.scale for end in tile.scale.ends]
        right = _GAP + _BAR + 4 + max(ends) if self._shared else 0
        slots = 1 + max(len(line.tiles) for line in self._lines)
        self._slot = (self._width - 2 * _MARGIN - right + _GAP) / slots - _GAP
        rows, columns = original.picture.shape[:2]
        self._panel_height = min(self._slot * rows / columns, _HIGHEST * self._width)
        self._panel_width = self._panel_height * columns / rows
        self._slot = min(self._slot, max(self._panel_width, _NARROWEST))
        self._step = self._slot + _GAP
        self._left = (self._width - right + _GAP - slots * self._step) / 2  # high panels stand in the middle
        widest = max((_measure(part, 1) for tile in tiles for part in tile.parts), default=1.0)
        self._size = max(min(_TITLE, self._slot / widest), _SMALLEST)

        self._cells: list[list[tuple[int, Tile, list[_Text]]]] = []  # of each line: column, tile, title
        self._heads: list[list[_Text]] = []
        self._tops: list[float] = []
        y = _MARGIN
        for number, line in enumerate(self._lines):
            first = [(0, original)] if number == 0 else []
            cells = [(column, tile, self._title(tile)) for column, tile in [*first, *enumerate(line.tiles, start=1)]]
            said = number > 0 and self._lines[number - 1].head == line.head
            self._cells.append(cells)
            self._heads.append([] if said else self._head(line))
            above = [_height(title) + (_height(self._heads[-1]) if column else 0) for column, _, title in cells]
            self._tops.append(y + max(above) + 3)
            y = self._bottom(number) + _GAP
            if any(self._has_bar(number, tile) for tile in line.tiles):
                y += 3 + _BAR + 3 + _TICK
        self._height = y - _GAP + _MARGIN

    @property
    def height(self) -> float:
        """Of the figure, in inches."""
        return self._height / 72

    def _bottom(self, number: int) -> float:
        return self._tops[number] + max(self._panel_height, 3 * _TICK if self._shared else 0)

    def _has_bar(self, number: int, tile: Tile) -> bool:
        return bool(tile.scale and not tile.scale.constant and all(number not in group for group in self._shared))

    def _title(self, tile: Tile) -> list[_Text]:
        name = _fold([tile.name], self._size * _BOLD, self._slot)
        parts = _fold(tile.parts, self._size, self._slot)
        return [_Text(self._size, bold=line) for line in name] + [_Text(self._size, plain=line) for line in parts]

    def _head(self, line: Line) -> list[_Text]:
        room = self._width - _MARGIN - self._left - self._step
        name, rest = _fold(line.head[:1], _HEAD * _BOLD, room), _fold(line.head[1:], self._size, room)
        used = _measure('  '.join(name), _HEAD * _BOLD)
        if len(name) == len(rest) == 1 and used + _GAP + _measure(rest[0], self._size) <= room:
            return [_Text(_HEAD, name[0], rest[0])]
        return [_Text(_HEAD, bold=each) for each in name] + [_Text(self._size, plain=each) for each in rest]

    def draw(self, figure: Figure, detections: Detections | None, resampled: bool) -> None:
        """Put all on a figure of this size; ``resampled`` where it has pixels of its own."""
        for number, top in enumerate(self._tops):
            titles = max((_height(title) for column, _, title in self._cells[number] if column), default=0.0)
            self._write(figure, self._left + self._step, top - 3 - titles, self._heads[number])
            for column, tile, title in self._cells[number]:
                x = self._left + column * self._step
                self._write(figure, x, top - 3, title)
                place = (x, top, self._panel_width, self._panel_height)
                axes = self._axes(figure, place, 'panel' if column else 'image')
                _show(axes, tile, resampled)
                if detections is not None:
                    _outline(axes, detections, 0 if column else self._panel_width)
                if self._has_bar(number, tile):
                    self._bar(figure, (x, top + self._panel_height + 3, self._slot, _BAR), [tile])
        for group in self._shared:
            tiles = [tile for number in group for tile in self._lines[number].tiles]
            x = self._left + (1 + max(len(self._lines[number].tiles) for number in group)) * self._step
            top, bottom = self._tops[group[0]], self._bottom(group[-1])
            self._bar(figure, (x, top, _BAR, bottom - top), tiles)

    def _axes(self, figure: Figure, place: tuple[float, float, float, float], label: str) -> Axes:
        across, down = figure.get_size_inches() * 72
        x, y, width, height = place
        bounds = (x / across, 1 - (y + height) / down, width / across, height / down)
        return figure.add_axes(bounds, label=label)

    def _write(self, figure: Figure, x: float, bottom: float, texts: Sequence[_Text]) -> None:
        across, down = figure.get_size_inches() * 72
        for text in reversed(texts):
            start, y = x, 1 - (bottom - 0.25 * text.size) / down
            if text.bold:
                figure.text(x / across, y, text.bold, size=text.size, weight='bold', parse_math=False)
                start += _measure(text.bold, text.size * _BOLD) + _GAP
            if text.plain:
                figure.text(start / across, y, text.plain, size=min(text.size, self._size), parse_math=False)
            bottom -= text.height

    def _bar(self, figure: Figure, place: tuple[float, float, float, float], tiles: Sequence[Tile]) -> None:
        """The colours from low to high, upright where the place is, with the values of its ends and where 0 is."""
        scale = next(tile.scale for tile in tiles if tile.scale and not tile.scale.constant)
        low, high = (end.replace('-', '−') for end in scale.ends)
        low = '≤ ' * any(tile.clipped[0] for tile in tiles) + low
        high = '≥ ' * any(tile.clipped[1] for tile in tiles) + high
        upright, length = place[3] > place[2], max(place[2:])
        size = _TICK if upright else min(_TICK, (length - 3) / _measure(low + high, 1))
        ticks = {0.0: low, 1.0: high}
        zero = -scale.low / (scale.high - scale.low)
        room = (2 * size if upright else max(_measure(low, size), _measure(high, size)) + size) / length
        if room < zero < 1 - room:
            ticks[zero] = '0'
        axes = self._axes(figure, place, 'bar')
        colors = self._table[:, None] if upright else self._table[None]
        axes.imshow(colors, extent=(0, 1, 0, 1), origin='lower', aspect='auto', interpolation='none')
        axis, other = (axes.yaxis, axes.xaxis) if upright else (axes.xaxis, axes.yaxis)
        axis.set_ticks(list(ticks), list(ticks.values()), size=size, parse_math=False)
        other.set_ticks([])
        axes.tick_params(length=1.5, width=0.4, pad=1.5, left=False, labelleft=False, right=upright, labelright=upright)
        for label, side in zip(axis.get_ticklabels(), ('bottom', 'top') if upright else ('left', 'right')):
            label.set(**{'verticalalignment' if upright else 'horizontalalignment': side})
        axes.spines[:].set_linewidth(0.4)


def _show(axes: Axes, tile: Tile, resampled: bool) -> None:
    rows, columns = tile.picture.shape[:2]
    # Pixels are averaged where a PNG has fewer, and never blurred.
    mode = 'antialiased' if resampled and axes.bbox.width < columns else 'none'
    axes.imshow(tile.picture, extent=(0, columns, rows, 0), aspect='auto', interpolation=mode)
    axes.set(xticks=[], yticks=[])
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(tile.frame is not None)
    if tile.frame is not None:
        axes.spines[:].set(color=tile.frame, linewidth=1.5)


def _outline(axes: Axes, detections: Detections, width: float) -> None:
    """Boxes, the best on top; on a panel whose width is given with tags, where these hide no better tag and no box."""
    columns, rows = axes.get_xlim()[1], axes.get_ylim()[0]
    order = np.argsort(-detections.scores, kind='stable')
    taken = np.zeros((0, 4))
    for depth, index in enumerate(order):
        left, top, right, bottom = (float(value) for value in detections.boxes[index])
        rgb = class_color(int(detections.labels[index]))
        color = np.array(rgb) / 255
        for edge, line in (('white', 1.0), (color, 0.5)):
            box = Rectangle((left, top), right - left, bottom - top, fill=False, zorder=2 - depth / len(order))
            box.set(edgecolor=edge, linewidth=line if width else 0.7 * line)
            axes.add_patch(box)
        if not width:
            continue
        point = columns / width
        text = f'{detections.name(index)} {detections.scores[index]:.2f}'
        wide, high = (_measure(text, _TAG) + 2) * point, (_TAG + 1) * point
        x = min(max(left, 0), columns - wide)
        y = min(top - high if top >= high else max(top, 0), rows - high)
        tag = np.array([x, y, x + wide, y + high])
        if min(x, y) < 0 or (_overlap(tag, taken) > 0).any() or (_overlap(tag, detections.boxes) > 0.5).any():
            continue
        taken = np.vstack([taken, tag])
        axes.add_patch(Rectangle((x, y), wide, high, color=color, linewidth=0, zorder=3))
        ink = 'black' if has_dark_ink(rgb) else 'white'
        foot = (x + point, y + high - 1.4 * point)
        axes.text(*foot, text, size=_TAG, color=ink, zorder=4, parse_math=False)


def _overlap(tag: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The share of each of (N, 4) boxes that a tag hides."""
    sides = np.minimum(tag[2:], boxes[:, 2:]) - np.maximum(tag[:2], boxes[:, :2])
    areas = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1e-6)
    return np.prod(np.maximum(sides, 0), axis=1) / areas
