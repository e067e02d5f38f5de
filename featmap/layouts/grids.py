"""Where cells stand in a tensor, and which grid a number of tokens fits, where only numbers tell."""

from __future__ import annotations

from dataclasses import dataclass

# Strides that token grids have: patches of 2^k pixels, of 14 and 7 (ViT), and what pooling makes of them.
_TOKEN_STRIDES = (4, 8, 14, 16, 28, 32, 56, 64, 7, 2, 1, 128)
EXTRA_TOKENS = (0, 1, 2, 5, 4)
"""Tokens that stand before the grid: none, class, class + distillation, class + 4 registers, 4 registers."""
_LEVEL_STARTS = (4, 8, 16, 32)


@dataclass(frozen=True)
class Grid:
    """Tokens that are cells of a map.

    Attributes:
        shape: (h, w).
        start: The number of the first.
        order: None where they stand one row after the other. Else the extents that they unfold to, and the order in
            which these are rows, from coarse to fine, and then columns: windows of cells, one after another.
    """

    shape: tuple[int, int]
    start: int = 0
    order: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @property
    def size(self) -> int:
        """How many cells."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class Layout:
    """How the cells of a map stand in a tensor, as far as that is known.

    Attributes:
        axes: The axes of rows and columns, or the one of tokens; none where the cells are in windows.
        grids: Of tokens: those of one map or of several levels; all other tokens are no cells.
        windows: Where the first axis holds windows of the map: how many, and their (h, w).
        turned: Why a map that does not stand as the image does is not drawn; empty for all others.
    """

    axes: tuple[int, ...] = ()
    grids: tuple[Grid, ...] = ()
    windows: tuple[int, tuple[int, int]] | None = None
    turned: str = ''


def fitting_grid(count: int, input_shape: tuple[int, int]) -> tuple[int, int] | None:
    """The (h, w) that so many tokens, all of them cells, form over the input."""
    for stride in _TOKEN_STRIDES if count > 1 else ():
        for grid in (ceil_grid(input_shape, stride), floor_grid(input_shape, stride)):
            if grid[0] * grid[1] == count:
                return grid
    return None


def token_grid(count: int, input_shape: tuple[int, int]) -> tuple[tuple[int, int], int] | None:
    """The (h, w) grid that ``count`` tokens form over the input, and how many extra tokens stand before it."""
    for extra in EXTRA_TOKENS:
        if grid := fitting_grid(count - extra, input_shape):
            return grid, extra
    return None


def level_grids(count: int, input_shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Grids of consecutive pyramid levels whose cells add up to ``count`` (encoders of deformable DETRs)."""
    for start in _LEVEL_STARTS:
        grids: list[tuple[int, int]] = []
        stride = start
        while sum(rows * columns for rows, columns in grids) < count and stride <= 256:
            grids.append(ceil_grid(input_shape, stride))
            stride *= 2
        if len(grids) > 1 and sum(rows * columns for rows, columns in grids) == count:
            return grids
    return []


def ceil_grid(input_shape: tuple[int, int], stride: int) -> tuple[int, int]:
    """As many cells as strides begin in the input."""
    return -(-input_shape[0] // stride), -(-input_shape[1] // stride)


def floor_grid(input_shape: tuple[int, int], stride: int) -> tuple[int, int]:
    """As many cells as whole strides fit into the input."""
    return input_shape[0] // stride, input_shape[1] // stride
