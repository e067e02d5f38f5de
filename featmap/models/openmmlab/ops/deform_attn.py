"""Multi-scale deformable attention for CUDA tensors (Zhu et al., "Deformable DETR", 2021)."""

from __future__ import annotations

import torch
from torch import Tensor


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int = 64,
) -> Tensor:
    """Attend to sampled points of every level, on the tensors' device.

    On the CPU mmcv itself takes its PyTorch version; on CUDA it asks for the compiled op. Both get that version here.

    Args:
        value: (N, sum of h·w, heads, channels per head).
        value_spatial_shapes: (levels, 2): h and w of each level.
        value_level_start_index: (levels,); follows from the shapes and is not read.
        sampling_locations: (N, queries, heads, levels, points, 2): x and y from 0 to 1.
        attention_weights: (N, queries, heads, levels, points).
        im2col_step: Not used.

    Returns:
        (N, queries, heads · channels per head).
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch  # imports mmcv._ext

    return multi_scale_deformable_attn_pytorch(value, value_spatial_shapes, sampling_locations, attention_weights)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int = 64,
) -> None:
    """Write the gradients of :func:`ms_deform_attn_forward` in its three tensors of numbers.

    Args:
        value: like the following what the forward was given.
        value_spatial_shapes: likewise.
        value_level_start_index: likewise.
        sampling_locations: likewise.
        attention_weights: likewise.
        grad_output: (N, queries, heads · channels per head), the gradient in what it put out.
        grad_value: shaped like ``value``, written in place.
        grad_sampling_loc: shaped like ``sampling_locations``, written in place.
        grad_attn_weight: shaped like ``attention_weights``, written in place.
        im2col_step: Not used.
    """
    given = [tensor.detach().requires_grad_() for tensor in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = ms_deform_attn_forward(given[0], value_spatial_shapes, value_level_start_index, given[1], given[2])
        gradients = torch.autograd.grad(output, given, grad_output)
    for target, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients):
        target.copy_(gradient)
