"""What of a transformer's sequence of tokens a map was made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tokens:
    """Tokens that a layer put out, and those of them that are no cells.

    Attributes:
        count: How many tokens there are.
        left_out: How many of them are no cells of a map: class, distillation and register tokens.
        known: Whether the model says so, and not their number alone.
    """

    count: int
    left_out: int = 0
    known: bool = True

    def describe(self, grid: tuple[int, int]) -> str:
        """For a label: ``tokens 14×14 of 197, 1 left out``."""
        return f'tokens {"" if self.known else "≈ "}{grid[0]}×{grid[1]} of {self}'

    def __str__(self) -> str:
        """Such as ``197, 1 left out``."""
        return f'{self.count}, {self.left_out} left out' if self.left_out else str(self.count)
