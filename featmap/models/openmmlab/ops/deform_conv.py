"""Deformable convolution (Dai et al., 2017) and its modulated form (Zhu et al., 2019)."""

# The parameters are named as mmcv passes them.
# ruff: noqa: N803

from __future__ import annotations

import math
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from featmap.models.openmmlab.ops.bilinear import as_rows, mix, working_dtype


class _Layout(NamedTuple):
    """A convolution's numbers; pairs are (y, x)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    offset_groups: int


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Convolve a map, with every tap of the kernel moved by an offset of its own at every place.

    Args:
        input: (N, C, H, W).
        weight: (C_out, C / group, kH, kW).
        offset: (N, deformable_group * kH * kW * 2, H_out, W_out), in cells, y before x.
        output: (N, C_out, H_out, W_out), written in place.
        columns: not used, like ``ones`` and ``im2col_step``.
        ones: not used.
        kW: kernel width.
        kH: kernel height.
        dW: stride along x.
        dH: stride along y.
        padW: zeros at the left and the right.
        padH: zeros at the top and the bottom.
        dilationW: cells from tap to tap along x.
        dilationH: cells from tap to tap along y.
        group: groups of channels that are convolved apart.
        deformable_group: groups of input channels that have offsets of their own.
        im2col_step: not used.

    Raises:
        ValueError: ``weight`` or ``offset`` does not fit the rest.
    """
    layout = _Layout((kH, kW), (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    _convolve(input, weight, offset, None, None, output, layout)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Convolve as :func:`deform_conv_forward` does, with every tap also scaled at every place.

    Args:
        input: (N, C, H, W).
        weight: (C_out, C / group, kernel_h, kernel_w).
        bias: (C_out,), where ``with_bias``.
        ones: not used, like ``columns``.
        offset: (N, deformable_group * kernel_h * kernel_w * 2, H_out, W_out), in cells, y before x. Of a larger one
            each sample's first numbers are taken in the order of memory, as the compiled op does; DyHead relies on it.
        mask: (N, deformable_group * kernel_h * kernel_w, H_out, W_out), the scales; a larger one likewise.
        output: (N, C_out, H_out, W_out), written in place.
        columns: not used.
        kernel_h: kernel height.
        kernel_w: kernel width.
        stride_h: stride along y.
        stride_w: stride along x.
        pad_h: zeros at the top and the bottom.
        pad_w: zeros at the left and the right.
        dilation_h: cells from tap to tap along y.
        dilation_w: cells from tap to tap along x.
        group: groups of channels that are convolved apart.
        deformable_group: groups of input channels that have offsets and scales of their own.
        with_bias: whether to add ``bias``.

    Raises:
        ValueError: ``weight`` does not fit the rest, or ``offset`` or ``mask`` is too small.
    """
    layout = _Layout(
        (kernel_h, kernel_w),
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    height, width = _output_size(input, layout)
    taps = deformable_group * kernel_h * kernel_w
    offset, mask = _first(offset, (taps * 2, height, width)), _first(mask, (taps, height, width))
    _convolve(input, weight, offset, mask, bias if with_bias else None, output, layout)


@torch.no_grad()
def _convolve(
    features: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Optional[Tensor],
    bias: Optional[Tensor],
    output: Tensor,
    layout: _Layout,
) -> None:
    """Write the convolution into ``output``; shapes are those of the public functions."""
    exact = working_dtype(features.dtype)
    groups, offset_groups = layout.groups, layout.offset_groups
    batch, in_group, out_group = len(features), features.shape[1] // groups, len(weight) // groups
    taps = layout.kernel[0] * layout.kernel[1]
    height, width = _output_size(features, layout)
    _check('weight', weight, (groups * out_group, in_group, *layout.kernel))
    _check('offset', offset, (batch, offset_groups * taps * 2, height, width))
    places = (batch, height, width, offset_groups, taps)
    moves = offset.to(exact).permute(0, 2, 3, 1).reshape(*places, 2)
    scales = moves.new_ones(()).expand(places)
    if mask is not None:
        _check('mask', mask, (batch, offset_groups * taps, height, width))
        scales = mask.to(exact).permute(0, 2, 3, 1).reshape(places)

    rows = as_rows(features, offset_groups)
    filters = weight.to(exact).reshape(groups, out_group, in_group, taps).permute(3, 0, 2, 1)
    result = rows.new_zeros(groups, batch * height * width, out_group)
    if bias is not None:
        result += bias.to(exact).view(groups, 1, -1)
    # A tap at a time: what is sampled is then no larger than the map itself.
    for tap in range(taps):
        index, share = _corners(features, moves[..., tap, :], divmod(tap, layout.kernel[1]), layout)
        sampled = mix(rows, index, share * scales[..., tap, None])
        sampled = sampled.view(batch * height * width, groups, in_group).transpose(0, 1)
        result.baddbmm_(sampled, filters[tap])
    result = result.view(groups, batch, height, width, out_group).permute(1, 0, 4, 2, 3)
    output.copy_(result.reshape(batch, groups * out_group, height, width))


def _corners(features: Tensor, move: Tensor, tap: tuple[int, int], layout: _Layout) -> tuple[Tensor, Tensor]:
    """The rows around one tap's samples, and their shares: (..., 2) -> (..., 4) and (..., 4)."""
    batch, _, *extents = features.shape
    cells, shares = [], []
    for axis, trailing in ((0, (1, 1)), (1, (1,))):
        steps = torch.arange(move.shape[1 + axis], device=move.device) * layout.stride[axis]
        first = tap[axis] * layout.dilation[axis] - layout.padding[axis]
        position = (steps + first).to(move).view(-1, *trailing) + move[..., axis]
        low = position.floor()
        cell = torch.stack([low, low + 1], -1)
        share = 1 - (position[..., None] - cell).abs()
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


def _output_size(features: Tensor, layout: _Layout) -> tuple[int, int]:
    height, width = (
        (extent + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for extent, taps, stride, padding, dilation in zip(
            features.shape[2:], layout.kernel, layout.stride, layout.padding, layout.dilation
        )
    )
    return height, width


def _first(tensor: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The first numbers of each sample in another shape, where there are more of them."""
    wanted = math.prod(shape)
    if tuple(tensor.shape[1:]) == shape or tensor[0].numel() < wanted:
        return tensor
    return tensor.flatten(1)[:, :wanted].unflatten(1, shape)


def _check(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ValueError(f'{name} has shape {tuple(tensor.shape)}, expected {expected}')
