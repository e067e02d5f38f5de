"""Panels to one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featmap.errors import OptionError
from featmap.rendering.normalize import Range
from featmap.rendering.text import draw_lines, font_size, line_height, text_width, wrap
from featmap.structures import Panel, Rendering

_WHITE = 255


@dataclass(frozen=True)
class Cell:
    """A panel before it is placed.

    Attributes:
        image: (H, W, 3) RGB uint8.
        label: To stand above it.
        colors: A (256, 3) RGB table to draw as a colour bar below it; None for no bar.
        scale: What the ends of the bar stand for.
    """

    image: np.ndarray
    label: str
    colors: np.ndarray | None = None
    scale: Range | None = None


def near_square(count: int) -> tuple[int, int]:
    """Rows and columns for ``count`` panels: as many columns as the root rounded up, no empty row."""
    columns = max(math.isqrt(max(count, 1) - 1) + 1, 1)
    return max(-(-count // columns), 1), columns


def check_arrangement(arrangement: tuple[int, int] | None, count: int) -> tuple[int, int]:
    """Rows and columns that hold ``count`` panels: the arrangement asked for, else near-square.

    Raises:
        OptionError: where the arrangement has fewer places than there are panels.
    """
    if arrangement is None:
        return near_square(count)
    rows, columns = arrangement
    if rows * columns < count:
        raise OptionError(
            f'an arrangement of {rows} x {columns} has {rows * columns} places for {count} panels: give more rows or '
            'columns, or a smaller --topk'
        )
    return rows, columns


def tile(
    original: Cell,
    groups: Sequence[Sequence[Cell]],
    arrangement: tuple[int, int] | None = None,
    labels: bool = True,
) -> Rendering:
    """One picture of all panels, left to right and top to bottom, the original first.

    Args:
        original: The first panel. All panels have its size.
        groups: The panels of each map. Maps of one panel stand in one near-square grid with the original. Maps of
            several each make a block, whose rows and columns ``arrangement`` sets, right of the original.
        arrangement: Rows and columns of each block; None for near-square.
        labels: Whether to leave a strip with the label above each panel.
    """
    if all(len(group) == 1 for group in groups):
        cells = [original, *(group[0] for group in groups)]
        _, columns = near_square(len(cells))
        places = [(index // columns, index % columns) for index in range(len(cells))]
    else:
        cells, places = _blocks(original, groups, arrangement)
    return _compose(cells, places, labels)


def _blocks(
    original: Cell, groups: Sequence[Sequence[Cell]], arrangement: tuple[int, int] | None
) -> tuple[list[Cell], list[tuple[int, int]]]:
    shapes = [check_arrangement(arrangement, len(group)) for group in groups]
    block_rows, block_columns = max(rows for rows, _ in shapes), max(columns for _, columns in shapes)
    _, across = near_square(len(groups))
    cells, places = [original], [(0, 0)]
    for number, (group, (_, columns)) in enumerate(zip(groups, shapes)):
        top, left = number // across * block_rows, 1 + number % across * block_columns
        for index, cell in enumerate(group):
            cells.append(cell)
            places.append((top + index // columns, left + index % columns))
    return cells, places


def _compose(cells: list[Cell], places: list[tuple[int, int]], labels: bool) -> Rendering:
    height, width = cells[0].image.shape[:2]
    gap = max(round(min(height, width) / 80), 2)
    size = font_size(height, width)
    cell_width, strip, lines = width, 0, [[''] for _ in cells]
    if labels:
        # Text that does not fit a tiny image makes its cell wider, never the panel.
        longest = max(text_width(part, size) for cell in cells for part in wrap(cell.label, size, 0))
        cell_width = max(width, longest + 4)
        lines = [wrap(cell.label, size, cell_width) for cell in cells]
        strip = max(len(text) for text in lines) * line_height(size) + size // 2
    rows = max(row for row, _ in places) + 1
    columns = max(column for _, column in places) + 1
    bar = line_height(size) if any(cell.colors is not None for cell in cells) else 0
    step_y, step_x = height + strip + bar + gap, cell_width + gap
    picture = np.full((rows * step_y + gap, columns * step_x + gap, 3), _WHITE, dtype=np.uint8)
    panels = []
    for cell, text, (row, column) in zip(cells, lines, places):
        y, x = gap + row * step_y, gap + column * step_x
        if labels:
            picture[y : y + strip, x : x + cell_width] = draw_lines(text, size, (strip, cell_width))
        picture[y + strip : y + strip + height, x : x + width] = cell.image
        if cell.colors is not None and cell.scale is not None:
            below = y + strip + height
            picture[below : below + bar, x : x + cell_width] = _color_bar(
                cell.colors, cell.scale, (bar, cell_width), size
            )
        panels.append(Panel(x, y + strip, width, height, cell.label))
    return Rendering(picture, tuple(panels))


def _color_bar(colors: np.ndarray, scale: Range, shape: tuple[int, int], size: int) -> np.ndarray:
    """The table from low to high with the values of its ends, on a strip of (height, width)."""
    height, width = shape
    low, high = scale.ends
    text = max(round(size * 0.8), 8)
    strip = draw_lines([low], text, shape)
    right = text_width(high, text) + 1
    if right < width:
        strip[:, width - right :] = draw_lines([high], text, (height, right))
    first, last = text_width(low, text) + size // 2, width - right - size // 2
    if last - first > 8:
        ramp = np.linspace(0, 255, last - first).round().astype(np.intp)
        strip[height // 4 : height - height // 8, first:last] = colors[ramp]
    return strip
