"""Weighted sums of feature cells: what bilinear sampling comes down to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision to compute in: float64 stays, all else is computed in float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def as_rows(features: Tensor, groups: int = 1) -> Tensor:
    """(N, C, H, W) -> (N * H * W * groups, C / groups), a cell's channels next to each other.

    Cell (y, x) of image n and channel group g is row ``((n * H + y) * W + x) * groups + g``.
    """
    rows = features.permute(0, 2, 3, 1).to(working_dtype(features.dtype))
    return rows.reshape(-1, features.shape[1] // groups).contiguous()


def mix(rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum rows by weight: (M, C), (..., T), (..., T) -> (..., C)."""
    taps = index.shape[-1]
    # A bag of embeddings is such a sum, and never holds the T rows at once.
    mixed = F.embedding_bag(index.reshape(-1, taps), rows, mode='sum', per_sample_weights=weight.reshape(-1, taps))
    return mixed.view(*index.shape[:-1], rows.shape[1])


def unmix(total: Tensor, gradient: Tensor, index: Tensor, weight: Tensor) -> None:
    """Add the gradient of :func:`mix` in its rows: (M, C), (..., C), (..., T), (..., T)."""
    # Sorted by row, these are sums of rows as well; that is far quicker than adding in place, and always the same.
    flat, order = index.reshape(-1).sort(stable=True)
    touched, counts = flat.unique_consecutive(return_counts=True)
    source = order.div(index.shape[-1], rounding_mode='floor')
    gradient = gradient.reshape(-1, gradient.shape[-1])
    first, share = counts.cumsum(0) - counts, weight.reshape(-1)[order]
    total[touched] += F.embedding_bag(source, gradient, first, mode='sum', per_sample_weights=share)


def unweigh(gradient: Tensor, rows: Tensor, index: Tensor) -> Tensor:
    """The gradient of :func:`mix` in its weights: (..., C), (M, C), (..., T) -> (..., T)."""
    # One tap after another: together they would take as many times the memory.
    found = [(rows[index[..., tap]] * gradient).sum(dim=-1) for tap in range(index.shape[-1])]
    return torch.stack(found, dim=-1)
