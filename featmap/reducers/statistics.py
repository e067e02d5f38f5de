"""Reducers that take one number over the channels of each cell."""

from __future__ import annotations

import torch
from torch import Tensor

from featmap.reducers.base import Reducer
from featmap.registry import REDUCERS
from featmap.structures import Reduction


@REDUCERS.register_module('squeeze_mean')
class SqueezeMean(Reducer):
    """The mean over channels, as MMEngine's ``squeeze_mean``. Opposite signs cancel."""

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        return Reduction(features.mean(dim=0, keepdim=True, dtype=torch.float32), (None,))
