"""Where a preprocessing puts an image that it normalises by what is in it, such as its own mean and deviation.

Black and white come out alike there, and what a grey level becomes is another thing in each image. But within one
image it is still a linear function of the level: a parabola stays one, with its vertex in the same place. Two bowls
with their bottoms in opposite corners of the image tell scale, shift and flip by where the bottoms come out, and a
plane tells whether positions are bent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from featmap.errors import GeometryError
from featmap.geometry.image import ImageGeometry
from featmap.geometry.lines import FEW, Line, Reach, assembled, bounds, channels, largest_block, samples
from featmap.geometry.probes import BOWL, TILT, asymmetric_probe, bowl_images

_UNLIKE = 0.01  # share by which one contrast may come out unlike on both axes, where all of the image is seen
_MOST_UNLIKE = 0.2  # where little of it is, or it is tiny: between a few pixels a parabola is a row of lines
_NARROW = 0.4  # share of an axis that is seen
_SPARES = 0.75, 0.125  # shares of it beyond either end, at first and when it is known better
_NOT_FOUND = (
    'where the image lies cannot be measured: what becomes of a grey level depends on the rest of the image, and not '
    'by a mean and a deviation alone'
)


def measure_by_vertices(
    preprocess: Callable[[np.ndarray], np.ndarray], image_shape: tuple[int, int]
) -> tuple[ImageGeometry, float]:
    """The geometry of a preprocessing that may normalise each image by itself, and the largest deviation from it.

    It takes three calls, and four more where much of the image is cut off. The deviation is in original pixels,
    averaged over blocks of an eighth of the content.

    Raises:
        GeometryError: see :func:`featmap.geometry.measure`.
    """
    height, width = image_shape
    if min(image_shape) < FEW:
        raise GeometryError(f'{_NOT_FOUND}; an image of {width}x{height} is too small to tell more')
    tilted = preprocess(asymmetric_probe(image_shape))
    window: tuple[float, ...] = (0.0, 0.0, float(width), float(height))
    outputs = [*map(preprocess, bowl_images(image_shape, window)), tilted]
    part = _found(outputs, image_shape, window, strict=False)[0].visible
    narrow = [part[axis + 2] - part[axis] < _NARROW * extent for axis, extent in enumerate((width, height))]
    for spare in _SPARES if any(narrow) else ():
        # Over a small part of it, a parabola is as good as straight: others that rise about that part alone.
        outer = [part[end] - (part[2 + end % 2] - part[end % 2]) * spare * (1 if end < 2 else -1) for end in range(4)]
        window = tuple(outer[end] if narrow[end % 2] else window[end] for end in range(4))
        outputs = [*map(preprocess, bowl_images(image_shape, window)), tilted]
        part = _found(outputs, image_shape, window, strict=False)[0].visible
    return _found(outputs, image_shape, window, strict=True)


def _found(
    outputs: Sequence[np.ndarray], image_shape: tuple[int, int], window: tuple[float, ...], strict: bool
) -> tuple[ImageGeometry, float]:
    """The geometry, and the deviation from it, by what became of two bowls and a plane.

    Unless ``strict``, what contradicts it is passed over.
    """
    planes = _planes(outputs)
    # Rows of padding are all of one level, if not of the same one in each image.
    varied = [np.maximum(np.ptp(planes[0], axis=axis), np.ptp(planes[1], axis=axis)) for axis in (1, 0)]
    rows, columns = (bounds(each > each.max() / 4) for each in varied)
    reaches = Reach(*columns, image_shape[1]), Reach(*rows, image_shape[0])
    if any(each.last - each.first < FEW for each in reaches):
        raise GeometryError(_TOO_LITTLE)
    grid = np.ix_(samples(rows), samples(columns))
    x, y = _lines(
        [plane[grid].astype(np.float64) for plane in planes], grid, reaches, (window[::2], window[1::2]), strict
    )
    shape = planes[0].shape[0], planes[0].shape[1]
    return assembled(shape, (x, reaches[0]), (y, reaches[1])), max(x.residual, y.residual)


_TOO_LITTLE = 'too little of the image is left to measure where it lies'


def _planes(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Of each output the (h, w) float32 channel in which the first one varies most."""
    first = channels(outputs[0])
    step = max(min(first.shape[-2:]) // 64, 1)
    few = first[:, ::step, ::step].astype(np.float32)
    best = int(np.nan_to_num(np.ptp(few, axis=(1, 2))).argmax())
    found = [channels(output, outputs[0].shape)[best].astype(np.float32) for output in outputs]
    if not all(np.isfinite(plane).all() and np.ptp(plane) > 1e-6 for plane in found):
        raise GeometryError('all images come out alike, so where one lies cannot be measured')
    return found


def _lines(
    seen: Sequence[np.ndarray],
    grid: tuple[np.ndarray, ...],
    reaches: tuple[Reach, Reach],
    windows: tuple[tuple[float, ...], ...],
    strict: bool,
) -> list[Line]:
    """The lines of both axes, by what became of two bowls and a plane at some rows and columns."""
    axes = [axis.astype(np.float64) + 0.5 for axis in grid][::-1]
    # About the middle, in halves: squares of whole pixels would drown the rest.
    middles = [(reach.first + reach.last) / 2 for reach in reaches]
    halves = [(reach.last - reach.first) / 2 for reach in reaches]
    u, v = np.broadcast_arrays(*((axis - middle) / half for axis, middle, half in zip(axes, middles, halves)))
    used = np.ones(u.shape, bool)
    for _ in range(3):
        terms = np.stack([u**2, v**2, u, v, np.ones_like(u)], axis=-1)
        fits = [_solved(terms[..., first:], plane, used) for plane, first in zip(seen, (0, 0, 2))]
        found = [_line(fits, axis, window) for axis, window in enumerate(windows)]
        places = [slope * axis + start for (slope, start), axis in zip(found, (u, v))]
        # Resizing repeats the outermost pixels.
        inside = np.logical_and(*((at > 0.75) & (at < reach.extent - 0.75) for at, reach in zip(places, reaches)))
        if (inside == used).all():
            break
        used = inside
    if used.sum() < 4 * FEW:
        raise GeometryError(_TOO_LITTLE)
    extents = [window[1] - window[0] for window in windows]
    contrasts = np.array(
        [
            _contrasts(fits, axis, slope / extent, slope / reach.extent)
            for axis, ((slope, _), extent, reach) in enumerate(zip(found, extents, reaches))
        ]
    )
    least = min(min(abs(2 * slope) / extent, 1) for (slope, _), extent in zip(found, extents))
    unlike = np.abs(contrasts[0] - contrasts[1]) / np.abs(contrasts).max(axis=0)
    allowed = _UNLIKE / least**2 + 1 / min(reach.extent for reach in reaches)
    if strict and (unlike > min(allowed, _MOST_UNLIKE)).any():
        raise GeometryError(_NOT_FOUND)
    strays = [
        largest_block(np.where(used, plane - terms[..., first:] @ fit, 0), used) / abs(contrast) / share
        for plane, fit, first, contrast, share in zip(
            seen, fits, (0, 0, 2), contrasts[0], (*[min(BOWL)] * 2, min(TILT))
        )
    ]
    lines = []
    for (slope, start), middle, half, extent, reach in zip(found, middles, halves, extents, reaches):
        residual = max(max(strays[:2]) * extent, strays[2] * reach.extent)
        ends = sorted((start - slope, start + slope))
        # What is of the image, and not padding, is to lie within it.
        beyond = max(-ends[0], ends[1] - reach.extent)
        pixel = abs(slope / half)
        allowed = 0.5 + pixel / 2 + reach.extent / 510
        if strict and (residual > allowed or beyond > 1 + 2 * pixel + reach.extent / 255):
            raise GeometryError(_NOT_FOUND)
        lines.append(Line(slope / half, start - slope * middle / half, residual))
    return lines


def _solved(terms: np.ndarray, plane: np.ndarray, used: np.ndarray) -> np.ndarray:
    """What each of (n, m, k) terms counts in a plane: (k,)."""
    if used.sum() < 4 * FEW:
        raise GeometryError(_TOO_LITTLE)
    return np.linalg.lstsq(terms[used], plane[used], rcond=None)[0]


def _line(fits: Sequence[np.ndarray], axis: int, window: tuple[float, ...]) -> tuple[float, float]:
    """Slope and start of the line that leads from where the bowls' bottoms came out to where they are."""
    with np.errstate(divide='ignore', invalid='ignore'):
        near, far = (-bowl[2 + axis] / (2 * bowl[axis]) for bowl in fits[:2])
        slope = (window[1] - window[0]) / (far - near)
    if not np.isfinite([near, far, slope]).all():
        raise GeometryError(_NOT_FOUND)
    return float(slope), float(window[0] - slope * near)


def _contrasts(fits: Sequence[np.ndarray], axis: int, step: float, whole_step: float) -> list[float]:
    """How far black and white came apart in each of the images, as one axis of them tells.

    Steps are those of the bowls and of the plane, in extents of their own.
    """
    bowls = [bowl[axis] / step**2 / BOWL[1 - axis] for bowl in fits[:2]]
    return [*bowls, fits[2][axis] / whole_step / TILT[1 - axis]]
