"""How an image lies in a network input that is ready, found by holding one against the other.

The usual ways to lay an image into an input of that size are tried on small copies; the likeliest few are refined by
maximising the enhanced correlation coefficient (Evangelidis and Psarakis, 2008) over affine maps. What counts is how
well the image's colours explain each channel linearly, so that any normalisation and order of colours will do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry
from featmap.geometry.lines import Line, offset_of
from featmap.geometry.measured import difference
from featmap.models.preprocessing.candidates import candidates

LEAST = 0.9
"""Correlation from which on a tensor counts as made of an image."""

_SMALL, _LARGE = 96, 448  # pixels of the longer side of an input: to choose by, and to refine on
_REFINED = 4  # candidates
_APART = 0.02  # by which the best has to be above any that puts the image elsewhere
_SAME = 0.5  # pixels of the input within which a known way counts as the one that was taken
_SKEW = 1.0  # pixels of the input, from the middle to an edge
_LEAST_SIDE = 6  # pixels on which anything can be told
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-5)


@dataclass(frozen=True)
class Evidence:
    """Where an image lies.

    Attributes:
        geometry: How the image lies in the network input.
        correlation: Of the two, over the part of the input that the image takes up: up to 1.
    """

    geometry: ImageGeometry
    correlation: float


def find_image(tensor: np.ndarray, image: np.ndarray) -> Evidence:
    """How an (H, W, 3) uint8 image lies in a network input (C, h, w) that was made of it.

    Raises:
        GeometryError: the two are not alike, alike in several ways, or the image is turned or sheared.
    """
    if not np.isfinite(tensor).all():
        raise GeometryError('the tensor holds values that are not finite')
    given = np.ascontiguousarray(tensor.transpose(1, 2, 0), np.float32)
    whole = image.astype(np.float32)
    few, small = (_limited(plane, most) for plane, most in ((given, _SMALL), (whole, 2 * _SMALL)))
    ways = list(candidates(image.shape[:2], given.shape[:2]))
    scores = np.array([_Pair.of(few, small, way).correlation for way in ways])
    given = _limited(given, _LARGE)
    best = float(scores.max())
    for number in np.argsort(-scores)[:_REFINED]:
        geometry, skew = _refined(given, whole, ways[number])
        if geometry is None:
            continue
        found = Evidence(geometry, _Pair.of(given, whole, geometry).correlation)
        best = max(best, found.correlation)
        if found.correlation < LEAST:
            continue
        if skew > _SKEW:
            raise GeometryError('the image is turned or sheared in the tensor')
        nearest = min(ways, key=lambda way: max(difference(geometry, way)))
        if max(difference(geometry, nearest)) <= _SAME:
            found = Evidence(nearest, _Pair.of(given, whole, nearest).correlation)
        for other in np.flatnonzero(scores > scores.max() - 2 * _APART):
            elsewhere = max(difference(found.geometry, ways[other])) > max(tensor.shape[-2:]) / 32
            if elsewhere and _Pair.of(given, whole, ways[other]).correlation > found.correlation - _APART:
                raise GeometryError('the image fits into the tensor in several ways, such as mirrored and not')
        return found
    raise GeometryError(
        f'the tensor does not look as if it was made of this image: the best fit correlates by {best:.2f}, and '
        f'{LEAST:g} is asked for'
    )


@dataclass(frozen=True)
class _Pair:
    """The part of an input that an image takes up, and that part of the image: (n, m, C) and (n, m, 3), float32.

    Attributes:
        given: Of the input.
        laid: Of the image.
        first: Column and row of the part in the input.
        side: Width and height of the whole image as it lies there.
    """

    given: np.ndarray
    laid: np.ndarray
    first: tuple[int, int]
    side: tuple[int, int]

    @classmethod
    def of(cls, given: np.ndarray, image: np.ndarray, way: ImageGeometry) -> _Pair:
        """On copies of an input and an image of any size, which are (h, w, C) and (H, W, 3)."""
        (height, width), (rows, columns) = way.image_shape, way.input_shape
        fx, fy = given.shape[1] / columns, given.shape[0] / rows
        side = max(round(width * way.scale[0] * fx), 1), max(round(height * way.scale[1] * fy), 1)
        laid = _resized(image, side)[:: -1 if way.flip[1] else 1, :: -1 if way.flip[0] else 1]
        left, top = way.offset[0] * fx, way.offset[1] * fy
        # A pixel less at the edges, where the pads blend in.
        x1, y1 = max(math.ceil(left) + 1, 0), max(math.ceil(top) + 1, 0)
        x2 = max(min(math.floor(left + side[0]) - 1, given.shape[1]), x1)
        y2 = max(min(math.floor(top + side[1]) - 1, given.shape[0]), y1)
        if min(x2 - x1, y2 - y1) < _LEAST_SIDE:
            return cls(given[:0], laid[:0], (x1, y1), side)
        shift = np.array([[1, 0, x1 - left], [0, 1, y1 - top]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        laid = cv2.warpAffine(laid, shift, (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        part = given[y1:y2, x1:x2]
        # Resizers differ in what they make of detail: a blur takes that out.
        return cls(_blurred(part), _blurred(laid), (x1, y1), side)

    @property
    def mixture(self) -> tuple[np.ndarray, np.ndarray] | None:
        """What the colours of the image, and one, count in the input's channels, (4, C); what they leave over of each.

        The latter is a share of the variance. None where one of them is flat.
        """
        if not self.given.size or np.ptp(self.laid) <= 1e-3:
            return None
        channels = self.given.reshape(-1, self.given.shape[-1]).astype(np.float64)
        varied = channels.var(axis=0)
        if varied.max() <= 1e-9:
            return None
        colours = self.laid.reshape(-1, 3).astype(np.float64)
        terms = np.concatenate([colours - colours.mean(axis=0), np.ones((len(colours), 1))], axis=1)
        counts = np.linalg.lstsq(terms.T @ terms, terms.T @ channels, rcond=1e-9)[0]
        left = (channels - terms @ counts).var(axis=0)
        return counts, left / np.maximum(varied, 1e-9 * varied.max())

    @property
    def correlation(self) -> float:
        """Of the input's channels with what the image makes of them; 0 where either is flat."""
        mixture = self.mixture
        return 0.0 if mixture is None else math.sqrt(max(1 - float(np.minimum(mixture[1], 1).mean()), 0))


def _refined(given: np.ndarray, image: np.ndarray, way: ImageGeometry) -> tuple[ImageGeometry | None, float]:
    """The affine map near a way that fits best, and by how many pixels of the input it is off the axes."""
    pair = _Pair.of(given, image, way)
    mixture = pair.mixture
    if mixture is None:
        return None, 0.0
    channel = int(mixture[1].argmin())
    counts = mixture[0][:3, channel].astype(np.float32)
    flipped = image[:: -1 if way.flip[1] else 1, :: -1 if way.flip[0] else 1]
    content = np.ascontiguousarray(_resized(flipped, pair.side) @ counts)
    part = np.ascontiguousarray(pair.given[..., channel])
    (height, width), (rows, columns) = way.image_shape, way.input_shape
    factors = given.shape[1] / columns, given.shape[0] / rows
    warp = np.eye(2, 3, dtype=np.float32)
    warp[:, 2] = [first - offset * factor for first, offset, factor in zip(pair.first, way.offset, factors)]
    try:
        _, warp = cv2.findTransformECC(part, content, warp, cv2.MOTION_AFFINE, _CRITERIA, None, 5)  # type: ignore
    except cv2.error:  # it does not converge: the two are not alike
        return None, 0.0
    middle = part.shape[1] / 2, part.shape[0] / 2
    lines = []
    for axis, extent in enumerate((width, height)):
        # From index in the part to index in the content; both count from the middle of the first pixel.
        slope, across = float(warp[axis, axis]), float(warp[axis, 1 - axis]) * middle[1 - axis]
        pixel = extent / pair.side[axis]
        start = (slope * (-0.5 - pair.first[axis]) + across + float(warp[axis, 2]) + 0.5) * pixel
        slope *= factors[axis] * pixel
        if not 0.5 < slope * way.scale[axis] < 2:
            return None, 0.0
        lines.append(Line(-slope, extent - start, 0.0) if way.flip[axis] else Line(slope, start, 0.0))
    scale = 1 / abs(lines[0].slope), 1 / abs(lines[1].slope)
    offset = offset_of(lines[0], width), offset_of(lines[1], height)
    skew = max(abs(warp[0, 1]) * middle[1] / factors[0], abs(warp[1, 0]) * middle[0] / factors[1])
    try:
        return ImageGeometry(way.image_shape, way.input_shape, scale, offset, way.flip), float(skew)
    except GeometryError:  # it has left the input
        return None, 0.0


def _limited(plane: np.ndarray, most: int) -> np.ndarray:
    """A copy whose longer side is no more than ``most``."""
    factor = most / max(plane.shape[:2])
    return plane if factor >= 1 else _resized(plane, (_side(plane.shape[1] * factor), _side(plane.shape[0] * factor)))


def _side(length: float) -> int:
    return max(round(length), 1)


def _resized(plane: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    """To a width and height; with several channels or one."""
    shrinks = side[0] < plane.shape[1] or side[1] < plane.shape[0]
    found = cv2.resize(plane, side, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return found if found.ndim == plane.ndim else found[..., None]


def _blurred(plane: np.ndarray) -> np.ndarray:
    found = cv2.GaussianBlur(np.ascontiguousarray(plane), (3, 3), 0)
    return found if found.ndim == plane.ndim else found[..., None]
