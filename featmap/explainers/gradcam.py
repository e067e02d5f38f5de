"""Grad-CAM."""

from __future__ import annotations

from torch import Tensor

from featmap.explainers.base import MapExplainer
from featmap.explainers.weighting import combined, counted
from featmap.registry import EXPLAINERS


@EXPLAINERS.register_module('gradcam')
class GradCAM(MapExplainer):
    """Channels weighted with the mean of their gradient over all cells: Σ_c w_c A_c, w_c = mean_ij ∂y/∂A_c,ij.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", arXiv
    1610.02391. The mean forgets where the gradient was: right where a mean over all cells follows, as in classifiers;
    for a box, whose gradient is zero nearly everywhere, the map is of everything alike in the image.
    """

    name = 'gradcam'
    group = 'channel-weighted gradient'

    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        return combined(counted(gradient).mean(dim=(1, 2)), features)
