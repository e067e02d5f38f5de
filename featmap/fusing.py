"""Heats of several layers, on the grid of the image: one map of 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featmap.errors import OptionError
from featmap.geometry import Cells, ImageGeometry
from featmap.options.explain import FUSIONS


def on_image(values: np.ndarray, cells: Cells, geometry: ImageGeometry) -> np.ndarray:
    """Heat (h, w), 0 or more, on the original image: (H, W) float32 from 0 to 1, its maximum on the image at 1.

    What was cut off of the image has no heat. All 0 where there is none.
    """
    plane = np.nan_to_num(geometry.warp(np.asarray(values, np.float32)[None], cells.stride, cells.offset)[0])
    return normalised(plane)


def normalised(plane: np.ndarray) -> np.ndarray:
    """A plane of 0 or more, divided by its maximum, where that is not 0."""
    most = float(plane.max(initial=0.0))
    return (plane / most if most > 0 else np.zeros_like(plane)).astype(np.float32, copy=False)


def fused(planes: Sequence[np.ndarray], how: str) -> np.ndarray:
    """Planes (H, W) of 0 to 1 as one, of 0 to 1: their mean, element-wise maximum, or the root of their product.

    The square root ranks pixels as the product does, and leaves more to see of it than a spike.

    Planes of no heat at all take no part, unless all are: a layer that saw nothing would wipe out the product.
    """
    if how not in FUSIONS[:-1]:
        raise OptionError(f'no fusion is called {how!r}: expected one of {", ".join(FUSIONS)}')
    warm = [plane for plane in planes if plane.any()] or list(planes)
    if len(warm) == 1:
        return normalised(warm[0])
    stacked = np.stack(warm)
    if how == 'mean':
        return normalised(stacked.mean(axis=0))
    return normalised(stacked.max(axis=0) if how == 'max' else np.sqrt(stacked.prod(axis=0)))
