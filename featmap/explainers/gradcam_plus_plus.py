"""Grad-CAM++."""

from __future__ import annotations

from torch import Tensor

from featmap.explainers.base import MapExplainer
from featmap.explainers.weighting import combined, counted, sums
from featmap.registry import EXPLAINERS


def alpha_weights(gradient: Tensor, activation: Tensor) -> Tensor:
    """w_c = Σ_ij α_c,ij relu(g_c,ij) with α = g² / (2 g² + S_c g³) = 1 / (2 + S_c g).

    Args:
        gradient: (C, h, w), finite.
        activation: (C,) S_c, the sums of the activations. Below 0 they count as 0: the formula is for what a ReLU put
            out, and would have a pole.
    """
    positive = gradient.clamp_min(0)
    return sums(positive / (2 + activation.clamp_min(0)[:, None, None] * positive))


@EXPLAINERS.register_module('gradcam++')
class GradCAMPlusPlus(MapExplainer):
    """Channels weighted with the sum of their positive gradients, each by its own share α.

    Σ_c w_c A_c, w_c = Σ_ij α_c,ij relu(g_c,ij), α_c,ij = g² / (2 g² + Σ_ab A_c,ab g³), which is 1 / (2 + Σ A_c g).
    Chattopadhyay et al., "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks", arXiv 1710.11063,
    equation 19. No constant is added to the denominator: pytorch-grad-cam's 1e-6 exceeds the square of a gradient of
    0.001, below which its weights grow by the third power of the gradient, and with the unit of the target.
    """

    name = 'gradcam++'
    group = 'channel-weighted gradient'

    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        return combined(alpha_weights(counted(gradient), sums(counted(features))), features)
