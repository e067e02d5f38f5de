"""Where the heat is: how much of it lies in a box or a region, and whether its maximum does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def box_mask(box: Sequence[float] | np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels whose centres lie in a box x1 y1 x2 y2; that which holds its middle where there is none.

    Args:
        box: In pixels; it may leave the image.
        shape: Height and width.
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    rows, columns = _span(y1, y2, shape[0]), _span(x1, x2, shape[1])
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


def _span(low: float, high: float, extent: int) -> slice:
    first, last = max(int(np.ceil(low - 0.5)), 0), min(int(np.floor(high - 0.5)), extent - 1)
    if first > last:
        first = last = min(max(int((low + high) / 2), 0), extent - 1)
    return slice(first, last + 1)


def energy(heat: np.ndarray, inside: np.ndarray) -> float:
    """The share of all heat that lies inside, 0 to 1, EBPG of Score-CAM (1910.01279); NaN where there is no heat.

    Nothing is taken from the heat first, such as its minimum.

    Args:
        heat: (H, W), 0 or more.
        inside: (H, W) bool.
    """
    total = float(heat.sum(dtype=np.float64))
    return float(heat[inside].sum(dtype=np.float64)) / total if total > 0 else float('nan')


def energy_of_others(heat: np.ndarray, own: np.ndarray, others: Iterable[np.ndarray]) -> float:
    """The object discrimination index ODI of ODAM (2304.06354): of the heat on all objects, the share on other ones.

    What is both in the own box and in another counts as own.

    Args:
        heat: (H, W), 0 or more.
        own: (H, W) bool, where the explained object is.
        others: The same of each other object.

    Returns:
        0 to 1, less is better; NaN where there is no other object, or no heat on any.
    """
    foreign = np.zeros_like(own)
    alone = True
    for mask in others:
        foreign |= mask
        alone = False
    there, here = heat[foreign & ~own].sum(dtype=np.float64), heat[own].sum(dtype=np.float64)
    return float('nan') if alone or there + here <= 0 else float(there / (there + here))


def pointing(heat: np.ndarray, inside: np.ndarray) -> float:
    """The pointing game (1608.00507): whether the maximum lies inside, 1 or 0.

    Of several equal maxima the share inside. No margin around the box; NaN where there is no heat.
    """
    most = heat.max(initial=0)
    return float(inside[heat == most].mean()) if most > 0 else float('nan')
