"""How far from their nominal cells a layer's maps lie, measured with images and their mirror images.

A network that looked at every place alike would put the mirrored map out for a mirrored image. Convolutions of an even
stride do not: padded on both sides alike, each looks half a cell of its input to the left and up of the cell's middle,
and so do all after it, so that what an object excites is drawn right of and below it. Mirrored it is the other way
round, and half the shift between the map and the mirrored map of the mirrored image is the displacement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from featmap.geometry import Offset, Place

IMAGES = 8
"""So many images of a run are measured; the displacement of the shipped detector's layers varies by 0.02 to 0.1 cells
from one image to the next."""

_SHIFTS = np.arange(-10, 11) / 10
_MARGIN = 2  # cells at each end that are not compared: the network sees padding there, and a shift takes one in
# In cells. Interpolation half-way between cells takes detail away, so that detail which is not alike would pull there.
_SMOOTH = 1.0
_REACH = 4  # cells that a shift may look beyond the map
_FEWEST = 8  # cells along an axis, below which there is too little to compare
_BANDS = 4
_TRUSTED = 0.1  # cells of standard error
_AGREED = 0.05  # cells between the ways to a map, below which its arithmetic is not ambiguous


def energy(features: np.ndarray) -> np.ndarray:
    """How far each cell of (C, h, w) features is from the mean of all, (h, w): what no channel has a part in alone.

    The norm of the features would do as well, if layers that normalise each cell did not make it the same everywhere.
    """
    away = features - features.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return np.sqrt(np.einsum('chw,chw->hw', away, away))


@dataclass
class MirrorShift:
    """Along one axis, the correlation of maps with the mirrored maps of mirrored images, for a range of displacements.

    Each image is cut into bands across the axis, whose sums add up; leaving out one at a time gives the error.
    """

    sums: list[np.ndarray] = field(default_factory=list)

    def observe(self, straight: np.ndarray, mirrored: np.ndarray, slack: float = 0.0) -> None:
        """Take in one image.

        Args:
            straight: (n, cells), the map; the axis in question is the second one.
            mirrored: (n, cells), the map of the mirrored image, mirrored back.
            slack: How many cells the map is longer than the input.
        """
        if straight.shape != mirrored.shape or straight.shape[1] < _FEWEST or straight.shape[0] < _BANDS:
            return
        from scipy import ndimage  # a third of a second, which only calibration pays for

        scale = max(float(straight.std() + mirrored.std()) / 2, 1e-12)
        one, other = (
            ndimage.gaussian_filter(((plane - plane.mean()) / scale).astype(np.float64), _SMOOTH, mode='nearest')
            for plane in (straight, mirrored)
        )
        one, other = (
            np.pad(ndimage.spline_filter1d(plane), ((0, 0), (_REACH, _REACH)), 'edge') for plane in (one, other)
        )
        found = np.empty((_BANDS, len(_SHIFTS), 3))
        bands = np.arange(_BANDS) * len(one) // _BANDS
        for index, shift in enumerate(_SHIFTS):
            a, b = _moved(one, float(shift)), _moved(other, float(slack - shift))
            for number, product in enumerate((a * b, a * a, b * b)):
                found[:, index, number] = np.add.reduceat(product.sum(axis=1), bands)
        self.sums.extend(found)

    def estimate(self) -> tuple[float, float] | None:
        """The displacement to the right (down) in cells, and its standard error; None where there is no telling."""
        if not self.sums:
            return None
        total, count = np.sum(self.sums, axis=0), len(self.sums)
        best = _peak(total)
        others = [_peak(total - each) for each in self.sums]
        if best is None or None in others:
            return None
        left_out = np.array(others, dtype=float)
        return best, float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))


def _peak(sums: np.ndarray) -> float | None:
    """Where the correlation is highest, between two shifts too; None at the ends, and where nothing varies."""
    products, first, second = sums.T
    if min(first.min(), second.min()) <= 0:
        return None
    curve = products / np.sqrt(first * second)
    top = int(curve.argmax())
    if not 0 < top < len(curve) - 1:
        return None
    before, at, after = curve[top - 1 : top + 2]
    bend = before - 2 * at + after
    return float(_SHIFTS[top] + (0.5 * (before - after) / bend if bend < 0 else 0.0) * (_SHIFTS[1] - _SHIFTS[0]))


def _moved(padded: np.ndarray, shift: float) -> np.ndarray:
    """Each inner cell's value ``shift`` cells further on, from a cubic spline's coefficients along the last axis."""
    whole = math.floor(shift)
    f = shift - whole
    weights = ((1 - f) ** 3, (3 * f - 6) * f * f + 4, ((3 - 3 * f) * f + 3) * f + 1, f**3)
    first, cells = _REACH + _MARGIN + whole - 1, padded.shape[1] - 2 * (_REACH + _MARGIN)
    moved = np.zeros((len(padded), cells))
    for k, weight in enumerate(weights):
        moved += padded[:, first + k : first + k + cells] * (weight / 6)
    return moved


@dataclass
class Displacement:
    """Both axes of one output of a layer."""

    rows: MirrorShift = field(default_factory=MirrorShift)
    columns: MirrorShift = field(default_factory=MirrorShift)

    def offset(self, place: Place | None) -> Offset:
        """``(oy, ox)`` in cells, to be added to those of the nominal place: what is measured, within the possible.

        The arithmetic of the operations says where the middle of a receptive field is. How much of that a network has
        learned to make up for only measuring tells, and where several ways lead to a map, what part each has in it. So
        a measurement is cut off at nominal cells and at the arithmetic's farthest. One that is too uncertain, as those
        of few images upside down are, gives way to that of the other axis where both are computed alike, else to the
        arithmetic where that is unambiguous.
        """
        ranges = [(-0.5, 0.5)] * 2 if place is None else _possible(place)
        found = [_trusted(axis.estimate(), *ends) for axis, ends in zip((self.rows, self.columns), ranges)]
        alike = ranges[0] == ranges[1]
        oy, ox = (
            next(
                (offset for offset in (own, other if alike else None) if offset is not None),
                (low + high) / 2 if place and high - low <= _AGREED else 0.0,
            )
            for own, other, (low, high) in zip(found, reversed(found), ranges)
        )
        return oy, ox


def _possible(place: Place) -> list[tuple[float, float]]:
    """Of each axis the least and the greatest offset from the nominal place, in cells."""
    middles = [offset - origin for offset, origin in zip(place.offset, place.origin)]
    return [(middle - spread, middle + spread) for middle, spread in zip(middles, place.spread)]


def _trusted(measured: tuple[float, float] | None, low: float, high: float) -> float | None:
    if measured is None or measured[1] > _TRUSTED:
        return None
    return min(max(-measured[0], min(low, 0.0)), max(high, 0.0))
