"""What a figure shows and tells: a tile for each panel, in lines that say common things once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featmap.rendering.colors import categories
from featmap.rendering.normalize import Range, value_range
from featmap.rendering.panels import Look, PanelImage, label_of, panels_of
from featmap.rendering.scales import scales_of
from featmap.rendering.text import SEPARATOR
from featmap.structures import FeatureMap


@dataclass(frozen=True)
class Tile:
    """A panel, the name of its map and what else is told of it."""

    picture: np.ndarray
    name: str
    parts: tuple[str, ...]
    scale: Range | None = None
    clipped: tuple[bool, bool] = (False, False)
    frame: Any = None


@dataclass(frozen=True)
class Line:
    """Tiles side by side, their layer, and what is said of all of them."""

    layer: str
    tiles: tuple[Tile, ...]
    head: tuple[str, ...] = ()


def rows_of(
    image: np.ndarray, maps: Sequence[FeatureMap], look: Look, run: Range | None
) -> dict[str, list[list[Tile]]]:
    """The tiles of each map of each layer, layers in the order in which they come first."""
    rows: dict[str, list[list[Tile]]] = {}
    for item, scales in zip(maps, scales_of(maps, look.norm, run)):
        tiles = [_tile(item, index, panel, look) for index, panel in enumerate(panels_of(image, item, scales, look))]
        rows.setdefault(item.layer, []).append(tiles)
    return rows


def _tile(item: FeatureMap, index: int, panel: PanelImage, look: Look) -> Tile:
    tile = Tile(panel.image, item.name, (), panel.scale)
    parts = panel.label[len(item.name + SEPARATOR) :].split(SEPARATOR)
    if item.kind == 'concepts':
        if index == len(item):
            place = label_of(item, 0, None, look.norm)[len(item.name + SEPARATOR) :].split(SEPARATOR)[1:]
            return replace(tile, parts=(parts[0], *place))  # the names stand above the other panels
        tile = replace(tile, frame=categories(len(item))[index] / 255)
    if panel.scale is not None:
        parts.pop()  # the range, which the bar tells
        if panel.scale.constant:
            parts.append(str(panel.scale))
        elif panel.scale.bad:
            parts.append(f'{panel.scale.bad} non-finite')
        if look.norm.kind in ('percentile', 'run') and not item.ranges:
            parts.append(f'scale: {look.norm.note}')
        own = value_range(item.content[index]) or panel.scale
        tile = replace(tile, clipped=(own.low < panel.scale.low, own.high > panel.scale.high))
    return replace(tile, parts=tuple(re.sub(r'(?<!\w)-(?=\d)', '−', part) for part in parts))


def break_rows(rows: dict[str, list[list[Tile]]], limit: int) -> list[Line]:
    """Rows broken into lines of about equal length, at most ``limit`` tiles; a map of several tiles starts a line."""
    if all(sum(map(len, row)) == 1 for row in rows.values()):
        return [Line('', line) for line in _broken([row[0][0] for row in rows.values()], limit)]
    lines: list[Line] = []
    for layer, row in rows.items():
        tiles = [tile for each in row for tile in each]
        together = len(tiles) <= limit or len(tiles) == len(row)
        for line in (line for each in ([tiles] if together else row) for line in _broken(each, limit)):
            name = line[0].name if len({tile.name for tile in line}) == 1 else layer
            common = [part for part in line[0].parts if all(part in tile.parts for tile in line)]
            bare = []
            for tile in line:
                parts = (tile.name[len(name) :], *(part for part in tile.parts if part not in common))
                bare.append(replace(tile, name='', parts=parts))
            lines.append(Line(layer, tuple(bare), (name, *common)))
    return lines


def _broken(tiles: list[Tile], limit: int) -> Iterator[tuple[Tile, ...]]:
    length = -(-len(tiles) // -(-len(tiles) // limit)) if tiles else 1
    return (tuple(tiles[first : first + length]) for first in range(0, len(tiles), length))


def shared_bars(lines: list[Line]) -> list[list[int]]:
    """The lines, by number, for which one colour bar will do: all of them, or those of a layer."""
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
