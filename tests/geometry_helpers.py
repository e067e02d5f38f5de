"""What test pipelines do to images, by name."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.geometry import ImageGeometry

# What test pipelines hand on, measured or worked out by hand:
# image (h, w), network input (h, w), metainfo -> scale (x, y), offset (left, top), content (h, w)
SCHEMES = {
    'letterbox': (
        (375, 500),
        (640, 640),
        {
            'scale_factor': (1.28, 1.28),
            'pad_param': np.array([80, 80, 0, 0], np.float32),
            'img_shape': (640, 640, 3),
            'half_pad_param': True,
        },
        (1.28, 1.28),
        (0, 80),
        (480, 640),
    ),
    'letterbox of a wide image': (
        (1080, 1920),
        (640, 640),
        {'scale_factor': (1 / 3, 1 / 3), 'pad_param': [140, 140, 0, 0]},
        (1 / 3, 1 / 3),
        (0, 140),
        (360, 640),
    ),
    'letterbox of a tall image, halved pads': (
        (1000, 333),
        (640, 640),
        {'scale_factor': (0.64, 0.64), 'pad_param': [0.0, 0.0, 213.5, 213.5]},
        (0.64, 0.64),
        (213, 0),
        (640, 213),
    ),
    'letterbox of a tiny image': (
        (14, 20),
        (640, 640),
        {'scale_factor': (32.0, 32.0), 'pad_param': [96, 96, 0, 0]},
        (32.0, 32.0),
        (0, 96),
        (448, 640),
    ),
    'right and bottom pad': (
        (375, 500),
        (640, 640),
        {'scale_factor': (1.28, 1.28), 'img_shape': (640, 640)},
        (1.28, 1.28),
        (0, 0),
        (480, 640),
    ),
    'pad to a multiple of 32': (
        (375, 500),
        (800, 1088),
        {'scale_factor': (2.134, 2.1333333), 'img_shape': (800, 1067)},
        (2.134, 2.1333333),
        (0, 0),
        (800, 1067),
    ),
    'in a batch with a larger image': (
        (375, 500),
        (1344, 1344),
        {'scale_factor': (2.134, 2.1333333), 'img_shape': (800, 1067)},
        (2.134, 2.1333333),
        (0, 0),
        (800, 1067),
    ),
    'square pad at the right': (
        (427, 213),
        (640, 640),
        {'scale_factor': (1.497653, 1.498829), 'pad_param': None},
        (1.497653, 1.498829),
        (0, 0),
        (640, 319),
    ),
    'border around the unscaled image': (
        (375, 500),
        (383, 511),
        {'scale_factor': np.array([1.0, 1.0, 1.0, 1.0]), 'border': np.array([4, 379, 5, 505], np.float32)},
        (1.0, 1.0),
        (5, 4),
        (375, 500),
    ),
    'anisotropic': ((375, 500), (300, 300), {'scale_factor': (0.6, 0.8)}, (0.6, 0.8), (0, 0), (300, 300)),
    'as it is': ((120, 160), (120, 160), {}, (1.0, 1.0), (0, 0), (120, 160)),
    'mirrored letterbox': (
        (375, 500),
        (640, 640),
        {'scale_factor': (1.28, 1.28), 'pad_param': [80, 80, 0, 0], 'flip': True, 'flip_direction': 'horizontal'},
        (1.28, 1.28),
        (0, 80),
        (480, 640),
    ),
    'upside down, right and bottom pad': (
        (375, 500),
        (640, 640),
        {'scale_factor': (1.28, 1.28), 'flip': True, 'flip_direction': 'vertical'},
        (1.28, 1.28),
        (0, 0),
        (480, 640),
    ),
    'turned by half, right and bottom pad': (
        (375, 500),
        (800, 1088),
        {'scale_factor': (2.134, 2.1333333), 'flip': True, 'flip_direction': 'diagonal'},
        (2.134, 2.1333333),
        (0, 0),
        (800, 1067),
    ),
}
names = pytest.mark.parametrize('name', SCHEMES)


def geometry_of(name: str) -> ImageGeometry:
    image, batched, metainfo, *_ = SCHEMES[name]
    return ImageGeometry.from_metainfo({'ori_shape': image, 'batch_input_shape': batched, **metainfo})


def flips_of(name: str) -> tuple[bool, bool]:
    direction = SCHEMES[name][2].get('flip_direction', '')
    return direction in ('horizontal', 'diagonal'), direction in ('vertical', 'diagonal')


def picture_with_square(shape: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """An (H, W, 3) uint8 image, dark but for a bright box x1 y1 x2 y2."""
    image = np.full((*shape, 3), 40, np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = 250
    return image


def centroid(heat: np.ndarray) -> tuple[float, float]:
    """The continuous position (x, y) of the middle of an (H, W) map's heat above half of its maximum's share."""
    heat = np.clip(heat, 0, None)
    rows, columns = heat.sum(axis=1), heat.sum(axis=0)
    return (
        float(((np.arange(len(columns)) + 0.5) * columns).sum() / columns.sum()),
        float(((np.arange(len(rows)) + 0.5) * rows).sum() / rows.sum()),
    )
