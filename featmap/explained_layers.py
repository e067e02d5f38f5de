"""By what a target is explained where nobody says: the method and the layer that measured best for its kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from featmap.default_layers import AFTER, octaves_of
from featmap.errors import LayerError
from featmap.layer_tree import LayerInfo, measure
from featmap.models.protocol import AnyModel
from featmap.wording import option as written


class Best(NamedTuple):
    """A method, of which strides the layers are that it explains best on, and how these become one map."""

    method: str
    strides: tuple[int, ...]
    fuse: str = 'mean'


BEST = {
    'boxes': Best('layercam', (4, 8, 16), 'product'),
    'classes': Best('layercam', (4, 8, 16), 'product'),
    'segments': Best('layercam', (4, 8, 16), 'product'),
    '': Best('layercam', (8,)),
}
"""For each kind of answer what measured best, see docs/explanations.md."""


def choose_layers(network: AnyModel, strides: Sequence[int], extra_tokens: int | None = None) -> tuple[str, ...]:
    """For each stride the layer nearest to the top that ends its stage, or that of the next finer stride.

    The model is run once, on a blank image. A layer that stands for several strides is named once.

    Raises:
        LayerError: where no layer puts out a map.
    """
    layers, missing = measure(network, None, extra_tokens=extra_tokens)
    named = [layer for layer in layers if layer.name.startswith('backbone.')] or layers
    drawn = [layer for layer in named if layer.calls and len(layer.strides) == 1 and layer.shapes[0][-1] > 1]
    drawn = [layer for layer in drawn if not AFTER.search(layer.name)] or drawn
    if not drawn:
        kind = type(network.model).__name__
        raise missing or LayerError(
            f'none of the {len(layers)} layers of {kind} puts out a map: {written("target_layers")} names one'
        )
    octaves = sorted({octave for layer in drawn for octave in octaves_of(layer)})
    wanted = [round(math.log2(stride)) for stride in strides]
    taken = [max((each for each in octaves if each <= octave), default=octaves[0]) for octave in wanted]
    ends: dict[int, str] = {}
    for octave in sorted(set(taken)):
        there = [layer for layer in drawn if octave in octaves_of(layer)]
        # What holds the end of a finer stage holds all stages, and is none.
        single = [layer for layer in there if not any(end.startswith(f'{layer.name}.') for end in ends.values())]
        ends[octave] = _end_of_stage(single or there).name
    return tuple(ends[octave] for octave in dict.fromkeys(taken))


def _end_of_stage(layers: Sequence[LayerInfo]) -> LayerInfo:
    """Of those nearest to the top the one that returned last, and learns something, if any of them does."""
    learning = [layer for layer in layers if layer.parameters] or layers
    top = min(layer.name.count('.') for layer in learning)
    return max((layer for layer in learning if layer.name.count('.') == top), key=lambda layer: layer.order)
