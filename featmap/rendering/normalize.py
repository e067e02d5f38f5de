"""A plane's values to grey levels, on a range that is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Range:
    """The values that the lowest and the highest colour stand for, and how many cells were left out as non-finite."""

    low: float
    high: float
    bad: int = 0

    @property
    def constant(self) -> bool:
        """Whether all cells hold the same value, so that there is nothing to scale."""
        return not self.high > self.low

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends as text, with as many digits as it takes to tell them apart."""
        low, high = self.low + 0.0, self.high + 0.0  # no minus before a zero
        if self.constant:
            return (f'{low:.3g}',) * 2
        pairs = ((f'{low:.{digits}g}', f'{high:.{digits}g}') for digits in range(3, 18))
        return next(pair for pair in pairs if pair[0] != pair[1])

    def __str__(self) -> str:
        text = f'constant {self.ends[0]}' if self.constant else ' … '.join(self.ends)
        return text + (f', {self.bad} non-finite' if self.bad else '')


def value_range(values: np.ndarray) -> Range | None:
    """The range of the finite values; None where there is no finite value."""
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if np.isfinite(low) and np.isfinite(high):
        return Range(low, high)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    return Range(float(finite.min()), float(finite.max()), values.size - finite.size)


def to_levels(values: np.ndarray, scale: Range) -> np.ndarray:
    """Values to uint8: ``scale.low`` is 0, ``scale.high`` 255, rounded down and clipped. A constant is 0.

    Rounding down is MMEngine's rule, kept so that both draw the same picture.
    """
    if scale.constant:
        return np.zeros(values.shape, dtype=np.uint8)
    factor = 255.0 / (scale.high - scale.low)
    levels = values * np.float32(factor)
    levels -= np.float32(scale.low * factor)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)
