"""What two lines, one along each axis, say of where an image lies, and what is looked at to find them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from featmap.errors import GeometryError
from featmap.geometry.image import ImageGeometry

FEW = 4
"""Cells of an axis on which no line can be told from a step."""

_BLOCKS = 8
_SAMPLES = 192  # along each axis: more do not make the fit better


class Line(NamedTuple):
    """original position = slope · input position + start; the largest mean deviation of a block."""

    slope: float
    start: float
    residual: float


class Reach(NamedTuple):
    """From where to where the content of the input reaches on one axis, and how long the original image is on it."""

    first: int
    last: int
    extent: int

    @property
    def whole(self) -> Line | None:
        """The line of an axis too short to be measured: all of it, as far as anyone can see. None for others."""
        if min(self.extent, self.last - self.first) >= FEW:
            return None
        slope = self.extent / (self.last - self.first)
        return Line(slope, -self.first * slope, 0.0)


def channels(output: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """An output as (C, h, w), which is to be of the shape of the first one."""
    if not isinstance(output, np.ndarray):
        raise GeometryError(f'expected a network input that is an array of (C, h, w), got {type(output).__name__}')
    if shape is not None and output.shape != shape:
        raise GeometryError(f'images of one size come out in several: {shape} and {output.shape}')
    if output.ndim not in (2, 3) or not output.size:
        raise GeometryError(f'expected a network input of (C, h, w) or (h, w), got {output.shape}')
    return output if output.ndim == 3 else output[None]


def bounds(hit: np.ndarray) -> tuple[int, int]:
    """From where to where a row of truth values holds."""
    found = np.flatnonzero(hit)
    return int(found[0]), int(found[-1]) + 1


def samples(ends: tuple[int, int]) -> np.ndarray:
    """Up to ``_SAMPLES`` indices, one by lot of each of as many parts: even steps would beat with a resize's."""
    first, last = ends
    count = min(last - first, _SAMPLES)
    within = np.random.default_rng(0).random(count) if count < last - first else np.zeros(count)
    return first + ((np.arange(count) + within) * (last - first) / count).astype(np.intp)


def largest_block(deviation: np.ndarray, used: np.ndarray) -> float:
    """The largest mean deviation of a block: single pixels are rounded to a grey level, their means are not."""
    rows, columns = (np.arange(count) * _BLOCKS // count for count in used.shape)
    blocks = (rows[:, None] * _BLOCKS + columns)[used]
    counts = np.bincount(blocks, minlength=_BLOCKS**2)
    sums = np.bincount(blocks, deviation[used], _BLOCKS**2)
    full = counts >= max(counts.max() / 4, 1)
    return float(np.abs(sums[full] / counts[full]).max())


def assembled(input_shape: tuple[int, int], x: tuple[Line, Reach], y: tuple[Line, Reach]) -> ImageGeometry:
    """The geometry that these lines tell, with the part of the image that was found where that is not all that fits."""
    (across, columns), (down, rows) = x, y
    geometry = ImageGeometry(
        image_shape=(rows.extent, columns.extent),
        input_shape=input_shape,
        scale=(1 / abs(across.slope), 1 / abs(down.slope)),
        offset=(offset_of(across, columns.extent), offset_of(down, rows.extent)),
        flip=(across.slope < 0, down.slope < 0),
    )
    return _with_crop(geometry, x, y)


def offset_of(line: Line, extent: int) -> float:
    """Input position of the image's low edge, or of its high one where it is flipped: where the content begins."""
    if line.slope > 0:
        return -line.start / line.slope
    # As ImageGeometry counts from the other end.
    return -line.start / line.slope - max(round(extent / abs(line.slope)), 1)


def _with_crop(geometry: ImageGeometry, *axes: tuple[Line, Reach]) -> ImageGeometry:
    crop: list[list[float]] = []
    for line, (first, last, extent) in axes:
        ends = sorted(line.slope * bound + line.start for bound in (first, last))
        # A pixel less is rounding, and resizing blurs the edge.
        slack = 1.5 * abs(line.slope)
        crop.append([0.0 if ends[0] < slack else ends[0], float(extent) if ends[1] > extent - slack else ends[1]])
    if all(ends == [0.0, reach.extent] for ends, (_, reach) in zip(crop, axes)):
        return geometry
    (x1, x2), (y1, y2) = crop
    return ImageGeometry(
        geometry.image_shape, geometry.input_shape, geometry.scale, geometry.offset, geometry.flip, (x1, y1, x2, y2)
    )
