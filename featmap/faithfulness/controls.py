"""Maps that know nothing of a model: what a method has to beat before its figures mean something.

Energy, pointing and insertion all reward maps that look like the box, for objects fill their boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featmap.faithfulness.localisation import box_mask

CONTROLS = ('random', 'box', 'gaussian')
"""Noise; the box itself; a Gaussian in the box."""


def random_map(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Independent uniform noise, (H, W) float32 from 0 to 1, the same for the same seed."""
    # Another stream than that of the order among equals: one must not know of the other.
    return np.random.default_rng((seed, 1)).random(shape, dtype=np.float32)


def box_map(box: Sequence[float] | np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """1 in the box x1 y1 x2 y2 and 0 outside of it, (H, W) float32."""
    return box_mask(box, shape).astype(np.float32)


def gaussian_map(box: Sequence[float] | np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A Gaussian on the middle of the box, a quarter of its sides wide, cut off at them: (H, W) float32 up to 1."""
    x1, y1, x2, y2 = (float(side) for side in box)
    rows, columns = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    down = _bell(rows, (y1 + y2) / 2, max(y2 - y1, 1.0) / 4)
    across = _bell(columns, (x1 + x2) / 2, max(x2 - x1, 1.0) / 4)
    return (down[:, None] * across * box_mask(box, shape)).astype(np.float32)


def _bell(places: np.ndarray, middle: float, width: float) -> np.ndarray:
    return np.exp(-(((places - middle) / width) ** 2) / 2)
