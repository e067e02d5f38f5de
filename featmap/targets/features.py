"""``Features``: the maps that heads look at, and which of them a prediction was made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from featmap.gradients import Kept

FEATURES = ('neck', 'backbone.fpn', 'backbone')
"""Parts whose outputs heads look at; the first that a model has."""
REGIONS = (
    'roi_head.bbox_roi_extractor', 'roi_head.bbox_roi_extractor.0', 'roi_heads.box_roi_pool',
)  # fmt: skip
"""Parts whose outputs are what was cut out for each region, (R, C, h, w)."""

Feature = tuple[str, str, Tensor]
"""Name, path in its layer's output, and the map, (N, C, h, w)."""


class Features:
    """The maps of one forward.

    Args:
        kept: What a recorder kept of it.
    """

    def __init__(self, kept: Sequence[Kept]) -> None:
        whole = {each.target.name for each in kept if not each.target.path}
        source = next((name for name in FEATURES if name in whole), None)
        self._maps: list[Feature] = [
            (each.target.name + path, path, tensor)
            for each in kept
            if each.target.name == source and not each.target.path
            for path, tensor in each.tensors.items()
            if tensor.ndim == 4
        ]
        self._cut = next((each.tensors for each in kept if each.target.name in REGIONS and each.tensors), {})
        self._hits: dict[int, list[Tensor | None]] = {}

    def of_level(self, level: int, shape: tuple[int, int]) -> str:
        """The map of a level: the one of that number if it has the level's size, or the only one of that size."""
        fitting = [(name, path) for name, path, tensor in self._maps if tuple(tensor.shape[-2:]) == shape]
        same = [name for name, path in fitting if path in (f'[{level}]', '')]
        return same[0] if same else fitting[0][0] if len(fitting) == 1 else ''

    def of_region(self, proposal: int) -> list[Feature]:
        """The maps that a region was cut out of.

        What is cut out keeps its channels apart, so one backward tells of as many regions as there are channels: each
        asks in a channel of its own. The maps in whose gradient that channel is not zero are those it came from.
        """
        cut = next(iter(self._cut.values()), None)
        # A head of several stages refines its regions, which are cut out of the same map as a rule: those of the first.
        if cut is None or cut.ndim != 4 or not cut.requires_grad or proposal >= len(cut) or not self._maps:
            return []
        first, channel = divmod(proposal, cut.shape[1])
        if first not in self._hits:
            numbers = torch.arange(min(cut.shape[1], len(cut) - first * cut.shape[1]), device=cut.device)
            asked = torch.zeros_like(cut)
            asked[first * cut.shape[1] + numbers, numbers] = 1
            maps = [tensor for _, _, tensor in self._maps]
            gradients = torch.autograd.grad(cut, maps, asked, retain_graph=True, allow_unused=True)
            self._hits[first] = [None if each is None else (each != 0).sum(dim=(0, 2, 3)) > 0 for each in gradients]
        hits = self._hits[first]
        return [
            feature
            for feature, hit in zip(self._maps, hits)
            if hit is not None and len(hit) > channel and bool(hit[channel])
        ]
