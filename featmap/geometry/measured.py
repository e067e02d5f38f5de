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

import numpy as np

from featmap.errors import GeometryError
from featmap.geometry.image import ImageGeometry
from featmap.geometry.lines import FEW, Line, Reach, assembled, bounds, channels, largest_block, samples
from featmap.geometry.mirrored import unmirrored
from featmap.geometry.probes import TILT, as_grey, asymmetric_probe, plain_images, ramp_planes
from featmap.geometry.vertices import measure_by_vertices

Preprocess = Callable[[np.ndarray], np.ndarray]
"""From an (H, W, 3) uint8 image to the network input, (C, h, w) or (h, w)."""

_CURVE = 34  # grey levels by which a curve of brightness is known
_ALLOWED_GREY = 4 / 255  # by which one more image may stray from what black and white promise of it: rounding


@dataclass(frozen=True)
class Measurement:
    """What probe images tell.

    Attributes:
        geometry: How the image lies in the network input.
        residual: The largest deviation from it, in original pixels, averaged over blocks of an eighth of the content.
        own_contrast: Whether what becomes of a grey level depends on the rest of the image.
    """

    geometry: ImageGeometry
    residual: float
    own_contrast: bool = False


def measure(preprocess: Preprocess, image_shape: tuple[int, int], any_contrast: bool = False) -> Measurement:
    """The geometry of a preprocessing for images of this height and width.

    Three calls are enough where colours stay apart, and their order stays or is turned round; else it takes six.

    Args:
        preprocess: The preprocessing.
        image_shape: Height and width.
        any_contrast: Whether it may change brightness and contrast by what is in the image, as normalising by an
            image's own mean and deviation does. To find out takes one call more, and two to six more where it does.

    Raises:
        GeometryError: what the preprocessing does is not a scaling, shift, flip and crop along the axes, or it leaves
            nothing on which that can be measured.
    """
    if len(image_shape) != 2:
        raise GeometryError('expected the height and width of the image as image_shape, such as image.shape[:2]')
    plains = [preprocess(plain) for plain in plain_images(image_shape)]
    try:
        content = _Content.between(*plains)
    except GeometryError:
        if not any_contrast or not _is_contrast_lost(*plains):
            raise
        return Measurement(*measure_by_vertices(preprocess, image_shape), own_contrast=True)
    if not any_contrast:
        return _measured(preprocess, content, image_shape)
    failed = None
    try:
        found = _measured(preprocess, content, image_shape)
        if content.foretells(preprocess(asymmetric_probe(image_shape)), found.geometry):
            return found
    except GeometryError as error:
        failed = error
    try:
        return Measurement(*measure_by_vertices(preprocess, image_shape), own_contrast=True)
    except GeometryError as error:
        failed = failed or error
    curve = _curve(preprocess, content, image_shape)
    if curve is None:
        raise failed
    ramps = map(as_grey, ramp_planes(image_shape))
    return _fit(content, [np.clip(curve(content.way(preprocess(ramp))), 0, 1) for ramp in ramps], image_shape)


def _curve(
    preprocess: Preprocess, content: _Content, image_shape: tuple[int, int]
) -> Callable[[np.ndarray], np.ndarray] | None:
    """From the way that a grey level went to the level, 0 to 1, where that is no straight line; None where it is.

    Raises:
        GeometryError: a level comes out as another does, or not alike everywhere.
    """
    levels = np.linspace(0, 255, _CURVE)[1:-1].astype(np.uint8)
    ways = [content.way(preprocess(np.full((*image_shape, 3), level, np.uint8)))[content.seen] for level in levels]
    middle = np.array([0.0, *(np.median(way) for way in ways), 1.0])
    shares = np.array([0.0, *(levels / 255), 1.0])
    if np.abs(middle - shares).max() < _ALLOWED_GREY:
        return None
    if np.diff(middle).min() < 2e-4 or max(np.quantile(np.abs(w - np.median(w)), 0.8) for w in ways) > 0.02:
        raise GeometryError(
            'brightness is changed by a curve that is flat, turns back, or depends on the place or on the rest of the '
            'image, so that where an image lies cannot be measured by it'
        )
    from scipy.interpolate import PchipInterpolator  # so rarely asked for

    return PchipInterpolator(middle, shares)


def _measured(preprocess: Preprocess, content: _Content, image_shape: tuple[int, int]) -> Measurement:
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
        black_planes = channels(black)  # tells first what is no array
        shape, black, white = black.shape, black_planes, channels(white, black.shape)
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
        rows, columns = bounds(hit.any(axis=1)), bounds(hit.any(axis=0))
        grid = np.ix_(samples(rows), samples(columns))
        low, high = (output[:, grid[0], grid[1]].astype(np.float64) for output in (black, white))
        return cls(shape, rows, columns, grid, hit[grid], low, high - low, best)

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.black)

    def ways(self, output: np.ndarray) -> np.ndarray:
        """How far an output is from black to white, 0 to 1: (C, n, m); 0 where there is no content."""
        found = channels(output, self.shape)[:, self.grid[0], self.grid[1]] - self.black
        return np.divide(found, self.span, out=np.zeros_like(found), where=self.seen & (self.span != 0))

    def way(self, output: np.ndarray) -> np.ndarray:
        """The same of the best channel: (n, m)."""
        return self.ways(output)[self.best]

    def foretells(self, tilted: np.ndarray, geometry: ImageGeometry) -> bool:
        """Whether one more image, the asymmetric probe, came out as black and white and its place promise."""
        (height, width), (down, across) = geometry.image_shape, TILT
        x, y = geometry.to_image(self.grid[1] + 0.5, self.grid[0] + 0.5)
        # At its edges the image may be blended with what is around it.
        used = self.seen & (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
        if not used.any():
            return True  # too little of it to say otherwise
        level = x / width * across + y / height * down
        return largest_block(np.where(used, self.way(tilted) - level, 0), used) <= _ALLOWED_GREY


def _is_contrast_lost(*plains: np.ndarray) -> bool:
    """Whether black and white came out as arrays of one shape, so that only their contrast is missing."""
    return all(isinstance(plain, np.ndarray) and plain.shape == plains[0].shape for plain in plains)


def _fit(content: _Content, ways: Sequence[np.ndarray], image_shape: tuple[int, int]) -> Measurement:
    """The geometry by how far a ramp in x, one in y and one against both have come from black to white."""
    v, u = (axis.astype(np.float64) + 0.5 for axis in content.grid)
    # The three would add up to one way from black to white, were nothing rounded to one side.
    rounded = _by_lines(ways[0] / 4 + ways[1] / 4 + ways[2] / 2 - 0.5, content.seen)
    rows, columns = Reach(*content.rows, image_shape[0]), Reach(*content.columns, image_shape[1])
    x, columns = _fit_reach((ways[0] - rounded) * columns.extent, u, v, content.seen, columns)
    y, rows = _fit_reach((ways[1] - rounded) * rows.extent, v, u, content.seen, rows)
    geometry = assembled((content.shape[-2], content.shape[-1]), (x, columns), (y, rows))
    return Measurement(geometry, max(x.residual, y.residual))


def _by_lines(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(n, m) values without their noise, where they differ by row and by column, as the rounding of a resize does."""
    kept = np.where(seen, values, 0.0)
    counts = [np.maximum(seen.sum(axis=axis, keepdims=True), 1) for axis in (0, 1)]
    columns, rows = (kept.sum(axis=axis, keepdims=True) / count for axis, count in enumerate(counts))
    return columns + rows - kept.sum() / max(seen.sum(), 1)


def _fit_reach(
    position: np.ndarray, along: np.ndarray, across: np.ndarray, seen: np.ndarray, reach: Reach
) -> tuple[Line, Reach]:
    """As :func:`_fit_axis`, and where the image itself lies: a border may be its reflection."""
    axis = int(along.shape[0] == 1)
    counts = seen.sum(axis=1 - axis)
    means = np.where(seen, position, 0).sum(axis=1 - axis)[counts > 0] / counts[counts > 0]
    image = unmirrored(means, along.ravel()[counts > 0], reach)
    if image is not None:
        reach, seen = image, seen & (along > image.first) & (along < image.last)
    return _fit_axis(position, along, across, seen, reach), reach


def _fit_axis(position: np.ndarray, along: np.ndarray, across: np.ndarray, seen: np.ndarray, reach: Reach) -> Line:
    """The line through (n, m) original positions on one axis, as seen at input positions along and across it."""
    length, extent = reach.last - reach.first, reach.extent
    if reach.whole:
        return reach.whole
    along, across = np.broadcast_arrays(along, across)
    # Resizing repeats the outermost pixels, so that a ramp is level before the middle of the first and last.
    margin = 1.5 * extent / 255
    used = seen & (position > 0.5 + margin) & (position < extent - 0.5 - margin)
    for _ in range(3):
        if used.sum() < FEW or np.ptp(along[used]) < 2:
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
    residual = largest_block(np.where(used, position - predicted, 0), used)
    if residual > allowed:
        raise GeometryError(
            f'the image is put together or bent: up to {residual:.1f} of its pixels from where one scaling, shift and '
            'flip would put it'
        )
    return Line(float(slope), float(start + skew * across[used].mean()), residual)


def _plane(position: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Slope, skew and start: position = slope · along + skew · across + start."""
    terms = np.stack([along, across, np.ones_like(along)], axis=1)
    return np.linalg.lstsq(terms, position.astype(np.float64), rcond=None)[0]
