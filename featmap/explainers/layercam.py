"""LayerCAM."""

from __future__ import annotations

from torch import Tensor

from featmap.explainers.base import MapExplainer
from featmap.registry import EXPLAINERS


@EXPLAINERS.register_module('layercam')
class LayerCAM(MapExplainer):
    """Each activation times its own gradient, where that is positive: Σ_c relu(∂y/∂A_c) ⊙ A_c.

    Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", 2021. The paper stretches
    the maps of shallow layers by tanh before it adds them up; here each is left as it is.
    """

    name = 'layercam'
    group = 'element-wise gradient'

    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        return gradient.clamp_min(0).mul_(features).sum(dim=0)
