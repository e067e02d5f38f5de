"""ODAM."""

from __future__ import annotations

from featmap.explainers.hirescam import HiResCAM
from featmap.registry import EXPLAINERS


@EXPLAINERS.register_module('odam')
class ODAM(HiResCAM):
    """Gradient-weighted object detector activation maps: relu(Σ_c ∂y/∂A_c ⊙ A_c) with y of one predicted object.

    Zhao and Chan, "ODAM: Gradient-based instance-specific visual explanations for object detection", arXiv 2304.06354.
    The formula is HiResCAM's; what ODAM adds is the target: a class score or one side of a box. The gradient is not
    smoothed.
    """

    name = 'odam'
