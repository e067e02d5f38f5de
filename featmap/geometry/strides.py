"""Network input pixels per feature cell."""

from __future__ import annotations

import math

from featmap.errors import GeometryError

Stride = tuple[float, float]


def nominal_stride(input_shape: tuple[int, int], map_shape: tuple[int, int]) -> Stride:
    """Input pixels per feature cell as ``(sy, sx)``, from the two extents (height, width).

    Convolutions round up, so the extents alone do not give the stride: at 800 pixels a stride of 128 makes 7 cells.
    In this order: the same exact quotient on both axes; a whole number whose ceil division gives the map on both axes
    (a power of two where several do); the same with floor division (patch embedding without padding); and, for
    maps that are stretched to a fixed size (adaptive pooling), the quotient of each axis.
    """
    (height, width), (rows, columns) = input_shape, map_shape
    if min(height, width, rows, columns) < 1:
        raise GeometryError(f'no stride leads from an input of {input_shape} to a map of {map_shape}')
    if height * columns == width * rows and (height % rows == 0 or rows % height == 0):
        return height / rows, width / columns
    ceil = _whole_between(
        max(math.ceil(height / rows), math.ceil(width / columns)),
        min(_last_ceil(height, rows), _last_ceil(width, columns)),
    )
    floor = _whole_between(
        max(height // (rows + 1), width // (columns + 1)) + 1,
        min(height // rows, width // columns),
    )
    whole = ceil or floor
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
