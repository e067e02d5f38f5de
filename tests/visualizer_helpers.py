"""Images and maps for the tests of the visualizer and its panels."""

from __future__ import annotations

from functools import partial

import numpy as np

from featmap.geometry import ImageGeometry
from featmap.structures import FeatureMap, Rendering

BLUE, RED = (0, 0, 128), (128, 0, 0)  # the lowest and the highest colour of jet
GREY = np.full((32, 32, 3), 100, np.uint8)
RAMP = [[0, 1, 2, 3]] * 4


def photo(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The largest difference over RGB, for each pixel."""
    assert one.shape == other.shape
    assert one.dtype == other.dtype == np.uint8
    return np.abs(one.astype(int) - other).max(axis=-1)


def feature_map(values, geometry: ImageGeometry | None = None, **fields) -> FeatureMap:
    """A map of (h, w) or (K, h, w) values, by default over an image of 8 pixels a cell."""
    planes = np.asarray(values, np.float32)
    planes = planes[None] if planes.ndim == 2 else planes
    rows, columns = planes.shape[1:]
    geometry = geometry or ImageGeometry.whole((rows * 8, columns * 8))
    given = {
        'layer': 'neck',
        'shape': (64, rows, columns),
        'stride': geometry.stride((rows, columns)),
        'reducer': 'squeeze_mean',
        'channels': (None,) * len(planes),
    }
    return FeatureMap(planes, geometry=geometry, **{**given, **fields})


l2_map = partial(feature_map, reducer='l2')


def colors(**fields) -> FeatureMap:
    """Three planes as red, green and blue: each cell of the ramp has a colour of its own."""
    ramp = np.array(RAMP, np.float32)
    given = {'kind': 'image', 'names': ('pca, 60% of variance',), 'ranges': ((0, 3),) * 3, 'reducer': 'pca', **fields}
    return feature_map(np.stack([ramp, 3 - ramp, ramp * 0]), **given)


def cut(rendering: Rendering, number: int) -> np.ndarray:
    """A panel of a picture, by its number."""
    panel = rendering.panels[number]
    return rendering.image[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width]
