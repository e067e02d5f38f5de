"""EigenGradCAM."""

from __future__ import annotations

import torch
from torch import Tensor

from featmap.explainers.base import MapExplainer
from featmap.explainers.weighting import counted
from featmap.reducers.components import leading_components
from featmap.registry import EXPLAINERS


@EXPLAINERS.register_module('eigengradcam')
class EigenGradCAM(MapExplainer):
    """The first principal component over the cells of gradient ⊙ activation, channels centred.

    As in pytorch-grad-cam, after Muhammad and Yeasin, "Eigen-CAM", arXiv 2008.00299. It is the leading eigenvector of
    the product of the (C, h·w) matrix with itself along its shorter side, which takes a fraction of its whole singular
    value decomposition. A component has no sign of its own: the one is taken that goes with Σ_c ∂y/∂A_c ⊙ A_c, so that
    what speaks for the target is positive. pytorch-grad-cam leaves the sign to chance.
    """

    name = 'eigengradcam'
    group = 'channel-weighted gradient'

    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        products = features * gradient
        cells = counted(products).flatten(1)
        centred = cells - cells.mean(dim=1, keepdim=True)
        directions, _ = leading_components(centred, 1)
        plane = directions[:, 0] @ centred
        # Of a plane whose mean is 0 the product with the map is the covariance with it.
        plane = plane * (-1.0 if float(plane @ cells.sum(dim=0)) < 0 else 1.0)
        unknown = ~torch.isfinite(products.sum(dim=0)).flatten()
        return plane.masked_fill(unknown, torch.nan).unflatten(0, features.shape[1:])
