"""SSGrad-CAM."""

from __future__ import annotations

import torch
from torch import Tensor

from featmap.explainers.base import MapExplainer
from featmap.explainers.weighting import counted
from featmap.registry import EXPLAINERS


def space_maps(gradient: Tensor) -> Tensor:
    """S_c = |g_c| / max_ij |g_c|: where in the map a channel matters, (C, h, w) in 0…1; 0 where it matters nowhere."""
    size = gradient.abs()
    largest = size.amax(dim=(1, 2), keepdim=True)
    return size / torch.where(largest > 0, largest, torch.ones_like(largest))


@EXPLAINERS.register_module('ssgradcam')
class SSGradCAM(MapExplainer):
    """Grad-CAM, each channel only where its gradient is: Σ_c w_c S_c ⊙ A_c, S_c = |g_c| / max_ij |g_c|, w_c = mean g_c.

    Yamauchi and Ishikawa, "Spatial Sensitive Grad-CAM: Visual Explanations for Object Detection by Incorporating
    Spatial Sensitivity", ICIP 2022.
    """

    name = 'ssgradcam'
    group = 'element-wise gradient'

    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        gradient = counted(gradient)
        weights = gradient.mean(dim=(1, 2), keepdim=True)
        return (weights * space_maps(gradient) * features).sum(dim=0)
