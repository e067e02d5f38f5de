"""``Spot``: a pixel of the original that is asked about, and the cell of a map that holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Union

from featmap.errors import DrawError
from featmap.geometry.image import ImageGeometry
from featmap.geometry.places import Cells
from featmap.wording import on_command_line
from featmap.wording import option as written

Query = Union[tuple[float, float], int]
"""X,Y in pixels of the original, or the number of an object query."""


@dataclass(frozen=True)
class Spot:
    """A position in the original image, and the cell of a map of (C, h, w) under it.

    Attributes:
        query: X, Y in pixels of the original; whole numbers name a pixel, whose centre is meant.
        row: The cell's, from 0 to h - 1.
        column: The cell's, from 0 to w - 1.
    """

    query: tuple[float, float]
    row: int
    column: int

    @property
    def position(self) -> tuple[float, float]:
        """Where it is in the original, continuous: pixel ``i`` covers ``[i, i + 1)``."""
        return position_of(self.query)

    @property
    def pixel(self) -> str:
        """The query as it is written: ``312,200``."""
        return query_text(self.query)

    @property
    def name(self) -> str:
        """The cell for labels, column first as in X,Y: ``cell 12,7``."""
        return f'cell {self.column},{self.row}'


def position_of(query: tuple[float, float]) -> tuple[float, float]:
    """The continuous position that X,Y of a query stand for: whole numbers name a pixel, whose centre is meant."""
    x, y = query
    return (x + 0.5 if x == int(x) else x), (y + 0.5 if y == int(y) else y)


def query_text(query: tuple[float, float]) -> str:
    """A query as it is written: ``312,200``."""
    return ','.join(f'{number:.10g}' for number in query)


def written_query(query: Query) -> str:
    """The option as the reader would type it: ``--query 312,200`` or ``query=(312, 200)``; ``--query 17``."""
    if isinstance(query, int):
        return written('query', query)
    text = query_text(query)
    return written('query', text) if on_command_line() else f'query=({text.replace(",", ", ")})'


def check_query(geometry: ImageGeometry, query: tuple[float, float]) -> None:
    """Refuse a query that the network was not shown.

    Raises:
        DrawError: where it lies outside of the image, or in a part that the preprocessing cut off.
    """
    (height, width), (x, y) = geometry.image_shape, position_of(query)
    asked = written_query(query)
    if not (0 <= x < width and 0 <= y < height):
        raise DrawError(
            f'{asked} lies outside of the image of {width}×{height} pixels: expected X from 0 to {width - 1} and Y '
            f'from 0 to {height - 1}'
        )
    x1, y1, x2, y2 = geometry.visible
    if not (x1 <= x <= x2 and y1 <= y <= y2):
        raise DrawError(
            f'{asked} lies where the preprocessing cut the image of {width}×{height} pixels off: the network was shown '
            f'{math.ceil(x1)},{math.ceil(y1)} – {math.floor(x2)},{math.floor(y2)} of it'
        )


def spot_of(geometry: ImageGeometry, query: tuple[float, float], shape: tuple[int, int], cells: Cells) -> Spot:
    """The cell of a map of this height and width that holds a query.

    Cell ``i`` of an axis covers ``[i + offset, i + 1 + offset) · stride`` of the input. The outermost cells reach to
    the image's edges, as in pictures.

    Raises:
        DrawError: as :func:`check_query`.
    """
    check_query(geometry, query)
    x, y = position_of(query)
    u, v = geometry.to_input(x, y)
    row, column = (
        min(max(math.floor(at / step - moved), 0), count - 1)
        for at, step, moved, count in zip((v, u), cells.stride, cells.offset, shape)
    )
    return Spot(query, row, column)
