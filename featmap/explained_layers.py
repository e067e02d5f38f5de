"""By what a target is explained where nobody says: the method and the layer that measured best for its kind."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from featmap.errors import LayerError
from featmap.layer_tree import LayerInfo, measure
from featmap.models.protocol import AnyModel
from featmap.wording import option as written


class Best(NamedTuple):
    """A method, and of which stride the layer is that it explains best on."""

    method: str
    stride: int


BEST = {
    'boxes': Best('layercam', 8),
    'classes': Best('layercam', 8),
    'segments': Best('layercam', 8),
    '': Best('layercam', 8),
}
"""For each kind of answer what measured best, see docs/explanations.md."""

# Where features are made, and not yet mixed with coarser ones or read.
_AFTER = re.compile(r'(?:^|[._])(?:\w*decoder|\w*head|\w*neck|fpn|aux\w*|classifier)\d*(?:$|\.)', re.IGNORECASE)


def choose_layer(network: AnyModel, stride: int, extra_tokens: int | None = None) -> str:
    """The layer nearest to the top that ends the stage of a stride; of no such stride the nearest finer one, or any.

    The model is run once, on a blank image.

    Raises:
        LayerError: where no layer puts out a map.
    """
    layers, missing = measure(network, None, extra_tokens=extra_tokens)
    named = [layer for layer in layers if layer.name.startswith('backbone.')] or layers
    drawn = [layer for layer in named if layer.calls and len(layer.strides) == 1 and layer.shapes[0][-1] > 1]
    drawn = [layer for layer in drawn if not _AFTER.search(layer.name)] or drawn
    if not drawn:
        kind = type(network.model).__name__
        raise missing or LayerError(
            f'none of the {len(layers)} layers of {kind} puts out a map: {written("target_layers")} names one'
        )
    octaves = sorted({_octave(layer) for layer in drawn})
    wanted = round(math.log2(stride))
    octave = max((each for each in octaves if each <= wanted), default=octaves[0])
    return _end_of_stage([layer for layer in drawn if _octave(layer) == octave]).name


def _end_of_stage(layers: Sequence[LayerInfo]) -> LayerInfo:
    """Of those nearest to the top the one that returned last, and learns something, if any of them does."""
    learning = [layer for layer in layers if layer.parameters] or layers
    top = min(layer.name.count('.') for layer in learning)
    return max((layer for layer in learning if layer.name.count('.') == top), key=lambda layer: layer.order)


def _octave(layer: LayerInfo) -> int:
    rows, columns = layer.strides[0]
    return round(math.log2(rows * columns) / 2)
