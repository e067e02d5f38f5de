"""``ablationcam``: what of the target is lost without each of a layer's channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from featmap.asked import Asked
from featmap.explainers.base import AskingExplainer, Heat
from featmap.explainers.layer_maps import Ablation, LayerMaps
from featmap.layers import Target
from featmap.registry import EXPLAINERS
from featmap.targets import Chosen, measure_all


@EXPLAINERS.register_module(name='ablationcam')
class AblationCAM(AskingExplainer):
    """``relu(Σ α_k A_k)``, ``α_k = (y - y with A_k = 0) / y``.

    Ablation-CAM (Desai and Ramaswamy, WACV 2020). One forward a channel, which serves all targets; a channel is 0 for
    whatever comes after its layer.
    """

    name = 'ablationcam'
    group = 'perturbation'
    takes_layers = True
    needs_graph = False
    takes_parts = False

    def explain(self, asked: Asked, chosen: Sequence[Chosen], layers: Sequence[Target] = ()) -> list[list[Heat]]:
        """For each target a heat on each map of the layers."""
        maps = LayerMaps(asked, layers, self.name)
        image = asked.batch.inputs[:1]
        whole = measure_all(chosen, asked.answer(image.clone()))
        which = [(number, channel) for number, item in enumerate(maps.maps) for channel in range(len(item.features))]
        found = []
        for start in range(0, len(which), asked.batch_size):
            part = which[start : start + asked.batch_size]
            inputs = image.repeat(len(part), 1, 1, 1)  # a copy: the forward may write into it
            found.append(measure_all(chosen, asked.answer(inputs, Ablation(maps, part))))
        lost = (whole - torch.cat(found, dim=1)) / whole.abs().clamp_min(torch.finfo(whole.dtype).tiny)
        parts = lost.split([len(item.features) for item in maps.maps], dim=1)
        return [[maps.heat(item, own[row]) for item, own in zip(maps.maps, parts)] for row in range(len(chosen))]
