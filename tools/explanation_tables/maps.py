"""Which maps are measured: methods on layers, and fusions of several layers' heats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from featmap.errors import OptionError
from featmap.explanation import Explanation
from featmap.fusing import fused
from featmap.options.explain import FUSIONS

_SIGNS = {'mean': ' + ', 'product': ' × ', 'max': ' ∨ '}
Heats = Mapping[tuple[str, str], np.ndarray]
"""Of one target: heat (H, W) by method and layer."""


@dataclass(frozen=True)
class MapSpec:
    """A map to be measured: a method, the layers whose heats it is made of, and how these become one.

    Without layers the method asks the network input alone.
    """

    method: str
    layers: tuple[str, ...] = ()
    fuse: str = 'mean'

    @classmethod
    def parse(cls, text: str) -> MapSpec:
        """``METHOD``, ``METHOD@LAYER`` or ``METHOD@LAYER,LAYER:FUSION``."""
        method, at, rest = text.partition('@')
        layers, colon, fuse = rest.partition(':')
        named = tuple(layer.strip() for layer in layers.split(',') if layer.strip())
        if not method or bool(at) != bool(named) or (bool(colon) and fuse not in _SIGNS):
            expected = f'METHOD@LAYER or METHOD@LAYER,LAYER:FUSION with one of {", ".join(FUSIONS[:-1])}'
            raise OptionError(f'{text!r} is no map: expected {expected}')
        return cls(method.strip(), named, fuse or 'mean')

    @property
    def name(self) -> str:
        """As tables have it: ``layercam @ backbone.stage2 × backbone.stage3``."""
        return self.method + (f' @ {_SIGNS[self.fuse].join(self.layers)}' if self.layers else '')

    def heat(self, heats: Heats) -> np.ndarray:
        """The map (H, W) of one target, out of what each layer gave."""
        if not self.layers:
            return next(heat for (method, _), heat in heats.items() if method == self.method)
        planes = [heats[self.method, layer] for layer in self.layers]
        return planes[0] if len(planes) == 1 else fused(planes, self.fuse)


def by_target(explanations: Sequence[Explanation], agnostic: Iterable[str]) -> list[Heats]:
    """The heats of each target, of explanations whose layers were left apart, by target in turn.

    What a class-agnostic method shows is one array for all targets, so that it is perturbed once.
    """
    found: list[Heats] = []
    for _, of_target in groupby(explanations, key=lambda one: (one.label, one.index)):
        outputs: dict[tuple[str, str], list[np.ndarray]] = {}
        for one in of_target:
            outputs.setdefault((one.method, one.maps[0].layer), []).append(one.heat)
        # Of a layer of several outputs, such as a neck, those that had to do with the target.
        heats = {key: planes[0] if len(planes) == 1 else fused(planes, 'mean') for key, planes in outputs.items()}
        found.append(heats | {key: found[0][key] for key in heats if found and key[0] in agnostic})
    return found
