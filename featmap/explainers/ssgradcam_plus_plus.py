"""SSGrad-CAM++."""

from __future__ import annotations

from torch import Tensor

from featmap.explainers.base import MapExplainer
from featmap.explainers.gradcam_plus_plus import alpha_weights
from featmap.explainers.ssgradcam import space_maps
from featmap.explainers.weighting import counted, sums
from featmap.registry import EXPLAINERS


@EXPLAINERS.register_module('ssgradcam++')
class SSGradCAMPlusPlus(MapExplainer):
    """Grad-CAM++, each channel only where its gradient is: Σ_c w_c S_c ⊙ A_c, S_c = |g_c| / max_ij |g_c|.

    The w_c are Grad-CAM++'s, but the activations in their α are added up over the cells that the prediction is
    computed from: here those of which any channel has a gradient. Yamauchi, "Spatial Sensitive Grad-CAM++: Improved
    Visual Explanation for Object Detectors via Weighted Combination of Gradient Map", CVPR Workshops 2024.
    """

    name = 'ssgradcam++'
    group = 'element-wise gradient'

    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        gradient = counted(gradient)
        seen = (gradient != 0).any(dim=0)
        weights = alpha_weights(gradient, sums(counted(features) * seen))
        return (weights[:, None, None] * space_maps(gradient) * features).sum(dim=0)
