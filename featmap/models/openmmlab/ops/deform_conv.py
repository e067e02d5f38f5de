"""Deformable convolution (Dai et al., 2017) and its modulated form (Zhu et al., 2019)."""

# The parameters are named as mmcv passes them.
# ruff: noqa: N803

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from featmap.models.openmmlab.ops.bilinear import mix
from featmap.models.openmmlab.ops.deform_sampling import Layout, corners, first_numbers, output_size, terms


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
    layout = Layout((kH, kW), (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
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
    layout = Layout(
        (kernel_h, kernel_w),
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    height, width = output_size(input, layout)
    taps = deformable_group * kernel_h * kernel_w
    offset, mask = first_numbers(offset, (taps * 2, height, width)), first_numbers(mask, (taps, height, width))
    _convolve(input, weight, offset, mask, bias if with_bias else None, output, layout)


@torch.no_grad()
def _convolve(
    features: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Optional[Tensor],
    bias: Optional[Tensor],
    output: Tensor,
    layout: Layout,
) -> None:
    """Write the convolution into ``output``; shapes are those of the public functions."""
    rows, filters, moves, scales = terms(features, weight, offset, mask, layout)
    groups, in_group, out_group = filters.shape[1:]
    batch, height, width = moves.shape[:3]
    result = rows.new_zeros(groups, batch * height * width, out_group)
    if bias is not None:
        result += bias.to(rows.dtype).view(groups, 1, -1)
    # A tap at a time: what is sampled is then no larger than the map itself.
    for tap in range(layout.taps):
        index, share = corners(features, moves[..., tap, :], divmod(tap, layout.kernel[1]), layout)
        sampled = mix(rows, index, share * scales[..., tap, None])
        sampled = sampled.view(batch * height * width, groups, in_group).transpose(0, 1)
        result.baddbmm_(sampled, filters[tap])
    result = result.view(groups, batch, height, width, out_group).permute(1, 0, 4, 2, 3)
    output.copy_(result.reshape(batch, groups * out_group, height, width))
