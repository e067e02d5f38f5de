"""Rows of panels: each plane of each map drawn in several ways side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from featmap.rendering.text import font_size, line_height
from featmap.rendering.tile import Cell, Place, compose
from featmap.structures import Rendering

_LINES = 3  # of text above a line of panels, about
_ROWS = 8  # the most that stand one below the other, whatever the picture's shape comes to

Row = Mapping[int, Cell]
"""The cells of a row, by the number of their column."""


def tile_rows(
    original: Cell, rows: Sequence[Row], columns: int, labels: bool = True, beside: Sequence[Cell] = ()
) -> Rendering:
    """One picture: the original, and right of it the rows, or below it where panels are over twice as wide as high.

    Up to eight rows stand one below the other; more of them in blocks side by side, each read downwards, that make the
    picture near-square.

    Args:
        original: The first panel. All panels have its size.
        rows: The rows. What the first cell's head says stands above the whole row.
        columns: How many a row has; one may leave some empty.
        labels: Whether to leave strips with heads and labels.
        beside: Further panels of the original, below it, or next to it where the rows stand below.
    """
    height, width = original.image.shape[:2]
    wide = width > 2 * height
    originals = [original, *beside]
    deep = len(rows) if len(rows) <= _ROWS else _deep(len(rows), columns, (height, width))
    cells = list(originals)
    places = [Place(0, number) if wide else Place(number, 0) for number in range(len(originals))]
    down, right, above, left = (1, 0, 1, 0) if wide else (0, 1, 0, 1)
    for number, row in enumerate(rows):
        block, line = divmod(number, deep)
        first = min(row, default=0)
        for column, cell in sorted(row.items()):
            cells.append(replace(cell, span=columns - column if column == first else 0))
            places.append(Place(down + line, right + block * columns + column, above, left + block))
    return compose(cells, places, labels, even=False)


def tile_lines(
    original: Cell, lines: Sequence[Row], columns: int, labels: bool = True, beside: Sequence[Cell] = ()
) -> Rendering:
    """One picture: the original in a line of its own, and below it the others, in blocks that make it near-square.

    Args:
        original: The first panel. All panels have its size.
        lines: The lines. What the first cell's head says stands above the whole line.
        columns: How many a line has; one may leave some empty.
        labels: Whether to leave strips with heads and labels.
        beside: Further panels of the original, right of it.
    """
    every = [dict(enumerate([original, *beside])), *lines]
    columns = max(columns, 1 + len(beside))
    height, width = original.image.shape[:2]
    above = _LINES * line_height(font_size(height, width)) if labels else 0
    deep = _deep(len(every), columns, (height + above, width), 0)
    cells, places = [], []
    for number, line in enumerate(every):
        block, row = divmod(number, deep)
        first = min(line, default=0)
        for column, cell in sorted(line.items()):
            cells.append(replace(cell, span=columns - column if column == first else 0))
            places.append(Place(row, block * columns + column, 0, block))
    return compose(cells, places, labels, even=False)


def _deep(count: int, columns: int, shape: tuple[int, int], before: int = 1) -> int:
    """How many of the rows stand below each other, for the least square that holds all of the blocks.

    Args:
        count: How many rows there are.
        columns: Of a row.
        shape: Height and width of a panel.
        before: Columns left of the blocks.
    """

    def cost(deep: int) -> tuple[float, int]:
        blocks = -(-count // deep)
        height, width = deep * shape[0], (before + blocks * columns) * shape[1]
        return max(height, width), blocks

    return min(range(1, count + 1), key=cost)
