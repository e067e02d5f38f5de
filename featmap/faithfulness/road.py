"""ROAD: what removing pixels does to a target where they are imputed, so that no edge of the removed part shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import spsolve

from featmap.faithfulness.ranking import ranks

SHARES = tuple(number / 10 for number in range(1, 10))
"""The shares of the pixels that are removed."""
NOISE = 0.01
"""Standard deviation of what is added to imputed values, in units of the network input."""
_BESIDE, _ACROSS = 1 / 6, 1 / 12
_NEIGHBOURS = [
    (down, right, _BESIDE if down == 0 or right == 0 else _ACROSS)
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
    if down or right
]


def impute(image: np.ndarray, removed: np.ndarray, noise: float = NOISE, seed: int = 0) -> np.ndarray:
    """An image in which each removed pixel is the weighted mean of its eight neighbours, and some noise.

    Neighbours beside it weigh 1/6, those across a corner 1/12; at the edges the others make up for what is missing.
    Noisy linear imputation, Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods",
    arXiv 2202.00449.

    Args:
        image: (C, h, w).
        removed: (h, w) bool, not all.
        noise: Standard deviation.
        seed: Of the noise.

    Returns:
        (C, h, w) float32.
    """
    found = image.astype(np.float32)
    count = int(removed.sum())
    if not count:
        return found
    if count == removed.size:
        raise ValueError('all pixels are removed: nothing is left to impute them from')
    number = np.full((removed.shape[0] + 2, removed.shape[1] + 2), -1)
    number[1:-1, 1:-1][removed] = np.arange(count)
    inside = np.pad(np.ones_like(removed), 1)
    values = np.pad(image.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    rows, columns = np.nonzero(removed)
    known, weights = np.zeros((count, len(image))), np.zeros(count)
    entries: list[tuple[np.ndarray, np.ndarray, float]] = []
    for down, right, weight in _NEIGHBOURS:
        there = rows + 1 + down, columns + 1 + right
        weights += weight * inside[there]
        other = number[there]
        open_ones = other >= 0
        entries.append((np.flatnonzero(open_ones), other[open_ones], weight))
        known += weight * np.where(open_ones, 0, values[:, there[0], there[1]]).T
    first, second = (np.concatenate([entry[index] for entry in entries]) for index in (0, 1))
    shares = np.concatenate([np.full(len(entry[0]), entry[2]) for entry in entries])
    system = diags(weights) - coo_matrix((shares, (first, second)), shape=(count, count))
    solved = spsolve(system.tocsc(), known).reshape(count, -1)
    solved += np.random.default_rng(seed).normal(0, noise, solved.shape) if noise else 0
    found[:, removed] = solved.T
    return found


def road(
    heat: np.ndarray,
    image: np.ndarray,
    value: Callable[[np.ndarray], np.ndarray],
    shares: Sequence[float] = SHARES,
    noise: float = NOISE,
    seed: int = 0,
) -> float:
    """How much more is lost with the most important pixels than with the least: half the mean difference.

    ROAD's two orders as pytorch-grad-cam combines them, (least relevant first − most relevant first) / 2, more is
    better. Exactly the share is removed, whatever is alike in the heat.

    Args:
        heat: (h, w), on the network input.
        image: (C, h, w), the network input.
        value: Network inputs (B, C, h, w) to the target's value in each, (B,).
        shares: Of the pixels, that are removed.
        noise: See :func:`impute`.
        seed: Of the noise, and of the order among pixels of the same heat.
    """
    order = ranks(heat, seed=seed)  # 0 for the most important
    differences = []
    for share in shares:
        count = round(share * heat.size)
        removed = order >= heat.size - count, order < count
        least, most = value(np.stack([impute(image, each, noise, seed) for each in removed]))
        differences.append((float(least) - float(most)) / 2)
    return float(np.mean(differences))
