"""Explanations made by hand, of an image of 120 × 80 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from featmap.explanation import Explanation
from featmap.geometry import ImageGeometry
from featmap.structures import Detections, FeatureMap

SHAPE = (80, 120)
PICTURE = np.random.default_rng(0).integers(90, 160, (*SHAPE, 3), dtype=np.uint8)
FOUND = Detections(
    np.array([[10, 20, 30, 60], [50, 10, 58, 18], [70, 30, 110, 70]], np.float32),
    np.array([0.9, 0.8, 0.4], np.float32),
    np.array([0, 1, 0]),
    ('cat', 'dog'),
)


def heat_map(layer: str = 'backbone', row: int = 3, column: int = 2, method: str = 'layercam', **fields: Any):
    """A map of 8 × 12 cells, of which one is hot."""
    values = np.zeros((1, 8, 12), np.float32)
    values[0, row, column] = 1
    alike = {'reducer': method, 'channels': (None,), 'ranges': ((0.0, 1.0),), **fields}
    return FeatureMap(values, layer, (16, 8, 12), (10.0, 10.0), ImageGeometry.whole(SHAPE), **alike)


def explanation(index: int | None = 0, layers: tuple[str, ...] = ('backbone',), **fields: Any) -> Explanation:
    """What speaks for a box, or for an image where ``index`` is None."""
    method, fuse = fields.get('method', 'layercam'), fields.get('fuse', 'mean')
    maps = tuple(heat_map(layer, 3, 2 + number, method) for number, layer in enumerate(layers))
    about: dict[str, Any] = {'label': 'cat · 93 %', 'class_index': 0}
    if index is not None:
        about = {
            'label': f'box {index} · {FOUND.name(index)} {FOUND.scores[index]:.2f}',
            'class_index': int(FOUND.labels[index]), 'box': FOUND.boxes[index], 'index': index,
        }  # fmt: skip
    about = {'method': method, 'score': 0.9, 'fuse': fuse, **about, **fields}
    return Explanation(maps=maps, **about)
