"""RoIAlign (He et al., Mask R-CNN, 2017) in plain PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from featmap.models.openmmlab.ops.bilinear import as_rows, mix, unmix, working_dtype

# How many numbers an intermediate result may have, roughly.
CHUNK = 2**22
# What the maximum of no samples at all is in mmcv.
NO_MAXIMUM = -10000.0


class _Axis(NamedTuple):
    """How the bins of some regions sample one axis; each sample mixes two cells."""

    position: Tensor  # (R, bins, samples), in cells
    cell: Tensor  # (R, bins, samples, 2) int64
    weight: Tensor  # (R, bins, samples, 2)


class _Part(NamedTuple):
    """The samples of some regions, each a mixture of four cells."""

    chosen: Tensor  # (R,) int64: which regions
    cell: Tensor  # (R, rows, columns, samples, 4): rows of `as_rows`
    weight: Tensor  # the same shape
    y: _Axis
    x: _Axis


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
    rows = as_rows(input)
    # The mean is one sum of cells; the maximum needs every sample's channels side by side.
    at_once = 4 if pool_mode == 1 else max(4, input.shape[1])
    bins = (aligned_height, aligned_width)
    for part in _parts(rois, input, bins, spatial_scale, sampling_ratio, aligned, at_once):
        chosen, samples = part.chosen, part.cell.shape[3]
        if not samples:
            output[chosen] = 0 if pool_mode == 1 else NO_MAXIMUM
            if pool_mode == 0:
                argmax_y[chosen] = argmax_x[chosen] = -1
            continue
        if pool_mode == 1:
            mean = mix(rows, part.cell.flatten(3), part.weight.flatten(3) / samples)
            output[chosen] = mean.permute(0, 3, 1, 2).to(output.dtype)
            continue
        best, at = mix(rows, part.cell, part.weight).permute(0, 4, 1, 2, 3).max(-1)
        output[chosen] = best.to(output.dtype)
        across = part.x.position.shape[-1]
        at_y, at_x = at // across, at % across
        argmax_y[chosen] = _pick(part.y.position[:, None, :, None], at_y).to(output.dtype)
        argmax_x[chosen] = _pick(part.x.position[:, None, None], at_x).to(output.dtype)


@torch.no_grad()
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of :func:`roi_align_forward` in its feature map; regions have none, as in mmcv.

    Args:
        grad_output: (R, C, aligned_height, aligned_width), the gradient in what was pooled.
        rois: (R, 5) as (index into N, x1, y1, x2, y2), in image pixels.
        argmax_y: where ``pool_mode`` is 0: what the forward wrote there.
        argmax_x: likewise.
        grad_input: (N, C, H, W), written in place.
        aligned_height: this and what follows as in the forward.
        aligned_width: bins from left to right.
        spatial_scale: cells to an image pixel.
        sampling_ratio: samples of a bin along each axis, or 0.
        pool_mode: 0 for the maximum, 1 for the mean.
        aligned: whether a cell's value lies at its centre.
    """
    batch, channels, height, width = grad_input.shape
    gradient = grad_output.to(working_dtype(grad_output.dtype))
    total = gradient.new_zeros(batch * height * width, channels)
    bins = (aligned_height, aligned_width)
    if pool_mode == 1:
        for part in _parts(rois, grad_input, bins, spatial_scale, sampling_ratio, aligned, 4):
            if part.cell.numel():
                weight = part.weight.flatten(3) / part.cell.shape[3]
                unmix(total, gradient[part.chosen].permute(0, 2, 3, 1), part.cell.flatten(3), weight)
    else:
        _, step = _grid(rois, total, bins, spatial_scale, aligned)
        channel = torch.arange(channels, device=rois.device).view(-1, 1, 1)
        for samples, group in _by_samples(step, sampling_ratio).items():
            if not all(samples):
                continue
            for chosen in group.split(max(1, CHUNK // (4 * channels * bins[0] * bins[1]))):
                y, x = _axis(argmax_y[chosen].to(total), height), _axis(argmax_x[chosen].to(total), width)
                first_row = rois[chosen, 0].long().view(-1, 1, 1, 1) * (height * width)
                for i, j in product((0, 1), (0, 1)):
                    cell = (first_row + y.cell[..., i] * width + x.cell[..., j]) * channels + channel
                    given = gradient[chosen] * y.weight[..., i] * x.weight[..., j]
                    total.view(-1).index_add_(0, cell.flatten(), given.flatten())
    grad_input.copy_(total.view(batch, height, width, channels).permute(0, 3, 1, 2))


def _parts(
    rois: Tensor,
    features: Tensor,
    bins: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    at_once: int,
) -> Iterator[_Part]:
    """Regions of one number of samples each, so many that ``at_once`` numbers a sample stay few enough."""
    height, width = features.shape[2:]
    start, step = _grid(rois, features, bins, spatial_scale, aligned)
    first_row = rois[:, 0].long() * (height * width)
    for (across, down), group in _by_samples(step, sampling_ratio).items():
        numbers = bins[0] * bins[1] * across * down * at_once
        for chosen in group.split(max(1, CHUNK // max(1, numbers))):
            y = _sample(start[chosen, 1], step[chosen, 1], bins[0], down, height)
            x = _sample(start[chosen, 0], step[chosen, 0], bins[1], across, width)
            cell, weight = _cross(y, x, width)
            cell += first_row[chosen].view(-1, 1, 1, 1, 1)
            yield _Part(chosen, cell, weight, y, x)


def _grid(
    rois: Tensor, features: Tensor, bins: tuple[int, int], spatial_scale: float, aligned: bool
) -> tuple[Tensor, Tensor]:
    """Where the bins of each region begin and how large each is, in cells: both (R, 2), x before y."""
    corners = rois[:, 1:].to(working_dtype(features.dtype)) * spatial_scale - (0.5 if aligned else 0)
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        size = size.clamp(min=1)
    return start, size / size.new_tensor(bins[::-1])


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
    return _axis(start + bin_index * step + offset.to(step) * step / max(1, samples), extent)


def _axis(position: Tensor, extent: int) -> _Axis:
    """The cells around positions on an axis ``extent`` long, of any shape."""
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
