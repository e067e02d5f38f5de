"""The reducer ``similarity``: how alike the features of every cell are to those of one cell."""

from __future__ import annotations

import torch
from torch import Tensor

from featmap.errors import DrawError, OptionError
from featmap.geometry import Spot
from featmap.reducers.base import Reducer, one_thread
from featmap.reducers.statistics import L2
from featmap.registry import REDUCERS
from featmap.structures import Reduction
from featmap.wording import option as written

_TINY = torch.finfo(torch.float32).tiny


@REDUCERS.register_module('similarity')
class Similarity(Reducer):
    """The cosine similarity of each cell's features to those of the queried cell.

    1 is alike, 0 unrelated, -1 opposed: ``f · q / (‖f‖ ‖q‖)`` in float32. A cell of zeros has no direction and
    counts as unrelated; one with a non-finite channel is non-finite.

    Args:
        stated: Whether the colours stand for 0 to 1 whatever the map's own range, so that one colour means one
            similarity in all layers and images and what is opposed looks unrelated; False leaves it to the norm.
    """

    takes_spot = True

    def __init__(self, stated: bool = True) -> None:
        self.stated = stated

    def __call__(self, features: Tensor, weights: Tensor, spot: Spot | None = None) -> Reduction:
        if spot is None:
            raise OptionError(f'similarity is to a pixel of the image: {written("query")} X,Y says which')
        with one_thread(features):
            plane = self._to(features.float(), spot)
        name = f'similarity to {spot.pixel} ({spot.name})'
        return Reduction(plane[None], (None,), names=(name,), ranges=((0.0, 1.0),) if self.stated else ())

    @staticmethod
    def _to(features: Tensor, spot: Spot) -> Tensor:
        lengths = L2().statistic(features)
        length = lengths[spot.row, spot.column]
        # Looking at it would make the host wait for a device; there the plane is NaN and refused later.
        if not features.is_cuda and not (torch.isfinite(length) and length > 0):
            found = 'only zeros' if length == 0 else 'non-finite values'
            raise DrawError(f'the queried pixel {spot.pixel} lies in {spot.name}, which holds {found}: ask for another')
        ask = features[:, spot.row, spot.column] / length
        aligned = (ask @ features.flatten(1)).unflatten(0, lengths.shape)
        return (aligned / lengths.clamp_min(_TINY)).clamp_(-1, 1)
