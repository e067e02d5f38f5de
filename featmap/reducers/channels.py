"""Reducers that keep channels as they are: the most active ones, chosen ones, or all of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from featmap.errors import DrawError, OptionError
from featmap.options.kinds import parse_channels
from featmap.reducers.base import Reducer, channel_sums, one_thread
from featmap.registry import REDUCERS
from featmap.structures import Reduction


@REDUCERS.register_module('topk')
class TopK(Reducer):
    """The ``k`` channels with the largest signed sum over the image, largest first; all where there are fewer.

    The rule is MMEngine's. A channel that answers with strong negative values ranks last by it; with ``abs`` channels
    are ranked by the sum of magnitudes.
    """

    def __init__(self, k: int = 4, abs: bool = False) -> None:
        if k < 1:
            raise ValueError(f'k must be at least 1, got {k}')
        self.k, self.abs = k, abs

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        with one_thread(features):
            sums = channel_sums(features.abs() if self.abs else features, weights)
            chosen = torch.topk(sums, min(self.k, len(sums))).indices
        # On a device the numbers stay there until the forward is over: reading them would wait for it.
        numbers = chosen if chosen.is_cuda else tuple(chosen.tolist())
        return Reduction(features[chosen].float(), numbers)


@REDUCERS.register_module('select_max')
class SelectMax(TopK):
    """The one channel with the largest signed sum over the image, as MMEngine's ``select_max``."""

    def __init__(self, abs: bool = False) -> None:
        super().__init__(k=1, abs=abs)


@REDUCERS.register_module('channels')
class Channels(Reducer):
    """The channels that were named, in the order of their naming: numbers, ranges such as ``'40-47'``, or ``'all'``."""

    def __init__(self, channels: Sequence[int] | str = 'all') -> None:
        self.channels = parse_channels(channels)

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        count = features.shape[0]
        chosen = tuple(range(count)) if self.channels == 'all' else tuple(int(c) for c in self.channels)
        beyond = [channel for channel in chosen if channel >= count]
        if beyond:
            raise OptionError(f'a map of {count} channels has no channel {beyond[0]}: expected 0 to {count - 1}')
        return Reduction(features[list(chosen)].float(), chosen)


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
        return Reduction(features.float(), tuple(range(channels)), kind='image')
