"""In which step of insertion and deletion each pixel has its turn."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def turns(heat: np.ndarray, steps: int, seen: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """The step, from 0, in which each pixel is taken away or put in: the hottest first, as many in each step.

    Pixels of the same heat come in an order drawn by lot, the same for each map of this size, so that where a map says
    nothing no corner of the image is preferred. Heat that is not finite counts as the least.

    Args:
        heat: (H, W).
        steps: How many there are.
        seen: (H, W) bool: the pixels that the network sees; None for all.
        seed: Of the order drawn by lot.

    Returns:
        (H, W) int32; −1 for pixels that are not seen.
    """
    values = np.where(np.isfinite(heat), heat, -np.inf).ravel()
    lot = _lot(values.size, seed)
    if seen is not None:
        lot = lot[seen.ravel()[lot]]
    order = lot[np.argsort(-values[lot], kind='stable')]
    found = np.full(values.size, -1, np.int32)
    found[order] = np.arange(order.size, dtype=np.int64) * steps // max(order.size, 1)
    return found.reshape(heat.shape)


@lru_cache(maxsize=4)
def _lot(count: int, seed: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(count)
    order.setflags(write=False)
    return order
