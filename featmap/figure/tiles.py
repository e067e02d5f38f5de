"""What a figure shows and tells: a tile for each panel, in lines that say common things once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from featmap.geometry import View
from featmap.rendering.colors import categories
from featmap.rendering.labels import label_of
from featmap.rendering.normalize import Range, value_range
from featmap.rendering.panels import Look, PanelImage, panels_of
from featmap.rendering.scales import scales_of
from featmap.structures import FeatureMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from featmap.figure.style import Type


class Canvas:
    """The image that all panels show, or a window of it, at any size.

    Args:
        image: (H, W, 3) RGB uint8, the original.
        look: How panels are coloured.
        window: ``(left, top, right, bottom)`` of the part that is shown, in pixels of the original; None for all.
    """

    def __init__(self, image: np.ndarray, look: Look, window: tuple[int, int, int, int] | None = None) -> None:
        self._image, self.look = image, look
        self.whole = View.of(image.shape[:2], None, window)
        self._made: dict[tuple[str, tuple[int, int]], np.ndarray] = {}

    def of(self, window: tuple[int, int, int, int]) -> Canvas:
        """The same image, of which another part is shown."""
        return Canvas(self._image, self.look, window)

    def view(self, shape: tuple[int, int]) -> View:
        """What is shown at this height and width."""
        return replace(self.whole, shape=shape)

    def fitting(self, shape: tuple[int, int]) -> tuple[int, int]:
        """The height and width to draw for so many printed pixels: no more than a whole image has."""
        return min(self.whole.shape, shape) if self.whole.is_whole else shape

    def picture(self, shape: tuple[int, int]) -> np.ndarray:
        """The image at this height and width, its pixels averaged where there are fewer: (h, w, 3) RGB uint8."""
        key = ('picture', shape)
        if key not in self._made:
            self._made[key] = self.view(shape).picture(self._image, smooth=self.look.interpolation == 'linear')
        return self._made[key]

    def backdrop(self, shape: tuple[int, int]) -> np.ndarray:
        """What is under the heat at this height and width."""
        key = ('backdrop', shape)
        if key not in self._made:
            self._made[key] = self.look.backdrop(self.picture(shape))
        return self._made[key]

    def bar(self, column: str = '') -> np.ndarray:
        """The colours of a column's bar over this image's light and dark parts: (N, 256, 3) RGB uint8."""
        rows, columns = self.whole.shape
        shrunk = min(256 / max(rows, columns), 1)
        shape = max(round(rows * shrunk), 1), max(round(columns * shrunk), 1)
        look = self.look.column(column)
        return look.bar(self.backdrop(shape) if look is self.look else look.backdrop(self.picture(shape)))


@dataclass(frozen=True)
class Plain:
    """The image itself, where panels stand."""

    canvas: Canvas

    def pictures(self, shape: tuple[int, int]) -> list[np.ndarray]:
        """The image at this height and width: (h, w, 3) RGB uint8."""
        return [self.canvas.picture(shape)]


class Panels:
    """The panels of one map, which are drawn when their size is known; their labels are known before."""

    def __init__(self, canvas: Canvas, item: FeatureMap, scales: Sequence[Range]) -> None:
        self._canvas, self._item, self._scales = canvas, item, scales
        self._drawn: tuple[tuple[int, int], list[np.ndarray]] | None = None

    def sketches(self) -> list[PanelImage]:
        """The panels with all but a picture worth looking at."""
        return list(self._panels((1, 1)))

    def pictures(self, shape: tuple[int, int]) -> list[np.ndarray]:
        """The panels at this height and width: (h, w, 3) RGB uint8."""
        if self._drawn is None or self._drawn[0] != shape:
            times = self._oversampling(shape)
            large = (shape[0] * times, shape[1] * times)
            pictures = [panel.image for panel in self._panels(large)]
            if times > 1:
                pictures = [cv2.resize(each, shape[::-1], interpolation=cv2.INTER_AREA) for each in pictures]
            self._drawn = shape, pictures
        return self._drawn[1]

    def _panels(self, shape: tuple[int, int]) -> Iterator[PanelImage]:
        canvas = self._canvas
        return panels_of(canvas.backdrop(shape), self._item, self._scales, canvas.look, canvas.view(shape))

    def _oversampling(self, shape: tuple[int, int]) -> int:
        """How many times as large to draw, that no cell falls between two pixels; they are averaged then."""
        item, whole = self._item, self._canvas.whole
        cells = [side * scale / stride for side, scale, stride in
                 zip(whole.shape, item.geometry.scale[::-1], item.stride)]  # fmt: skip
        wanted = max(math.ceil(count / pixels) for count, pixels in zip(cells, shape))
        most = max(math.ceil(side / pixels) for side, pixels in zip(whole.shape, shape))
        return max(min(wanted, most), 1)


class Pictures(Protocol):
    """Pictures of any size."""

    def pictures(self, shape: tuple[int, int]) -> list[np.ndarray]:
        """The pictures at this height and width: (h, w, 3) RGB uint8."""


@dataclass(frozen=True)
class Tile:
    """A panel, by its number among those of a map, the name of the map and what else is told of it.

    ``query`` is the position in the original that is marked. One of a row of panels knows its ``column``; one without a
    number keeps a column free. ``window`` is the part of the original that it shows, where that is another than the
    canvas's; ``over`` draws on it in place of detections. ``plot`` draws all of a tile that is no picture, such as the
    best classes of the image, on axes of a (height, width) in points.
    """

    panels: Pictures
    number: int | None
    name: str
    parts: tuple[str, ...]
    scale: Range | None = None
    clipped: tuple[bool, bool] = (False, False)
    frame: Any = None
    query: tuple[float, float] | None = None
    column: str = ''
    window: tuple[int, int, int, int] | None = None
    over: Callable[[Axes], None] | None = None
    plot: Callable[[Axes, Type, tuple[float, float]], None] | None = None

    def picture(self, shape: tuple[int, int]) -> np.ndarray:
        """The panel at this height and width: (h, w, 3) RGB uint8."""
        assert self.number is not None
        return self.panels.pictures(shape)[self.number]


@dataclass(frozen=True)
class Line:
    """Tiles side by side, their layer, and what is said of all of them."""

    layer: str
    tiles: tuple[Tile, ...]
    head: tuple[str, ...] = ()


def rows_of(canvas: Canvas, maps: Sequence[FeatureMap], run: Range | None) -> dict[str, list[list[Tile]]]:
    """The tiles of each map of each layer, layers in the order in which they come first."""
    rows: dict[str, list[list[Tile]]] = {}
    for item, scales in zip(maps, scales_of(maps, canvas.look.norm, run)):
        panels = Panels(canvas, item, scales)
        tiles = [_tile(item, panels, number, each, canvas.look) for number, each in enumerate(panels.sketches())]
        rows.setdefault(item.layer, []).append(tiles)
    return rows


def panel_rows(canvas: Canvas, maps: Sequence[FeatureMap], run: Range | None) -> list[Line]:
    """A line for each plane of each map, of the columns that the look names; what is said of the plane stands above."""
    lines = []
    for item, scales in zip(maps, scales_of(maps, canvas.look.norm, run)):
        panels = Panels(canvas, item, scales)
        sketches = list(enumerate(panels.sketches()))
        for plane in dict.fromkeys(panel.plane for _, panel in sketches):
            found = {panel.column: (number, panel) for number, panel in sketches if panel.plane == plane}
            said = next((each for column, each in found.items() if column != 'pca'), None) or next(iter(found.values()))
            about = _tile(item, panels, *said, canvas.look)
            tiles = []
            for column in canvas.look.panels:
                if column not in found:
                    tiles.append(Tile(panels, None, '', (), column=column))
                    continue
                tile = _tile(item, panels, *found[column], canvas.look)
                own = found[column][1].label.shows[0] if column == 'pca' and found[column] is not said else column
                tiles.append(replace(tile, name='', parts=(own,), column=column))
            lines.append(Line(f'{item.name} {plane}', tuple(tiles), (about.name, *about.parts)))
    return lines


def line_of(tile: Tile) -> Line:
    """A line of one tile, of which all is said above."""
    return Line(tile.name, (replace(tile, name='', parts=()),), (tile.name, *tile.parts))


def _tile(item: FeatureMap, panels: Panels, number: int, panel: PanelImage, look: Look) -> Tile:
    tile, index = Tile(panels, number, item.name, (), panel.scale, query=item.query), panel.plane
    # A range is told by the bar, where the panel has one.
    parts = [*panel.label.shows, *panel.label.facts, *(panel.label.scale if panel.scale is None else ())]
    if item.kind == 'concepts':
        if index == len(item):
            shows = [part for part in panel.label.shows if part not in item.names]  # which stand above the other panels
            return replace(tile, parts=(*shows, *label_of(item, 0, None, look.norm, look.grid).facts))
        tile = replace(tile, frame=categories(len(item))[index] / 255)
    if panel.scale is not None:
        if panel.scale.constant:
            parts.append(str(panel.scale))
        elif panel.scale.bad:
            parts.append(f'{panel.scale.bad} non-finite')
        if look.norm.kind in ('percentile', 'image', 'run') and not item.ranges:
            parts.append(f'scale: {look.norm.note}')
        own = value_range(item.content[index]) or panel.scale
        tile = replace(tile, clipped=(own.low < panel.scale.low, own.high > panel.scale.high))
    return replace(tile, parts=tuple(re.sub(r'(?<!\w)-(?=\d)', '−', part) for part in parts))


def break_rows(rows: dict[str, list[list[Tile]]], limit: int, columns: int | None = None) -> list[Line]:
    """Rows broken into lines of about equal length, at most ``limit`` tiles; a map of several tiles starts a line.

    ``columns`` is the length of the lines of maps of several tiles, where it is asked for.
    """
    if all(sum(map(len, row)) == 1 for row in rows.values()):
        return [Line('', line) for line in _broken([row[0][0] for row in rows.values()], limit)]
    lines: list[Line] = []
    for layer, row in rows.items():
        tiles = [tile for each in row for tile in each]
        asked = columns if len(tiles) > len(row) else None
        together = len(tiles) == len(row) or (asked is None and len(tiles) <= limit)
        for line in (line for each in ([tiles] if together else row) for line in _broken(each, limit, asked)):
            name = line[0].name if len({tile.name for tile in line}) == 1 else layer
            common = [part for part in line[0].parts if all(part in tile.parts for tile in line)]
            bare = []
            for tile in line:
                parts = (tile.name[len(name) :], *(part for part in tile.parts if part not in common))
                bare.append(replace(tile, name='', parts=parts))
            lines.append(Line(layer, tuple(bare), (name, *common)))
    return lines


def _broken(tiles: list[Tile], limit: int, length: int | None = None) -> Iterator[tuple[Tile, ...]]:
    if length is None:
        length = -(-len(tiles) // -(-len(tiles) // limit)) if tiles else 1
    return (tuple(tiles[first : first + length]) for first in range(0, len(tiles), length))


def shared_bars(lines: list[Line]) -> list[list[int]]:
    """The lines, by number, for which one colour bar will do: all of them, or those of a layer; columns have theirs."""
    if any(tile.column for line in lines for tile in line.tiles):
        return []
    ends: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for scale in (tile.scale for tile in line.tiles if tile.scale and not tile.scale.constant):
            ends.setdefault(line.layer, []).append((scale.low, scale.high))
    every = [each for row in ends.values() for each in row]
    if len(every) > 1 and len(set(every)) == 1:
        return [list(range(len(lines)))]
    alike = [layer for layer, row in ends.items() if len(row) > 1 and len(set(row)) == 1]
    lone = [line.layer for line in lines if len(line.tiles) == 1 and len(ends.get(line.layer, ())) == 1]
    if alike and len(alike) + len(lone) == len(ends):  # a lone panel does as the others do
        alike = [layer for layer in ends if layer in alike or layer in lone]
    return [[number for number, line in enumerate(lines) if line.layer == layer] for layer in alike]
