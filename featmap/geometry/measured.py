"""Where a preprocessing puts an image, found by showing it probe images.

What a pipeline tells of itself is a claim: two resizes in a row, a crop or a second flip leave entries behind that say
something else than what was done. So images of the original's size go through it: black, white, a ramp along each axis,
and one against both. Where black and white differ there is content; there, how far a ramp has come from black to white
is the original position that was looked up. Least squares make one affine map of these positions, and what it leaves
over tells rotations, shears and everything that is bent. Nothing is known here of any framework.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from featmap.errors import GeometryError
from featmap.geometry.image import ImageGeometry
from featmap.geometry.probes import as_grey, plain_images, ramp_planes

Preprocess = Callable[[np.ndarray], np.ndarray]
"""From an (H, W, 3) uint8 image to the network input, (C, h, w) or (h, w)."""

_BLOCKS = 8
_SAMPLES = 192  # along each axis: more do not make the fit better
_FEW = 4  # cells of an axis on which no line can be told from a step


@dataclass(frozen=True)
class Measurement:
    """What probe images tell.

    Attributes:
        geometry: How the image lies in the network input.
        residual: The largest deviation from it, in original pixels, averaged over blocks of an eighth of the content.
    """

    geometry: ImageGeometry
    residual: float


def measure(preprocess: Preprocess, image_shape: tuple[int, int]) -> Measurement:
    """The geometry of a preprocessing for images of this height and width.

    Three calls are enough where colours stay apart, and their order stays or is turned round; else it takes six.

    Raises:
        GeometryError: what the preprocessing does is not a scaling, shift, flip and crop along the axes, or it leaves
            nothing on which that can be measured.
    """
    if len(image_shape) != 2:
        raise GeometryError('expected the height and width of the image as image_shape, such as image.shape[:2]')
    content = _Content.between(*(preprocess(plain) for plain in plain_images(image_shape)))
    ramps = ramp_planes(image_shape)
    if content.channels == 3:
        ways = content.ways(preprocess(np.stack(ramps, axis=-1)))
        for order in ((0, 1, 2), (2, 1, 0)):
            try:
                return _fit(content, [ways[channel] for channel in order], image_shape)
            except GeometryError:
                continue
    return _fit(content, [content.way(preprocess(as_grey(ramp))) for ramp in ramps], image_shape)


def fit(outputs: Sequence[np.ndarray], image_shape: tuple[int, int]) -> Measurement:
    """The geometry that made these network inputs, (C, h, w) or (h, w).

    Args:
        outputs: What became of the five :func:`featmap.geometry.probes.probe_images`.
        image_shape: Height and width of these.

    Raises:
        GeometryError: see :func:`measure`.
    """
    black, white, *ramps = outputs
    content = _Content.between(black, white)
    return _fit(content, [content.way(ramp) for ramp in ramps], image_shape)


def agree(claimed: ImageGeometry, measured: ImageGeometry, within: float) -> bool:
    """Whether two geometries put an image in the same place, up to what rounds in resizing and in measuring.

    That is ``within`` pixels of the network input, or a quarter of an original one where these are larger.
    """
    return all(
        far <= max(within, factor / 4)
        for far, factor in zip(difference(claimed, measured), (max(p) for p in zip(claimed.scale, measured.scale)))
    )


def difference(first: ImageGeometry, second: ImageGeometry) -> tuple[float, float]:
    """How far apart two geometries of one image put it at most, in x and y, in network input pixels.

    Compared are the corners of the part that both let in, and where it ends. Infinite for different inputs.
    """
    nowhere = float('inf'), float('inf')
    if (first.image_shape, first.input_shape) != (second.image_shape, second.input_shape):
        return nowhere
    one, other = first.visible, second.visible
    found = []
    for axis in (0, 1):
        ends = max(one[axis], other[axis]), min(one[axis + 2], other[axis + 2])
        if ends[0] >= ends[1]:
            return nowhere
        distances = [abs(first.to_input(end, end)[axis] - second.to_input(end, end)[axis]) for end in ends]
        # Half of it: a pixel at the edge of a crop is gained or lost by rounding.
        half = max(first.scale[axis], second.scale[axis]) / 2
        found.append(max(*distances, *(abs(one[axis + end] - other[axis + end]) * half for end in (0, 2))))
    return found[0], found[1]


@dataclass(frozen=True)
class _Content:
    """Where black and white come out unlike, and as what.

    Whole network inputs are not kept: to take new memory for them costs more than all that is reckoned here.

    Attributes:
        shape: Of the network input, (C, h, w) or (h, w).
        rows: From where to where there is content.
        columns: The same for columns.
        grid: Indices of the (n, m) pixels that are looked at.
        seen: (n, m) bool, which of them are content.
        black: (C, n, m) float64, what black became.
        span: (C, n, m), how far white is from it.
        best: The channel in which that is furthest.
    """

    shape: tuple[int, ...]
    rows: tuple[int, int]
    columns: tuple[int, int]
    grid: tuple[np.ndarray, ...]
    seen: np.ndarray
    black: np.ndarray
    span: np.ndarray
    best: int

    @classmethod
    def between(cls, black: np.ndarray, white: np.ndarray) -> _Content:
        black_planes = _channels(black)  # tells first what is no array
        shape, black, white = black.shape, black_planes, _channels(white, black.shape)
        step = max(min(shape[-2:]) // 16, 1)
        spans = np.abs(white[:, ::step, ::step].astype(np.float64) - black[:, ::step, ::step])
        best = int(np.nan_to_num(spans).max(axis=(1, 2)).argmax())
        size = np.abs(white[best].astype(np.float32) - black[best])
        if not np.isfinite(size).all() or size.max() <= 1e-6:
            raise GeometryError(
                'black and white images come out alike, so where an image lies cannot be measured (is it normalised '
                'by its own mean and deviation?)'
            )
        hit = size > size.max() / 2
        rows, columns = _bounds(hit.any(axis=1)), _bounds(hit.any(axis=0))
        grid = np.ix_(_samples(rows), _samples(columns))
        low, high = (output[:, grid[0], grid[1]].astype(np.float64) for output in (black, white))
        return cls(shape, rows, columns, grid, hit[grid], low, high - low, best)

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.black)

    def ways(self, output: np.ndarray) -> np.ndarray:
        """How far an output is from black to white, 0 to 1: (C, n, m); 0 where there is no content."""
        found = _channels(output, self.shape)[:, self.grid[0], self.grid[1]] - self.black
        return np.divide(found, self.span, out=np.zeros_like(found), where=self.seen & (self.span != 0))

    def way(self, output: np.ndarray) -> np.ndarray:
        """The same of the best channel: (n, m)."""
        return self.ways(output)[self.best]


class _Line(NamedTuple):
    """original position = slope · input position + start; the largest mean deviation of a block."""

    slope: float
    start: float
    residual: float


def _fit(content: _Content, ways: Sequence[np.ndarray], image_shape: tuple[int, int]) -> Measurement:
    """The geometry by how far a ramp in x, one in y and one against both have come from black to white."""
    v, u = (axis.astype(np.float64) + 0.5 for axis in content.grid)
    # The three would add up to one way from black to white, were nothing rounded to one side.
    rounded = _by_lines(ways[0] / 4 + ways[1] / 4 + ways[2] / 2 - 0.5, content.seen)
    height, width = image_shape
    x = _fit_axis((ways[0] - rounded) * width, u, v, content.seen, width, content.columns)
    y = _fit_axis((ways[1] - rounded) * height, v, u, content.seen, height, content.rows)
    geometry = ImageGeometry(
        image_shape=(height, width),
        input_shape=(content.shape[-2], content.shape[-1]),
        scale=(1 / abs(x.slope), 1 / abs(y.slope)),
        offset=(_offset(x, width), _offset(y, height)),
        flip=(x.slope < 0, y.slope < 0),
    )
    geometry = _with_crop(geometry, (x, content.columns, width), (y, content.rows, height))
    return Measurement(geometry, max(x.residual, y.residual))


def _by_lines(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(n, m) values without their noise, where they differ by row and by column, as the rounding of a resize does."""
    kept = np.where(seen, values, 0.0)
    counts = [np.maximum(seen.sum(axis=axis, keepdims=True), 1) for axis in (0, 1)]
    columns, rows = (kept.sum(axis=axis, keepdims=True) / count for axis, count in enumerate(counts))
    return columns + rows - kept.sum() / max(seen.sum(), 1)


def _channels(output: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """An output as (C, h, w), which is to be of the shape of the first one."""
    if not isinstance(output, np.ndarray):
        raise GeometryError(f'expected a network input that is an array of (C, h, w), got {type(output).__name__}')
    if shape is not None and output.shape != shape:
        raise GeometryError(f'images of one size come out in several: {shape} and {output.shape}')
    if output.ndim not in (2, 3) or not output.size:
        raise GeometryError(f'expected a network input of (C, h, w) or (h, w), got {output.shape}')
    return output if output.ndim == 3 else output[None]


def _bounds(hit: np.ndarray) -> tuple[int, int]:
    found = np.flatnonzero(hit)
    return int(found[0]), int(found[-1]) + 1


def _samples(bounds: tuple[int, int]) -> np.ndarray:
    """Up to ``_SAMPLES`` indices, one by lot of each of as many parts: even steps would beat with a resize's."""
    first, last = bounds
    count = min(last - first, _SAMPLES)
    within = np.random.default_rng(0).random(count) if count < last - first else np.zeros(count)
    return first + ((np.arange(count) + within) * (last - first) / count).astype(np.intp)


def _fit_axis(
    position: np.ndarray, along: np.ndarray, across: np.ndarray, seen: np.ndarray, extent: int, bounds: tuple[int, int]
) -> _Line:
    """The line through (n, m) original positions on one axis, as seen at input positions along and across it."""
    length = bounds[1] - bounds[0]
    if min(extent, length) < _FEW:
        # Too short for a ramp: the whole axis, as far as anyone can see.
        return _Line(extent / length, -bounds[0] * extent / length, 0.0)
    along, across = np.broadcast_arrays(along, across)
    # Resizing repeats the outermost pixels, so that a ramp is level before the middle of the first and last.
    margin = 1.5 * extent / 255
    used = seen & (position > 0.5 + margin) & (position < extent - 0.5 - margin)
    for _ in range(3):
        if used.sum() < _FEW or np.ptp(along[used]) < 2:
            raise GeometryError('too little of the image is left to measure where it lies')
        slope, skew, start = _plane(position[used], along[used], across[used])
        predicted = slope * along + skew * across + start
        # By the fit, not by what was seen: choosing among noisy positions by their value would bend the line.
        inside = seen & (predicted > 0.75) & (predicted < extent - 0.75)
        if (inside == used).all():
            break
        used = inside
    # Resizers round to a grey level, which on large images is many pixels; what is left of that here is less than a
    # quarter of one.
    allowed = 0.5 + abs(slope) / 2 + extent / 255 / 4
    if abs(slope) * length < 0.25 or abs(skew) * np.ptp(across[used]) > allowed:
        raise GeometryError('the image is turned or sheared, and a map could not be laid over it along its axes')
    residual = _residual(np.where(used, position - predicted, 0), used)
    if residual > allowed:
        raise GeometryError(
            f'the image is put together or bent: up to {residual:.1f} of its pixels from where one scaling, shift and '
            'flip would put it'
        )
    return _Line(float(slope), float(start + skew * across[used].mean()), residual)


def _plane(position: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Slope, skew and start: position = slope · along + skew · across + start."""
    terms = np.stack([along, across, np.ones_like(along)], axis=1)
    return np.linalg.lstsq(terms, position.astype(np.float64), rcond=None)[0]


def _residual(deviation: np.ndarray, used: np.ndarray) -> float:
    """The largest mean deviation of a block: single pixels are rounded to a grey level, their means are not."""
    rows, columns = (np.arange(count) * _BLOCKS // count for count in used.shape)
    blocks = (rows[:, None] * _BLOCKS + columns)[used]
    counts = np.bincount(blocks, minlength=_BLOCKS**2)
    sums = np.bincount(blocks, deviation[used], _BLOCKS**2)
    full = counts >= max(counts.max() / 4, 1)
    return float(np.abs(sums[full] / counts[full]).max())


def _offset(line: _Line, extent: int) -> float:
    """Input position of the image's low edge, or of its high one where it is flipped: where the content begins."""
    if line.slope > 0:
        return -line.start / line.slope
    # As ImageGeometry counts from the other end.
    return -line.start / line.slope - max(round(extent / abs(line.slope)), 1)


def _with_crop(geometry: ImageGeometry, *axes: tuple[_Line, tuple[int, int], int]) -> ImageGeometry:
    """The geometry with the part of the image that was found, where that is not all that fits into the input."""
    crop: list[list[float]] = []
    for line, bounds, extent in axes:
        ends = sorted(line.slope * bound + line.start for bound in bounds)
        # A pixel less is rounding, and resizing blurs the edge.
        slack = 1.5 * abs(line.slope)
        crop.append([0.0 if ends[0] < slack else ends[0], float(extent) if ends[1] > extent - slack else ends[1]])
    if all(ends == [0.0, extent] for ends, (_, _, extent) in zip(crop, axes)):
        return geometry
    (x1, x2), (y1, y2) = crop
    return ImageGeometry(
        geometry.image_shape, geometry.input_shape, geometry.scale, geometry.offset, geometry.flip, (x1, y1, x2, y2)
    )
