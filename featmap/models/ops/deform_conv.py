"""Deformable convolution (Dai et al., 2017) and its modulated form (Zhu et al., 2019)."""

# The parameters are named as mmcv passes them.
# ruff: noqa: N803

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from featmap.models.ops.bilinear import as_rows, mix, working_dtype


class _Layout(NamedTuple):
    """A convolution's numbers; pairs are (y, x)."""

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
    layout = _Layout((dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    _convolve(input, weight, (kH, kW), offset, None, None, output, layout)


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
        offset: (N, deformable_group * kernel_h * kernel_w * 2, H_out, W_out), in cells, y before x.
        mask: (N, deformable_group * kernel_h * kernel_w, H_out, W_out), the scales.
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
        ValueError: ``weight``, ``offset`` or ``mask`` does not fit the rest.
    """
    layout = _Layout(
        (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w), group, deformable_group
    )
    added = bias if with_bias else None
    _convolve(input, weight, (kernel_h, kernel_w), offset, mask, added, output, layout)


@torch.no_grad()
def _convolve(
    features: Tensor,
    weight: Tensor,
    kernel: tuple[int, int],
    offset: Tensor,
    mask: Optional[Tensor],
    bias: Optional[Tensor],
    output: Tensor,
    layout: _Layout,
) -> None:
    exact = working_dtype(features.dtype)
    batch, channels = features.shape[:2]
    groups, taps = layout.groups, kernel[0] * kernel[1]
    height, width = _output_size(features, kernel, layout)
    places = batch * height * width
    per_place = (batch, height, width, layout.offset_groups, taps)
    _check('weight', weight, (weight.shape[0], channels // groups, *kernel))
    _check('offset', offset, (batch, layout.offset_groups * taps * 2, height, width))
    moves = offset.to(exact).permute(0, 2, 3, 1).reshape(*per_place, 2)
    scales = moves.new_ones(()).expand(per_place)
    if mask is not None:
        _check('mask', mask, (batch, layout.offset_groups * taps, height, width))
        scales = mask.to(exact).permute(0, 2, 3, 1).reshape(per_place)

    rows = as_rows(features, layout.offset_groups)
    # (taps, groups, C / groups, C_out / groups)
    filters = weight.to(exact).view(groups, -1, channels // groups, taps).permute(3, 0, 2, 1)
    result = rows.new_zeros(groups, places, weight.shape[0] // groups)
    if bias is not None:
        result += bias.to(exact).view(groups, 1, -1)
    # A tap at a time: what is sampled is then no larger than the map itself.
    for tap in range(taps):
        index, share = _corners(features, moves[..., tap, :], divmod(tap, kernel[1]), layout)
        sampled = mix(rows, index, share * scales[..., tap, None])
        sampled = sampled.view(places, groups, channels // groups).transpose(0, 1)
        result.baddbmm_(sampled, filters[tap])
    result = result.view(groups, batch, height, width, -1).permute(1, 0, 4, 2, 3)
    output.copy_(result.reshape(batch, -1, height, width))


def _corners(
    features: Tensor, move: Tensor, tap: tuple[int, int], layout: _Layout
) -> tuple[Tensor, Tensor]:
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


def _output_size(features: Tensor, kernel: tuple[int, int], layout: _Layout) -> tuple[int, int]:
    height, width = (
        (extent + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for extent, taps, stride, padding, dilation in zip(
            features.shape[2:], kernel, layout.stride, layout.padding, layout.dilation
        )
    )
    return height, width


def _check(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ValueError(f'{name} has shape {tuple(tensor.shape)}, expected {expected}')
