"""Reducers that keep channels as they are: the most active one, the k most active, or all of a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from featmap.errors import DrawError
from featmap.reducers.base import Reducer, channel_sums
from featmap.registry import REDUCERS
from featmap.structures import Reduction


@REDUCERS.register_module('topk')
class TopK(Reducer):
    """The ``k`` channels with the largest signed sum over the image, largest first; all where there are fewer.

    The rule is MMEngine's. A channel that answers with strong negative values ranks last by it.
    """

    def __init__(self, k: int = 20) -> None:
        if k < 1:
            raise ValueError(f'k must be at least 1, got {k}')
        self.k = k

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        sums = channel_sums(features, weights)
        chosen = torch.topk(sums, min(self.k, len(sums))).indices
        return Reduction(features[chosen].float(), tuple(chosen.tolist()))


@REDUCERS.register_module('select_max')
class SelectMax(TopK):
    """The one channel with the largest signed sum over the image, as MMEngine's ``select_max``."""

    def __init__(self) -> None:
        super().__init__(k=1)


@REDUCERS.register_module('as_image')
class AsImage(Reducer):
    """A 1- or 3-channel map as a grey or RGB picture, as MMEngine draws it for ``topk=-1``."""

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        channels = features.shape[0]
        if channels not in (1, 3):
            raise DrawError(
                f'a map of {channels} channels cannot be drawn as it is, which takes 1 or 3: choose --topk 1 or more, '
                'or --channel-reduction squeeze_mean or select_max'
            )
        return Reduction(features.float(), tuple(range(channels)), as_image=True)
