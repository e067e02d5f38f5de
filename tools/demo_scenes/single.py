"""Scenes with one object: what the demo classifier is trained, tested and shown on."""

from __future__ import annotations

import numpy as np

from .scene import CLASSES, compose, draw_background, finish, posed

# Of the shorter side of the picture; an object fills its square along one axis.
SMALLEST, LARGEST = 0.28, 0.8


def draw_single(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw the scene with one object that belongs to a seed.

    The object lies anywhere in the middle square, which the classifier's preprocessing keeps; its border cuts off a
    fifth of the object's square at most.

    Args:
        seed: The same seed and size always give the same pixels. Eight seeds in a row give each class once.
        size: Width and height in pixels.

    Returns:
        The picture, (height, width, 3) uint8 RGB; the box around the object, (4,) float32, x1 y1 x2 y2 in pixels;
        the label, an index into ``CLASSES``.
    """
    width, height = size
    rng = np.random.default_rng((seed, 1))
    image, _ = draw_background(rng, width, height)
    side = min(width, height)
    length = side * float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
    # The classifier's preprocessing cuts off a thirteenth of the shorter side.
    reach = max(0.0, side * 12 / 13 - 0.6 * length) / 2
    label = seed % len(CLASSES)
    x, y = width / 2 + rng.uniform(-reach, reach), height / 2 + rng.uniform(-reach, reach)
    boxes, _ = compose(image, [posed(rng, CLASSES[label], x, y, length)], light=rng.uniform(200, 340))
    return finish(image, rng), boxes[0], label
