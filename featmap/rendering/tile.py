"""Panels to one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from featmap.errors import OptionError
from featmap.rendering.normalize import Range
from featmap.rendering.text import SEPARATOR, draw_lines, font_size, line_height, text_width, wrap
from featmap.structures import Panel, Rendering
from featmap.wording import option as written

_WHITE = 255
_TEXT_GAP = 6  # pixels between labels, or the numbers of bars, side by side


@dataclass(frozen=True)
class Cell:
    """A panel before it is placed.

    Attributes:
        image: (H, W, 3) RGB uint8.
        label: To stand above it.
        colors: A (256, 3) RGB table, or (N, 256, 3) rows, to draw as a colour bar below it; None for no bar.
        scale: What the ends of the bar stand for.
        frame: RGB colour of a frame around it; None for none.
        head: To stand above its label, and above panels right of it.
        span: Over how many columns the head may reach; 0 where another panel says it for this one.
    """

    image: np.ndarray
    label: str
    colors: np.ndarray | None = None
    scale: Range | None = None
    frame: tuple[int, int, int] | None = None
    head: str = ''
    span: int = 1


def near_square(count: int, shape: tuple[int, int] | None = None) -> tuple[int, int]:
    """Rows and columns for ``count`` panels: as many columns as the root rounded up, no empty row.

    For panels of a (height, width) ``shape`` that are more than twice as long as wide, or as wide as long, the picture
    is made near-square rather than the count.
    """
    stretch = _stretch(shape)
    columns = min(max(math.ceil(math.sqrt(max(count, 1) / stretch) - 1e-9), 1), max(count, 1))
    return max(-(-count // columns), 1), columns


def _stretch(shape: tuple[int, int] | None) -> float:
    """How many times as wide as high panels of a (height, width) are, where that counts for their arrangement."""
    aspect = 1.0 if shape is None else shape[1] / shape[0]
    return aspect if not 0.5 <= aspect <= 2 else 1.0


def check_arrangement(
    arrangement: tuple[int, int] | None, count: int, shape: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Rows and columns that hold ``count`` panels of a shape: the arrangement asked for, else near-square.

    Raises:
        OptionError: where the arrangement has fewer places than there are panels.
    """
    if arrangement is None:
        return near_square(count, shape)
    rows, columns = arrangement
    if rows * columns < count:
        raise OptionError(
            f'an arrangement of {rows} x {columns} has {rows * columns} places for {count} panels: give more rows or '
            f'columns, or a smaller {written("topk")}'
        )
    return rows, columns


def tile(
    original: Cell,
    groups: Sequence[Sequence[Cell]],
    arrangement: tuple[int, int] | None = None,
    labels: bool = True,
    beside: Sequence[Cell] = (),
) -> Rendering:
    """One picture of all panels, left to right and top to bottom, the original first.

    Args:
        original: The first panel. All panels have its size.
        groups: The panels of each map. Maps of one panel stand in one near-square grid with the original. Maps of
            several each make a block, whose rows and columns ``arrangement`` sets, right of the original, or below it
            where panels are more than twice as wide as high.
        arrangement: Rows and columns of each block; None for a near-square block, and where there are several for
            blocks that make the picture near-square.
        labels: Whether to leave a strip with the label above each panel.
        beside: Further panels of the original, next to it, or below it where there are blocks.
    """
    if all(len(group) == 1 for group in groups):
        cells = [original, *beside, *(group[0] for group in groups)]
        _, columns = near_square(len(cells), original.image.shape[:2])
        return compose(cells, [Place(*divmod(index, columns)) for index in range(len(cells))], labels)
    return compose(*_blocks([original, *beside], groups, arrangement), labels)


class Place(NamedTuple):
    """Where a panel stands: its row and column, and how many gaps between blocks lie above and left of it."""

    row: int
    column: int
    above: int = 0
    left: int = 0


def _blocks(
    originals: list[Cell], groups: Sequence[Sequence[Cell]], arrangement: tuple[int, int] | None
) -> tuple[list[Cell], list[Place]]:
    """The blocks right of the originals, of wide panels below: a few one below the other, many or high near-square."""
    shape = originals[0].image.shape[:2]
    wide = _stretch(shape) > 1
    few = len(groups) <= 4 and _stretch(shape) >= 1
    across = 1 if few else near_square(len(groups), shape)[1]
    if arrangement is None and len(groups) > 1:
        widest = _columns(max(map(len, groups)), -(-len(groups) // across), across, shape)
        shapes = [(-(-len(group) // widest), min(widest, len(group))) for group in groups]
    else:
        shapes = [check_arrangement(arrangement, len(group), shape) for group in groups]
    block_rows, block_columns = max(rows for rows, _ in shapes), max(columns for _, columns in shapes)
    first = Place(len(originals), 0, 1, 0) if wide else Place(0, 1, 0, 1)
    cells, places = list(originals), [Place(row, 0) for row in range(len(originals))]
    for number, (group, (_, columns)) in enumerate(zip(groups, shapes)):
        down, right = divmod(number, across)
        for index, cell in enumerate(group):
            row, column = divmod(index, columns)
            cells.append(cell)
            row, column = first.row + down * block_rows + row, first.column + right * block_columns + column
            places.append(Place(row, column, first.above + down, first.left + right))
    return cells, places


def _columns(count: int, down: int, across: int, shape: tuple[int, int]) -> int:
    """Columns of blocks of ``count`` panels, so many down and across, for the least square that holds the picture."""
    stretch = _stretch(shape)

    def cost(columns: int) -> tuple[float, float]:
        height, width = down * -(-count // columns), (stretch <= 1) + across * columns
        return max(height, width * stretch), height * width

    return min(range(1, count + 1), key=cost)


def compose(cells: Sequence[Cell], places: Sequence[Place], labels: bool, even: bool = True) -> Rendering:
    """One picture of cells at their places.

    Args:
        cells: The panels, of one size.
        places: One for each.
        labels: Whether to leave strips with labels and heads above them.
        even: Whether all strips are as high as the highest, or else those of a row.
    """
    height, width = cells[0].image.shape[:2]
    bars = [cell.scale for cell in cells if cell.colors is not None and cell.scale is not None]
    gap = max(round(min(height, width) / 80), _TEXT_GAP if labels or bars else 2)
    size = font_size(height, width)
    if any(cell.frame is not None for cell in cells):
        gap = max(gap, size)
    strips: dict[int, int] = dict.fromkeys((place.row for place in places), 0)
    lines: list[list[str]] = [[''] for _ in cells]
    heads: list[list[str]] = [[] for _ in cells]
    kept = [0] * len(cells)  # lines that a head leaves for labels
    # Text that does not fit a tiny image makes its cell wider, never the panel.
    bar_width = cell_width = max([width, *(_bar_width(scale, size) for scale in bars)])
    if labels:
        for cell in cells:
            longest = max(text_width(part, size) for part in wrap(cell.label, size, 0))
            cell_width = max(cell_width, longest + 4)
            if cell.head and cell.span:
                over = max(text_width(part, size) for part in wrap(cell.head, size, 0)) - (cell.span - 1) * gap
                cell_width = max(cell_width, -(-(over + 4) // cell.span))
        for number, cell in enumerate(cells):
            lines[number] = wrap(cell.label, size, cell_width)
            heads[number] = (
                wrap(cell.head, size, cell.span * (cell_width + gap) - gap) if cell.head and cell.span else []
            )
        kept = [
            _lines_under(cell, place, places, lines) if head else 0 for cell, place, head in zip(cells, places, heads)
        ]
        for number, place in enumerate(places):
            strip = (max(len(lines[number]), kept[number]) + len(heads[number])) * line_height(size) + size // 2
            strips[place.row] = max(strips[place.row], strip)
    if even:
        strips = dict.fromkeys(strips, max(strips.values()))
    bar = line_height(size) if bars else 0
    tops, y = {}, gap
    for row in range(max(strips) + 1):
        tops[row] = y
        y += strips.get(row, 0) + height + bar + gap
    step = cell_width + gap
    corners = [(tops[p.row] + p.above * 3 * gap, gap + p.column * step + p.left * 3 * gap) for p in places]
    bottom = max(y + strips[p.row] for (y, _), p in zip(corners, places)) + height + bar + gap
    picture = np.full((bottom, max(x for _, x in corners) + step, 3), _WHITE, dtype=np.uint8)
    panels = []
    for cell, place, text, head, least, (top, x) in zip(cells, places, lines, heads, kept, corners):
        y = top + strips[place.row]
        if labels:
            over = len(text) * line_height(size)
            above = y - over - size // 2
            picture[above:y, x : x + cell_width] = draw_lines(text, size, (y - above, cell_width))
        if head:
            above, across = y - max(over, least * line_height(size)) - size // 5, cell.span * step - gap
            picture[top:above, x : x + across] = draw_lines(head, size, (above - top, across))
        if cell.colors is not None and cell.scale is not None:
            below = y + height
            picture[below : below + bar, x : x + bar_width] = _color_bar(
                cell.colors, cell.scale, (bar, bar_width), size
            )
        if cell.frame is not None:
            edge = gap // 5  # shorter than what is left above a bar
            picture[y - edge : y + height + edge, x - edge : x + width + edge] = cell.frame
        picture[y : y + height, x : x + width] = cell.image
        panels.append(Panel(x, y, width, height, SEPARATOR.join(filter(None, [cell.head, cell.label]))))
    return Rendering(picture, tuple(panels))


def _lines_under(cell: Cell, place: Place, places: Sequence[Place], lines: Sequence[Sequence[str]]) -> int:
    """How many lines the labels have of all panels that a head is about."""
    about = range(place.column, place.column + cell.span)
    return max(len(text) for text, each in zip(lines, places) if each.row == place.row and each.column in about)


def _bar_width(scale: Range, size: int) -> int:
    """The least width of a bar that has room for its numbers and some colours."""
    text = _bar_text(size)
    return sum(text_width(end, text) for end in scale.ends) + 2 * (size // 2) + 10


def _bar_text(size: int) -> int:
    return max(round(size * 0.8), 8)


def _color_bar(colors: np.ndarray, scale: Range, shape: tuple[int, int], size: int) -> np.ndarray:
    """The table or its rows from low to high with the values of its ends, on a strip of (height, width)."""
    height, width = shape
    low, high = scale.ends
    text = _bar_text(size)
    strip = draw_lines([low], text, shape)
    right = text_width(high, text) + 1
    if right < width:
        strip[:, width - right :] = draw_lines([high], text, (height, right))
    first, last = text_width(low, text) + size // 2, width - right - size // 2
    if last - first > 8:
        ramp = np.linspace(0, 255, last - first).round().astype(np.intp)
        rows = colors if colors.ndim == 3 else colors[None]
        top, bottom = height // 5, height - height // 5  # of the height of the numbers
        chosen = np.arange(bottom - top) * len(rows) // (bottom - top)
        strip[top:bottom, first:last] = rows[chosen][:, ramp]
    return strip
