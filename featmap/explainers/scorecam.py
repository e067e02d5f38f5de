"""``scorecam``: a layer's channels as masks, weighted by what of the target they let through."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from featmap.asked import Asked
from featmap.explainers.base import AskingExplainer, Heat
from featmap.explainers.layer_maps import LayerMaps
from featmap.layers import Target
from featmap.perturbing import ChannelMasks, Masked
from featmap.registry import EXPLAINERS
from featmap.targets import Chosen


@EXPLAINERS.register_module(name='scorecam')
class ScoreCAM(AskingExplainer):
    """``relu(Σ α_k A_k)``, ``α_k = y(image seen through A_k) - y(baseline)``, A_k stretched to 0…1 for a mask.

    Score-CAM (1910.01279), with its "channel-wise increase of confidence" itself for a weight. The softmax over
    channels that the paper adds is made for logits: scores of 0 to 1 would all get about the same weight from it.

    One forward a channel, which serves all targets.

    Args:
        baseline: What is seen where a channel hides the image, see :meth:`featmap.asked.Asked.baseline`.
    """

    name = 'scorecam'
    group = 'perturbation'
    takes_layers = True
    needs_graph = False
    takes_parts = False

    def __init__(self, baseline: str = 'black') -> None:
        self.baseline = baseline

    def explain(self, asked: Asked, chosen: Sequence[Chosen], layers: Sequence[Target] = ()) -> list[list[Heat]]:
        """For each target a heat on each map of the layers."""
        value = Masked(asked, chosen, self.baseline)
        nothing = value(torch.zeros(1, *asked.batch.input_shape, device=asked.inputs.device))
        heats: list[list[Heat]] = [[] for _ in chosen]
        maps = LayerMaps(asked, layers, self.name)
        for item in maps.maps:
            weights = value(ChannelMasks(item.features, item.cells, asked.batch.input_shape)) - nothing
            for own, found in zip(weights, heats):
                found.append(maps.heat(item, own))
        return heats
