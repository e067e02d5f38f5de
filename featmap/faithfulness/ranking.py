"""In which order the pixels of a map come and go."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def ranks(heat: np.ndarray, seen: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """How many pixels come before each, the hottest first.

    Pixels of the same heat come in an order drawn by lot, the same for each map of this size, so that where a map says
    nothing no corner of the image is preferred. Heat that is not finite counts as the least.

    Args:
        heat: (H, W).
        seen: (H, W) bool: the pixels that the network sees; None for all.
        seed: Of the order drawn by lot.

    Returns:
        (H, W) int32, each number once; for pixels that are not seen the number of those that are.
    """
    values = np.where(np.isfinite(heat), heat, -np.inf).ravel()
    lot = _lot(values.size, seed)
    if seen is not None:
        lot = lot[seen.ravel()[lot]]
    found = np.full(values.size, lot.size, np.int32)
    found[lot[np.argsort(-values[lot], kind='stable')]] = np.arange(lot.size, dtype=np.int32)
    return found.reshape(heat.shape)


def count_of(share: float, pixels: int) -> int:
    """How many pixels a share of them is: at least one, unless it is none."""
    return max(round(share * pixels), 1) if share > 0 else 0


@lru_cache(maxsize=4)
def _lot(count: int, seed: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(count)
    order.setflags(write=False)
    return order
