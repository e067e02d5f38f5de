"""Interpolation of a map's cells onto an image, an axis at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Axis(NamedTuple):
    """Linear interpolation along one axis: for each pixel, two neighbouring cells and the share of the second.

    Attributes:
        lower: (pixels,) indices.
        upper: (pixels,) indices.
        fraction: (pixels,) float32 from 0 to 1.
    """

    lower: np.ndarray
    upper: np.ndarray
    fraction: np.ndarray

    @property
    def nearest(self) -> np.ndarray:
        """The cell that each pixel's centre lies in: (pixels,) indices."""
        return np.where(self.fraction < 0.5, self.lower, self.upper)

    def counts(self, cells: int) -> np.ndarray:
        """How much each of ``cells`` cells contributes to all pixels together: (cells,) float32."""
        low = np.bincount(self.lower, 1 - self.fraction, cells)
        return (low + np.bincount(self.upper, self.fraction, cells)).astype(np.float32)


class Warp(NamedTuple):
    """A bilinear warp onto an image: one interpolation a row, one a column.

    Not a product with matrices, which would be shorter: a matrix product of this size is over before the threads that
    it is spread on have met, and on a busy machine they wait for one another many times as long.

    Attributes:
        rows: For each row of the image, the cells it is made of.
        columns: For each column.
        kept: The rows and columns of the image that were let into the network input; None for all.
    """

    rows: Axis
    columns: Axis
    kept: tuple[slice, slice] | None = None

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        """Planes of (..., h, w) to (..., H, W) float32."""
        # The short axis first: then whole rows of the image are all that is left to mix.
        narrow = _mix(planes, self.columns, -1)
        return _mix(narrow, self.rows, -2)

    def nearest(self) -> Warp:
        """The same place of each cell, but nothing interpolated: the cells themselves."""
        rows, columns = (Axis(axis.nearest, axis.nearest, np.zeros_like(axis.fraction)) for axis in self[:2])
        return self._replace(rows=rows, columns=columns)

    def masked(self, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """As a call, but cells that are not finite in one of the planes take no part.

        Returns:
            The planes, (..., H, W) float32, and where they can be seen, (H, W) bool: where such cells contribute half
            or less, and the image was not cut off. None where all can be seen.
        """
        finite = np.isfinite(planes).all(axis=tuple(range(planes.ndim - 2)))
        if finite.all():
            return self(planes), self.seen()
        share = self(finite.astype(np.float32))
        return self(np.where(finite, planes, np.float32(0))) / np.maximum(share, 1e-6), self.seen(share >= 0.5)

    def seen(self, visible: np.ndarray | None = None) -> np.ndarray | None:
        """(H, W) bool: what is visible, by default all, of the part of the image that was kept; None for all of it."""
        if self.kept is None:
            return visible
        mask = np.zeros((len(self.rows.lower), len(self.columns.lower)), dtype=bool)
        mask[self.kept] = True if visible is None else visible[self.kept]
        return mask


def _mix(planes: np.ndarray, axis: Axis, dimension: int) -> np.ndarray:
    first = np.take(planes, axis.lower, axis=dimension)
    second = np.take(planes, axis.upper, axis=dimension)
    second -= first
    second *= axis.fraction if dimension == -1 else axis.fraction[:, None]
    second += first
    return second


def axis_of(
    places: np.ndarray, scale: float, flipped_extent: int | None, offset: float, stride: float, used: slice
) -> Axis:
    """The interpolation at these places (pixels,) of the original, continuous; ``used`` are the cells with content."""
    position = places * scale
    if flipped_extent is not None:
        position = flipped_extent - position
    cell = np.clip((position + offset) / stride - 0.5, used.start, used.stop - 1)
    lower = np.floor(cell).astype(np.intp)
    return Axis(lower, np.minimum(lower + 1, used.stop - 1), (cell - lower).astype(np.float32))
