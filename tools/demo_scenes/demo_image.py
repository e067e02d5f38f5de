"""The demo image: a harbour at sunset, arranged by hand and drawn like any other scene."""

from __future__ import annotations

import numpy as np

from .backgrounds import (
    MOODS,
    gradient,
    paint_cloud,
    paint_ground,
    paint_hills,
    paint_sea,
    paint_sun,
)
from .scene import Placement, compose, finish

SIZE = (1024, 640)  # width, height
HORIZON = 366
SEED = 7
# Light falls from the sun, which stands at the right above the horizon.
LIGHT = 315.0
SUN = (622.0, 262.0, 27.0)  # x, y, radius
CLOUDS = ((140, 92, 200), (520, 214, 150), (596, 62, 210), (946, 280, 170))  # x, y, width

# Back to front.
OBJECTS = (
    Placement('balloon', 660, 158, 72, style=14),
    Placement('balloon', 872, 168, 118, angle=3, style=11),
    Placement('balloon', 780, 148, 196, angle=-4, style=22),
    Placement('balloon', 486, 118, 46, style=9),
    Placement('kite', 336, 132, 116, angle=28, style=3),
    Placement('kite', 412, 218, 56, angle=-24, style=20),
    Placement('sailboat', 716, 363, 34, style=16, reflection=0.3),
    Placement('sailboat', 840, 368, 66, angle=-3, style=12, mirrored=True, reflection=0.35),
    Placement('sailboat', 506, 400, 196, angle=-3, style=3, reflection=0.4),
    Placement('fish', 690, 470, 78, angle=-32, style=20, reflection=0.15),
    Placement('fish', 792, 500, 46, angle=24, style=1, reflection=0.15),
    Placement('lighthouse', 128, 290, 250, style=1, shadow=0.35),
    Placement('tree', 36, 392, 104, style=5, shadow=0.35),
    Placement('house', 258, 424, 124, style=5, shadow=0.35),
    Placement('tree', 332, 444, 132, style=9, shadow=0.35),
    Placement('house', 70, 520, 84, style=13, shadow=0.35),
    Placement('tree', 944, 498, 150, style=3, shadow=0.35),
    Placement('ball', 806, 588, 62, angle=20, style=3, shadow=0.4),
    Placement('ball', 888, 606, 34, angle=70, style=7, shadow=0.4),
)


def draw_demo_image() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the demo image.

    Returns:
        The picture, (640, 1024, 3) uint8 RGB; boxes, (N, 4) float32, x1 y1 x2 y2 in pixels; labels,
        (N,) int64.
    """
    width, height = SIZE
    rng = np.random.default_rng(SEED)
    mood = MOODS['sunset']
    image = np.zeros((height, width, 3), dtype=np.float32)
    image[:HORIZON] = gradient(width, HORIZON, list(mood.sky))
    paint_sun(image[:HORIZON], mood, *SUN)
    for x, y, length in CLOUDS:
        paint_cloud(image[:HORIZON], rng, mood.cloud, x, y, length)
    paint_hills(image, rng, mood, HORIZON)
    paint_sea(image, rng, mood, HORIZON)
    columns = np.arange(width)
    headland = 398 + 70 * smooth(columns, 110, 330) + 180 * smooth(columns, 300, 560)
    paint_ground(image, rng, headland + 4 * np.sin(columns / 37), mood.land, 260)
    beach = 660 - 96 * smooth(columns, 560, 960) + 3 * np.sin(columns / 29)
    paint_ground(image, rng, beach, mood.sand, 0)
    boxes, labels = compose(image, OBJECTS, LIGHT)
    return finish(image, rng, strength=0.3), boxes, labels


def smooth(x: np.ndarray, start: float, end: float) -> np.ndarray:
    """A soft step: 0 up to ``start``, 1 from ``end`` on."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)
