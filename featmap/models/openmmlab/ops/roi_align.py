"""RoIAlign (He et al., Mask R-CNN, 2017) in plain PyTorch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from featmap.models.openmmlab.ops.bilinear import as_rows, mix, working_dtype

# How many numbers an intermediate result may have, roughly.
CHUNK = 2**22
# What the maximum of no samples at all is in mmcv.
NO_MAXIMUM = -10000.0


class _Axis(NamedTuple):
    """How the bins of some regions sample one axis; each sample mixes two cells."""

    position: Tensor  # (R, bins, samples), in cells
    cell: Tensor  # (R, bins, samples, 2) int64
    weight: Tensor  # (R, bins, samples, 2)


@torch.no_grad()
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool each region of a feature map into a fixed grid of bins, sampled bilinearly.

    Args:
        input: (N, C, H, W).
        rois: (R, 5) as (index into N, x1, y1, x2, y2), in image pixels.
        output: (R, C, aligned_height, aligned_width), written in place.
        argmax_y: where ``pool_mode`` is 0, shaped like ``output``: the y of each maximum, in cells.
        argmax_x: the same for x.
        aligned_height: bins from top to bottom.
        aligned_width: bins from left to right.
        spatial_scale: cells to an image pixel.
        sampling_ratio: samples of a bin along each axis; 0: one for each cell that it spans.
        pool_mode: 0 for the maximum of a bin's samples, 1 for their mean.
        aligned: a cell's value lies at its centre; otherwise at its corner, and regions are at
            least one cell wide and high.
    """
    if not len(rois):
        return
    channels, height, width = input.shape[1:]
    rows = as_rows(input)
    corners = rois[:, 1:].to(working_dtype(input.dtype)) * spatial_scale - (0.5 if aligned else 0)
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        size = size.clamp(min=1)
    step = size / size.new_tensor([aligned_width, aligned_height])
    first_row = rois[:, 0].long() * (height * width)
    for (across, down), chosen in _by_samples(step, sampling_ratio).items():
        if not across * down:
            output[chosen] = 0 if pool_mode == 1 else NO_MAXIMUM
            if pool_mode == 0:
                argmax_y[chosen] = argmax_x[chosen] = -1
            continue
        # The mean is one sum of cells; the maximum needs every sample's channels side by side.
        numbers = aligned_height * aligned_width * across * down
        numbers *= 4 if pool_mode == 1 else max(4, channels)
        for part in chosen.split(max(1, CHUNK // numbers)):
            y = _sample(start[part, 1], step[part, 1], aligned_height, down, height)
            x = _sample(start[part, 0], step[part, 0], aligned_width, across, width)
            cell, weight = _cross(y, x, width)
            cell += first_row[part].view(-1, 1, 1, 1, 1)
            if pool_mode == 1:
                mean = mix(rows, cell.flatten(3), weight.flatten(3) / (down * across))
                output[part] = mean.permute(0, 3, 1, 2).to(output.dtype)
                continue
            best, at = mix(rows, cell, weight).permute(0, 4, 1, 2, 3).max(-1)
            output[part] = best.to(output.dtype)
            at_y, at_x = at // across, at % across
            argmax_y[part] = _pick(y.position[:, None, :, None], at_y).to(output.dtype)
            argmax_x[part] = _pick(x.position[:, None, None], at_x).to(output.dtype)


def _by_samples(step: Tensor, sampling_ratio: int) -> dict[tuple[int, int], Tensor]:
    """Group regions by their samples a bin: (R, 2) bin sizes -> {(across, down): indices}."""
    if sampling_ratio > 0:
        samples = torch.full_like(step, sampling_ratio)
    else:
        samples = step.nan_to_num(0, 0, 0).ceil().clamp(min=0)
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (across, down) in enumerate(samples.long().tolist()):
        groups.setdefault((across, down), []).append(index)
    return {key: torch.tensor(value, device=step.device) for key, value in groups.items()}


def _sample(start: Tensor, step: Tensor, bins: int, samples: int, extent: int) -> _Axis:
    """Spread samples evenly over bins of width ``step``: (R,), (R,) -> an axis ``extent`` long."""
    start, step = start.view(-1, 1, 1), step.view(-1, 1, 1)
    bin_index = torch.arange(bins, device=step.device).view(1, -1, 1)
    offset = torch.arange(samples, device=step.device) + 0.5
    position = start + bin_index * step + offset.to(step) * step / samples
    # Up to one cell beyond the map the outermost cell is repeated; from there on all is zero.
    inside = (position >= -1) & (position <= extent)
    clamped = position.where(inside, position.new_zeros(())).clamp(0, extent - 1)
    low = clamped.floor()
    high = (low + 1).clamp(max=extent - 1)
    share = clamped - low
    weight = torch.stack([1 - share, share], -1) * inside[..., None]
    return _Axis(position, torch.stack([low, high], -1).long(), weight)


def _cross(y: _Axis, x: _Axis, width: int) -> tuple[Tensor, Tensor]:
    """Cells and weights of all samples: both (R, rows, columns, samples, 4)."""
    down = (slice(None), slice(None), None, slice(None), None, slice(None), None)
    across = (slice(None), None, slice(None), None, slice(None), None, slice(None))
    cell = y.cell[down] * width + x.cell[across]
    weight = y.weight[down] * x.weight[across]
    return cell.flatten(5).flatten(3, 4), weight.flatten(5).flatten(3, 4)


def _pick(position: Tensor, index: Tensor) -> Tensor:
    """The position at each index: broadcastable (R, 1, rows, columns, S), (R, C, rows, columns)."""
    shape = (*index.shape, position.shape[-1])
    return position.expand(shape).gather(-1, index[..., None]).squeeze(-1)
