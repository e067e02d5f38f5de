"""Class-agnostic baselines: maps that are the same whatever is explained."""

from __future__ import annotations

from torch import Tensor

from featmap.explainers.base import MapExplainer
from featmap.reducers import L2, Eigen, MeanAbs, PixelMax, SqueezeMean, Std, Sum, reduce
from featmap.reducers.base import Reducer
from featmap.registry import EXPLAINERS


class Agnostic(MapExplainer):
    """A reducer's plane of a layer's map, where it is above 0. Of no target: something to hold explanations against.

    Muhammad and Yeasin, "Eigen-CAM: Class Activation Map using Principal Components", arXiv 2008.00299, is ``eigen``:
    the features projected onto their first singular vector, uncentred as in the paper (pytorch-grad-cam centres them),
    with the sign for which the sum over the map is not negative.
    """

    group = 'baseline'
    class_agnostic = True
    reducer: type[Reducer]

    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        return reduce(self.reducer(), features, features.new_ones(features.shape[1:])).values[0]


for _name, _reducer in {
    'eigen': Eigen,
    'l2': L2,
    'mean_abs': MeanAbs,
    'pixel_max': PixelMax,
    'squeeze_mean': SqueezeMean,
    'std': Std,
    'sum': Sum,
}.items():
    EXPLAINERS.register_module(
        _name, module=type(f'Agnostic{_reducer.__name__}', (Agnostic,), {'name': _name, 'reducer': _reducer})
    )
