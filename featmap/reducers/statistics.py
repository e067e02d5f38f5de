"""Reducers that take one number over the channels of each cell, accumulated in float32."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from featmap.reducers.base import Reducer, one_thread
from featmap.reducers.rounding import magnitude
from featmap.registry import REDUCERS
from featmap.structures import Reduction

_TINY = torch.finfo(torch.float32).tiny
_LEAST = 1e-30  # a sum of squares; of less, single squares may have lost digits or vanished


class _PerCell(Reducer):
    """One plane: a statistic over the channels of each cell. A cell with a non-finite channel is non-finite."""

    cancels = False  # whether the statistic may be much smaller than what it is added up from

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        with one_thread(features):
            size = magnitude(features) if self.cancels else None
            return Reduction(self.statistic(features)[None], (None,), magnitude=size)

    def statistic(self, features: Tensor) -> Tensor:
        """(C, h, w) to (h, w) float32."""
        raise TypeError(f'{type(self).__name__} states no statistic')


@REDUCERS.register_module('squeeze_mean')
class SqueezeMean(_PerCell):
    """The mean over channels, as MMEngine's ``squeeze_mean``. Opposite signs cancel."""

    cancels = True

    def statistic(self, features: Tensor) -> Tensor:
        return features.mean(dim=0, dtype=torch.float32)


@REDUCERS.register_module('sum')
class Sum(_PerCell):
    """The sum over channels, signs and all: ``squeeze_mean`` times C. Layers of unlike C differ by it."""

    cancels = True

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        found = super().__call__(features, weights)
        assert found.magnitude is not None
        return replace(found, names=('signed sum over channels',), magnitude=found.magnitude * len(features))

    def statistic(self, features: Tensor) -> Tensor:
        return features.sum(dim=0, dtype=torch.float32)


@REDUCERS.register_module('pixel_max')
class PixelMax(_PerCell):
    """The largest channel at each cell: shows every strong answer, whichever channel gives it."""

    def statistic(self, features: Tensor) -> Tensor:
        lowest, largest = features.amin(dim=0), features.amax(dim=0)  # aminmax takes many times as long
        return torch.where(torch.isfinite(lowest), largest, lowest).float()


@REDUCERS.register_module('mean_abs')
class MeanAbs(_PerCell):
    """The mean magnitude over channels: signs do not cancel."""

    def statistic(self, features: Tensor) -> Tensor:
        return features.abs().mean(dim=0, dtype=torch.float32)


@REDUCERS.register_module('l2')
class L2(_PerCell):
    """The Euclidean norm over channels: how strongly a cell answers at all."""

    def statistic(self, features: Tensor) -> Tensor:
        features = features.float()
        squares = features.square().sum(dim=0)  # vector_norm takes many times as long
        # Looking at the sums would make the host wait for a device.
        if not features.is_cuda and bool(((squares > _LEAST) & (squares < torch.inf)).all()):
            return squares.sqrt_()
        reach = torch.maximum(features.amax(dim=0), -features.amin(dim=0)).clamp_min(_TINY)
        return (features / reach).square_().sum(dim=0).sqrt_() * reach


@REDUCERS.register_module('std')
class Std(_PerCell):
    """The standard deviation over channels (divided by C): how far the channels disagree at a cell."""

    cancels = True

    def statistic(self, features: Tensor) -> Tensor:
        # torch.std takes many times as long. The second mean takes away what the first is off by its rounding; in units
        # of the largest deviation no square overflows; and channels that are alike deviate by rounding only.
        features = features.float()
        rest = features - features.mean(dim=0)
        rest -= rest.mean(dim=0)
        reach = torch.maximum(rest.amax(dim=0), -rest.amin(dim=0)).clamp_min(_TINY)
        rest /= reach
        spread = rest.square_().mean(dim=0).sqrt_() * reach
        return spread * (features.amin(dim=0) != features.amax(dim=0))
