"""XGrad-CAM."""

from __future__ import annotations

import torch
from torch import Tensor

from featmap.explainers.base import MapExplainer
from featmap.explainers.weighting import combined, counted, sums
from featmap.registry import EXPLAINERS

_ROUNDING = 1e-6  # of a sum of float32 values, as a share of what was added up


@EXPLAINERS.register_module('xgradcam')
class XGradCAM(MapExplainer):
    """Channels weighted with the mean of their gradient, each cell by its activation.

    Σ_c w_c A_c, w_c = Σ_ij A_c,ij ∂y/∂A_c,ij / Σ_ij A_c,ij. Fu et al., "Axiom-based Grad-CAM: Towards Accurate
    Visualization and Explanation of CNNs", arXiv 2008.02312. A channel whose activations cancel to nothing, within
    rounding, has no such mean and takes no part.
    """

    name = 'xgradcam'
    group = 'channel-weighted gradient'

    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        finite = counted(features)
        total = sums(finite)
        known = total.abs() > _ROUNDING * sums(finite.abs())
        weights = sums(finite * counted(gradient)) / torch.where(known, total, torch.ones_like(total))
        return combined(weights * known, features)
