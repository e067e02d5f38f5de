"""Weights at positions between cells, as maps: each is shared by the four cells around it, as sampling reads them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from featmap.geometry import Cells


def splat(weights: Tensor, locations: Tensor, shape: tuple[int, int]) -> Tensor:
    """What the cells of a grid contribute where it is sampled bilinearly, zeros around it.

    The adjoint of ``grid_sample(…, padding_mode='zeros', align_corners=False)``: sampling a map and adding up what was
    read, by the weights, is the sum of map × splat.

    Args:
        weights: (n,).
        locations: (n, 2), x and y as shares of the grid's width and height.
        shape: Height and width of the grid, in cells.

    Returns:
        (h, w) float32, which adds up to the weights of what lies inside.
    """
    rows, columns = shape
    x, y = locations.float().unbind(-1)
    x, y = x * columns - 0.5, y * rows - 0.5
    left, top = x.floor(), y.floor()
    plane = weights.new_zeros(rows * columns, dtype=torch.float32)
    for down in (0, 1):
        for across in (0, 1):
            row, column = top + down, left + across
            share = (1 - (y - row).abs()) * (1 - (x - column).abs()) * weights.float()
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            place = (row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)).long()
            plane.index_add_(0, place, torch.where(inside, share, torch.zeros_like(share)))
    return plane.view(rows, columns)


def on_finest(planes: Sequence[Tensor], cells: Sequence[Cells]) -> tuple[Tensor, Cells]:
    """The sum of the planes of several levels, on the grid of the finest, by where their cells lie in the input.

    Weights are amounts, so a coarse cell's is shared by the fine ones that it covers.

    Args:
        planes: (h, w) of each level.
        cells: How they lie.

    Returns:
        The sum, and how its cells lie.
    """
    finest = min(range(len(planes)), key=lambda level: cells[level].stride[0] * cells[level].stride[1])
    shape, onto = planes[finest].shape, cells[finest]
    total = torch.zeros_like(planes[finest])
    for plane, own in zip(planes, cells):
        rows, columns = (_between(int(shape[n]), onto, int(plane.shape[n]), own, n).to(plane) for n in (0, 1))
        area = onto.stride[0] * onto.stride[1] / (own.stride[0] * own.stride[1])
        total += rows @ plane @ columns.T * area
    return total, onto


def _between(count: int, onto: Cells, given: int, own: Cells, axis: int) -> Tensor:
    """(count, given): what each of so many cells takes of the two given ones next to its centre."""
    at = (torch.arange(count) + 0.5 + onto.offset[axis]) * onto.stride[axis] / own.stride[axis] - 0.5 - own.offset[axis]
    return (1 - (at.clamp(0, given - 1)[:, None] - torch.arange(given)).abs()).clamp_min(0)
