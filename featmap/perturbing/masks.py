"""Masks over a network input, 1 where the image is kept and 0 where it is hidden; made as they are asked for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featmap.geometry import Cells
from featmap.perturbing.frame import Frame, hats


class RandomMasks:
    """The smooth random masks of RISE (1806.07421): coarse random grids, shifted at random, enlarged bilinearly.

    All random numbers are drawn at once and on the host, so that a seed gives the same masks on any device and in
    batches of any size. A mask is a product of two small matrices with its grid, which costs a fifth of an enlargement
    and a crop, and gives it at any other places for less: see :meth:`coarse`.

    Over all shifts the covariance of a mask's values at two places is ``p (1 - p) B(dy) B(dx)``, with the distances in
    cells and ``B`` the cubic B-spline: 2/3 at 0, 1/6 at 1, 0 from 2 on.

    Args:
        frame: What they are laid over.
        count: How many.
        cells: Cells of the grid along each side of a square frame; on others they are as many, and square.
        kept: The probability p that a cell is kept.
        seed: Of the random numbers.
        device: Where the masks are made.
    """

    def __init__(
        self,
        frame: Frame,
        count: int,
        cells: int = 16,
        kept: float = 0.5,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        chance = torch.Generator().manual_seed(seed)
        side = math.sqrt(frame.height * frame.width) / cells
        self._cells = frame.height / side, frame.width / side
        # The shift needs one knot more than there are cells, and the far edge another.
        rows, columns = (math.ceil(along - 1e-6) + 2 for along in self._cells)
        grids = torch.rand(count, rows, columns, generator=chance) < kept
        self._grids = grids.to(device, torch.float32)
        self._shifts = torch.rand(2, count, 1, generator=chance).to(device)
        self._pixels = frame.pixels(device)
        self.kept = kept

    def __len__(self) -> int:
        return len(self._grids)

    def __getitem__(self, part: slice) -> Tensor:
        """Masks over the whole input, (B, H, W) float32."""
        return self._at(part, *self._pixels)

    def grid(self, fineness: int) -> tuple[int, int]:
        """Rows and columns of a grid over the frame, about so many to each cell of the masks."""
        return max(round(self._cells[0] * fineness), 1), max(round(self._cells[1] * fineness), 1)

    def coarse(self, part: slice, grid: tuple[int, int]) -> Tensor:
        """The same masks at the middles of a grid of (rows, columns) over the frame: (B, rows, columns) float32."""
        rows, columns = ((torch.arange(n, device=self._grids.device) + 0.5) / n for n in grid)
        return self._at(part, rows, columns)

    def _at(self, part: slice, rows: Tensor, columns: Tensor) -> Tensor:
        down, across = (
            hats(places * cells + shift, knots)
            for places, cells, shift, knots in zip(
                (rows, columns), self._cells, self._shifts[:, part], self._grids.shape[1:]
            )
        )
        return down @ self._grids[part] @ across.mT


class Windows:
    """Masks that each hide one window of a grid over the frame, which it moves over cell by cell.

    Windows reach over the frame's edges, so that every cell is hidden by as many of them.

    Args:
        frame: What they are laid over.
        grid: Rows and columns.
        size: Cells along each side of a window.
        device: Where the masks are made.
    """

    def __init__(self, frame: Frame, grid: tuple[int, int], size: int = 2, device: torch.device | None = None) -> None:
        self.size = size
        self.places = grid[0] + size - 1, grid[1] + size - 1
        """Rows and columns of windows; the first ones end with the first cell."""
        self._hidden = tuple(self._covered(pixels * cells, cells) for pixels, cells in zip(frame.pixels(device), grid))

    def _covered(self, pixels: Tensor, cells: int) -> Tensor:
        """Which of the pixels each window hides, of those on the frame: (places, pixels)."""
        ends = torch.arange(1, cells + self.size, device=pixels.device)[:, None]
        return ((pixels >= (ends - self.size).clamp_min(0)) & (pixels < ends.clamp_max(cells))).float()

    def __len__(self) -> int:
        return self.places[0] * self.places[1]

    def __getitem__(self, part: slice) -> Tensor:
        """Masks over the whole input, (B, H, W) float32, row by row of windows."""
        rows, columns = self._hidden
        which = torch.arange(*part.indices(len(self)), device=rows.device)
        row, column = torch.div(which, self.places[1], rounding_mode='floor'), which % self.places[1]
        return 1 - rows[row, :, None] * columns[column, None, :]

    def spread(self, values: Tensor) -> Tensor:
        """For each cell the mean over the windows that hide it: (T, windows) to (T, rows, columns)."""
        return torch.nn.functional.avg_pool2d(values.reshape(-1, *self.places), self.size, stride=1)


class ChannelMasks:
    """A layer's channels as masks (Score-CAM, 1910.01279): each from 0 at its least to 1 at its greatest cell.

    A channel that is the same everywhere hides all.

    Args:
        features: (C, h, w).
        cells: How they lie in the input.
        shape: Height and width of the input.
    """

    def __init__(self, features: Tensor, cells: Cells, shape: tuple[int, int]) -> None:
        features = features.detach().float()
        low, high = features.amin((1, 2), keepdim=True), features.amax((1, 2), keepdim=True)
        span = high - low
        self._planes = torch.where(span > 0, (features - low) / span.clamp_min(torch.finfo(span.dtype).tiny), 0)
        self._down, self._across = (
            hats((torch.arange(extent, device=features.device) + 0.5) / stride - offset - 0.5, knots)
            for extent, stride, offset, knots in zip(shape, cells.stride, cells.offset, features.shape[1:])
        )

    def __len__(self) -> int:
        return len(self._planes)

    def __getitem__(self, part: slice) -> Tensor:
        """Masks over the whole input, (B, H, W) float32, interpolated bilinearly."""
        return self._down @ self._planes[part] @ self._across.mT
