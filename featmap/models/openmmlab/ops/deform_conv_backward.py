"""The gradients of deformable convolution, as the compiled ops of mmcv write them."""

# The parameters are named as mmcv passes them; those that the forward describes are not described again.
# ruff: noqa: D417, N803

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from featmap.models.openmmlab.ops.bilinear import mix, unmix, unweigh
from featmap.models.openmmlab.ops.deform_sampling import Layout, corners, first_numbers, output_size, terms


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
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
    """Write the gradients of ``deform_conv_forward`` in its input and its offsets.

    Args:
        input: (N, C, H, W), like the other tensors what the forward was given.
        offset: (N, deformable_group * kH * kW * 2, H_out, W_out).
        gradOutput: (N, C_out, H_out, W_out), the gradient in what it put out.
        gradInput: shaped like ``input``, written in place.
        gradOffset: shaped like ``offset``, written in place.
        weight: (C_out, C / group, kH, kW).
        columns: not used.
    """
    layout = Layout((kH, kW), (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    gradients = _gradients(input, weight, offset, None, gradOutput, layout, of_weight=False)
    gradInput.copy_(gradients.features)
    gradOffset.copy_(gradients.offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
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
    scale: float,
    im2col_step: int,
) -> None:
    """Add ``scale`` times the gradient of ``deform_conv_forward`` in its weight.

    Args:
        input: (N, C, H, W), like ``offset`` what the forward was given.
        offset: (N, deformable_group * kH * kW * 2, H_out, W_out).
        gradOutput: (N, C_out, H_out, W_out), the gradient in what it put out.
        gradWeight: (C_out, C / group, kH, kW), added to in place.
        columns: not used, like ``ones``.
        scale: what the gradient is multiplied by.
    """
    layout = Layout((kH, kW), (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    gradients = _gradients(input, gradWeight, offset, None, gradOutput, layout, of_samples=False)
    gradWeight.add_(gradients.weight, alpha=scale)


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
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
    """Write the gradients of ``modulated_deform_conv_forward``.

    Args:
        input: (N, C, H, W), like the other tensors what the forward was given.
        weight: (C_out, C / group, kernel_h, kernel_w).
        bias: not used, like ``ones`` and ``columns``.
        offset: (N, deformable_group * kernel_h * kernel_w * 2, H_out, W_out), or larger.
        mask: (N, deformable_group * kernel_h * kernel_w, H_out, W_out), or larger.
        grad_input: shaped like ``input``, written in place like the ones below.
        grad_weight: shaped like ``weight``; added to.
        grad_bias: (C_out,), where ``with_bias``; added to.
        grad_offset: shaped like ``offset``; what the forward does not read of it keeps its value.
        grad_mask: shaped like ``mask``; likewise.
        grad_output: (N, C_out, H_out, W_out), the gradient in what the forward put out.
        with_bias: whether a bias was added.
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
    taps = deformable_group * layout.taps
    offset = first_numbers(offset, (taps * 2, height, width))
    mask = first_numbers(mask, (taps, height, width))
    gradients = _gradients(input, weight, offset, mask, grad_output, layout)
    grad_input.copy_(gradients.features)
    grad_weight += gradients.weight
    _fill(grad_offset, gradients.offset)
    _fill(grad_mask, gradients.mask)
    if with_bias:
        grad_bias += grad_output.sum((0, 2, 3))


class _Gradients(NamedTuple):
    """Gradients in the tensors of a convolution, shaped like these; zeros where they were not asked for."""

    features: Tensor
    weight: Tensor
    offset: Tensor
    mask: Tensor


@torch.no_grad()
def _gradients(
    features: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Optional[Tensor],
    gradient: Tensor,
    layout: Layout,
    of_weight: bool = True,
    of_samples: bool = True,
) -> _Gradients:
    """A tap at a time, as the forward goes; ``gradient`` is that in what it put out."""
    rows, filters, moves, scales = terms(features, weight, offset, mask, layout)
    groups, in_group, out_group = filters.shape[1:]
    batch, height, width = moves.shape[:3]
    gradient = gradient.to(rows.dtype).reshape(batch, groups, out_group, height, width)
    gradient = gradient.permute(1, 0, 3, 4, 2).reshape(groups, -1, out_group)
    to_rows, to_filters = torch.zeros_like(rows), torch.zeros_like(filters)
    to_moves, to_scales = torch.zeros_like(moves), torch.zeros_like(moves[..., 0])
    for tap in range(layout.taps):
        move, scale = moves[..., tap, :].requires_grad_(), scales[..., tap].requires_grad_()
        with torch.enable_grad():
            index, share = corners(features, move, divmod(tap, layout.kernel[1]), layout)
            share = share * scale[..., None]
        if of_weight:
            sampled = mix(rows, index, share.detach()).view(-1, groups, in_group).transpose(0, 1)
            to_filters[tap] = sampled.transpose(1, 2) @ gradient
        if of_samples:
            to_sample = (gradient @ filters[tap].transpose(1, 2)).transpose(0, 1)
            to_sample = to_sample.reshape(*index.shape[:-1], rows.shape[1])
            unmix(to_rows, to_sample, index, share.detach())
            to_share = unweigh(to_sample, rows, index)
            to_moves[..., tap, :], to_scales[..., tap] = torch.autograd.grad(share, (move, scale), to_share)
    channels = features.shape[1]
    return _Gradients(
        to_rows.view(batch, *features.shape[2:], channels).permute(0, 3, 1, 2),
        to_filters.permute(1, 3, 2, 0).reshape(weight.shape),
        to_moves.permute(0, 3, 4, 5, 1, 2).reshape(offset.shape),
        to_scales.permute(0, 3, 4, 1, 2).reshape(batch, -1, height, width),
    )


def _fill(target: Tensor, values: Tensor) -> None:
    """Write values into the first numbers of each sample, which may have more of them."""
    flat = target.flatten(1)
    flat[:, : values[0].numel()] = values.flatten(1).to(target.dtype)
    target.copy_(flat.view(target.shape))
