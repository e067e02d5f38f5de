"""Where the image lies in the network input, and linear interpolation between knots at any places."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from featmap.geometry import Cells, ImageGeometry


class Frame(NamedTuple):
    """The part of a network input that holds image, in its continuous pixels: what masks are laid over.

    Attributes:
        top: Where it begins.
        left: Where it begins.
        height: Input pixels; more than 0.
        width: Input pixels; more than 0.
        shape: Height and width of the whole input, padding included.
    """

    top: float
    left: float
    height: float
    width: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, geometry: ImageGeometry) -> Frame:
        """The content of an input, padding and what was cut off left out."""
        x1, y1, x2, y2 = geometry.visible
        (u1, v1), (u2, v2) = geometry.to_input(x1, y1), geometry.to_input(x2, y2)
        height, width = geometry.input_shape
        left, right = max(min(u1, u2), 0.0), min(max(u1, u2), float(width))
        top, bottom = max(min(v1, v2), 0.0), min(max(v1, v2), float(height))
        return cls(top, left, bottom - top, right - left, geometry.input_shape)

    def grid(self, cells: int) -> tuple[int, int]:
        """Rows and columns of about square cells that cover it, ``cells`` of them along its longer side."""
        side = max(self.height, self.width) / cells
        return max(round(self.height / side), 1), max(round(self.width / side), 1)

    def cells(self, grid: tuple[int, int]) -> Cells:
        """How the cells of such a grid, rows and columns, lie in the network input."""
        stride = self.height / grid[0], self.width / grid[1]
        return Cells(stride, (self.top / stride[0], self.left / stride[1]), known=True)

    def pixels(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """The middles of the input's rows and columns, (H,) and (W,): 0 where the frame begins, 1 where it ends."""
        rows = torch.arange(self.shape[0], device=device) + 0.5
        columns = torch.arange(self.shape[1], device=device) + 0.5
        return (rows - self.top) / self.height, (columns - self.left) / self.width


def hats(places: Tensor, knots: int) -> Tensor:
    """Linear interpolation between knots at 0, 1, 2, …: the share of each, a hat function.

    Args:
        places: (..., P), where, in distances of two knots. Beyond the outermost knots these stand alone.
        knots: How many.

    Returns:
        (..., P, knots), rows that add up to 1.
    """
    places = places.clamp(0, knots - 1)
    return (1 - (places[..., None] - torch.arange(knots, device=places.device)).abs_()).clamp_min_(0)
