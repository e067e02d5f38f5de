"""Maps for the tests of figures, and what is found in a figure."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from featmap.geometry import ImageGeometry
from featmap.structures import Detections, FeatureMap

FLAT = np.full((32, 48, 3), 100, np.uint8)


def fmap(values=((0, 1), (2, 3)), layer: str = 'neck', path: str = '', shape=(32, 48), **fields) -> FeatureMap:
    """A map whose cells divide the image evenly; ``values`` (h, w) or (K, h, w)."""
    values = np.asarray(values, np.float32)
    values = values[None] if values.ndim == 2 else values
    rows, columns = values.shape[1:]
    stride = (shape[0] / rows, shape[1] / columns)
    fields = {'reducer': 'squeeze_mean', **fields}
    return FeatureMap(values, layer, (8, rows, columns), stride, ImageGeometry.whole(shape), path, **fields)


def outputs(count: int, layer: str = 'neck', **fields) -> list[FeatureMap]:
    """Maps of one layer, the ranges of which differ."""
    return [fmap([[0, 1], [2, 3 + n]], layer, f'[{n}]', **fields) for n in range(count)]


def planes(*tops: float) -> np.ndarray:
    return np.array([[[0, 1], [2, top]] for top in tops], np.float32)


def detections() -> Detections:
    boxes = np.array([[4, 8, 20, 30], [30, 4, 46, 20]], np.float32)
    return Detections(boxes, np.array([0.9, 0.5]), np.array([0, 1]), ('cat', 'a $dog$'))


def axes_of(figure: Figure, label: str) -> list:
    return [axes for axes in figure.axes if axes.get_label() == label]


def texts(figure: Figure) -> list[str]:
    """What stands outside the axes."""
    return [text.get_text() for text in figure.texts]
