"""HiResCAM."""

from __future__ import annotations

from torch import Tensor

from featmap.explainers.base import MapExplainer
from featmap.registry import EXPLAINERS


@EXPLAINERS.register_module('hirescam')
class HiResCAM(MapExplainer):
    """Each activation times its own gradient, whatever its sign: Σ_c ∂y/∂A_c ⊙ A_c.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations", arXiv 2011.08891. At the last
    layer before a linear one the map adds up to the target less its bias, so it shows just what the target was
    computed from.
    """

    name = 'hirescam'
    group = 'element-wise gradient'

    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * features).sum(dim=0)
