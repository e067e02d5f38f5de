"""Rows of panels: each plane of each map drawn in several ways side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from featmap.rendering.tile import Cell, Place, compose
from featmap.structures import Rendering

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


def _deep(count: int, columns: int, shape: tuple[int, int]) -> int:
    """How many of the rows stand below each other, for the least square that holds all of the blocks."""

    def cost(deep: int) -> tuple[float, int]:
        blocks = -(-count // deep)
        height, width = deep * shape[0], (1 + blocks * columns) * shape[1]
        return max(height, width), blocks

    return min(range(1, count + 1), key=cost)
