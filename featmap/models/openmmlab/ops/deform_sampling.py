"""Where the taps of a deformable convolution sample a map."""

from __future__ import annotations

import math
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from featmap.models.openmmlab.ops.bilinear import as_rows, working_dtype


class Layout(NamedTuple):
    """A convolution's numbers; pairs are (y, x)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    offset_groups: int

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]


class Terms(NamedTuple):
    """What a deformable convolution is computed of, in the precision that it is computed in."""

    rows: Tensor  # (N * H * W * offset groups, C / offset groups), of `as_rows`
    filters: Tensor  # (taps, groups, C / groups, C_out / groups)
    moves: Tensor  # (N, H_out, W_out, offset groups, taps, 2), y before x
    scales: Tensor  # (N, H_out, W_out, offset groups, taps)


def terms(features: Tensor, weight: Tensor, offset: Tensor, mask: Optional[Tensor], layout: Layout) -> Terms:
    """Lay the tensors of a convolution out for :func:`corners` and products of matrices.

    Raises:
        ValueError: one of them does not fit the rest.
    """
    exact = working_dtype(features.dtype)
    groups, offset_groups, taps = layout.groups, layout.offset_groups, layout.taps
    batch, in_group, out_group = len(features), features.shape[1] // groups, len(weight) // groups
    height, width = output_size(features, layout)
    check_shape('weight', weight, (groups * out_group, in_group, *layout.kernel))
    check_shape('offset', offset, (batch, offset_groups * taps * 2, height, width))
    places = (batch, height, width, offset_groups, taps)
    moves = offset.to(exact).permute(0, 2, 3, 1).reshape(*places, 2)
    scales = moves.new_ones(()).expand(places)
    if mask is not None:
        check_shape('mask', mask, (batch, offset_groups * taps, height, width))
        scales = mask.to(exact).permute(0, 2, 3, 1).reshape(places)
    filters = weight.to(exact).reshape(groups, out_group, in_group, taps).permute(3, 0, 2, 1)
    return Terms(as_rows(features, offset_groups), filters, moves, scales)


def corners(features: Tensor, move: Tensor, tap: tuple[int, int], layout: Layout) -> tuple[Tensor, Tensor]:
    """The rows around one tap's samples, and their shares: (..., 2) -> (..., 4) and (..., 4).

    Shares have gradients with respect to ``move``.
    """
    batch, _, *extents = features.shape
    cells, shares = [], []
    for axis, trailing in ((0, (1, 1)), (1, (1,))):
        steps = torch.arange(move.shape[1 + axis], device=move.device) * layout.stride[axis]
        first = tap[axis] * layout.dilation[axis] - layout.padding[axis]
        position = (steps + first).to(move).view(-1, *trailing) + move[..., axis]
        low = position.floor()
        cell = torch.stack([low, low + 1], -1)
        # Without an absolute value, whose slope is 0 where offsets are: the compiled op has that of the right.
        share = torch.stack([low + 1 - position, position - low], -1)
        # Outside of the map there are zeros; far outside, infinity included, too.
        inside = (cell >= 0) & (cell < extents[axis])
        cells.append(cell.where(inside, cell.new_zeros(())).long())
        shares.append(share.where(inside, share.new_zeros(())))
    image = torch.arange(batch, device=move.device).view(-1, 1, 1, 1, 1, 1)
    group = torch.arange(layout.offset_groups, device=move.device).view(-1, 1, 1)
    index = image * extents[0] + cells[0][..., :, None]
    index = (index * extents[1] + cells[1][..., None, :]) * layout.offset_groups + group
    share = shares[0][..., :, None] * shares[1][..., None, :]
    return index.flatten(-2), share.flatten(-2)


def output_size(features: Tensor, layout: Layout) -> tuple[int, int]:
    """Height and width of what the convolution puts out."""
    height, width = (
        (extent + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for extent, taps, stride, padding, dilation in zip(
            features.shape[2:], layout.kernel, layout.stride, layout.padding, layout.dilation
        )
    )
    return height, width


def first_numbers(tensor: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The first numbers of each sample in another shape, where there are more of them."""
    wanted = math.prod(shape)
    if tuple(tensor.shape[1:]) == shape or tensor[0].numel() < wanted:
        return tensor
    return tensor.flatten(1)[:, :wanted].unflatten(1, shape)


def check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    """Raise :class:`ValueError` where a tensor does not have the shape that is expected."""
    if tuple(tensor.shape) != expected:
        raise ValueError(f'{name} has shape {tuple(tensor.shape)}, expected {expected}')
