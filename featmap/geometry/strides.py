"""Network input pixels per feature cell."""

from __future__ import annotations

import math

from featmap.errors import GeometryError

Stride = tuple[float, float]
Offset = tuple[float, float]
"""``(oy, ox)`` in cells: cell ``i`` of an axis has its centre at ``(i + 0.5 + o) · stride``."""


def nominal_stride(input_shape: tuple[int, int], map_shape: tuple[int, int]) -> Stride:
    """Input pixels per feature cell as ``(sy, sx)``, from the two extents (height, width).

    A guess for where nothing else is known. Convolutions round up, so the extents alone do not give the stride: at 800
    pixels a stride of 128 makes 7 cells, and 10 cells of 300 pixels are 30 pixels wide or 32. In this order: a power of
    two whose ceil division gives the map on both axes; the same with floor division (patch embedding without padding);
    the same exact quotient on both axes; another whole number by ceil, then by floor division; and, for maps that are
    stretched to a fixed size (adaptive pooling), the quotient of each axis.
    """
    (height, width), (rows, columns) = input_shape, map_shape
    if min(height, width, rows, columns) < 1:
        raise GeometryError(f'no stride leads from an input of {input_shape} to a map of {map_shape}')
    exact = height * columns == width * rows and (height % rows == 0 or rows % height == 0)
    if exact and (rows == columns == 1 or rows > height):
        return height / rows, width / columns
    ceil = _whole_between(
        max(math.ceil(height / rows), math.ceil(width / columns)),
        min(_last_ceil(height, rows), _last_ceil(width, columns)),
    )
    floor = _whole_between(
        max(height // (rows + 1), width // (columns + 1)) + 1,
        min(height // rows, width // columns),
    )
    whole = next((s for s in (ceil, floor) if s and not s & (s - 1)), None) or (not exact and (ceil or floor))
    return (float(whole), float(whole)) if whole else (height / rows, width / columns)


def is_regular(input_shape: tuple[int, int], map_shape: tuple[int, int]) -> bool:
    """Whether one whole stride (or upsampling), the same on both axes, leads from the input to the map."""
    sy, sx = nominal_stride(input_shape, map_shape)
    return sy == sx and (sy.is_integer() or (1 / sy).is_integer())


def _last_ceil(extent: int, cells: int) -> int:
    """The largest whole stride s with ceil(extent / s) == cells; a single cell has no upper end."""
    return (extent - 1) // (cells - 1) if cells > 1 else 2 * extent


def _whole_between(low: int, high: int) -> int | None:
    if low > high:
        return None
    power = 1 << (low - 1).bit_length()
    return power if power <= high else low
