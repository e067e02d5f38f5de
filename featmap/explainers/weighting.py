"""What explainers with one weight a channel share."""

from __future__ import annotations

import torch
from torch import Tensor


def counted(values: Tensor) -> Tensor:
    """The values with 0 for those that are not finite, so that one cell does not decide the weight of its channel."""
    # A device would have to be waited for, which takes longer than to write all values anew.
    if not values.is_cuda and bool(torch.isfinite(values.sum())):
        return values
    return torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def combined(weights: Tensor, features: Tensor) -> Tensor:
    """Σ_c weights_c · features_c: (C,) and (C, h, w) to (h, w)."""
    return (weights @ features.flatten(1)).unflatten(0, features.shape[1:])


def sums(values: Tensor) -> Tensor:
    """The sum over the cells of each channel: (C, h, w) to (C,)."""
    return values.flatten(1).sum(dim=1)
