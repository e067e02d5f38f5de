"""A plane's values to grey levels, on a range that is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Range:
    """What the colours of a plane stand for.

    Attributes:
        low: The value of the lowest colour.
        high: The value of the highest.
        bad: How many cells were left out as non-finite.
        noise: How far apart the ends may be by rounding alone.
        flat: The grey level of a plane that is constant.
    """

    low: float
    high: float
    bad: int = 0
    noise: float = 0.0
    flat: int = 0

    @property
    def constant(self) -> bool:
        """Whether all cells hold the same value, but for rounding, so that there is nothing to scale."""
        return not self.high - self.low > self.noise

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends as text, with digits for a twentieth of what lies between them."""
        low, high = self.low + 0.0, self.high + 0.0  # no minus before a zero
        if self.constant:
            return (f'{0.0 if abs(low) <= self.noise else low:.3g}',) * 2
        slack = (high - low) / 20
        pairs = ((f'{low:.{digits}g}', f'{high:.{digits}g}') for digits in range(3, 18))
        return next(p for p in pairs if abs(float(p[0]) - low) <= slack and abs(float(p[1]) - high) <= slack)

    def __str__(self) -> str:
        text = ' … '.join(self.ends)
        if self.constant:
            text = f'constant {self.ends[0]}' + (' but for rounding' if self.high > self.low else '')
        return text + (f', {self.bad} non-finite' if self.bad else '')


def value_range(values: np.ndarray, noise: float = 0.0) -> Range | None:
    """The range of the finite values, which rounding sets ``noise`` apart; None where there is no finite value."""
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if np.isfinite(low) and np.isfinite(high):
        return Range(low, high, noise=noise)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    return Range(float(finite.min()), float(finite.max()), values.size - finite.size, noise)


def to_levels(values: np.ndarray, scale: Range) -> np.ndarray:
    """Values to uint8: ``scale.low`` is 0, ``scale.high`` 255, rounded down and clipped. A constant is ``scale.flat``.

    Rounding down is MMEngine's rule, kept so that both draw the same picture.
    """
    if scale.constant:
        return np.full(values.shape, scale.flat, dtype=np.uint8)
    factor = 255.0 / (scale.high - scale.low)
    levels = values * np.float32(factor)
    levels -= np.float32(scale.low * factor)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)
