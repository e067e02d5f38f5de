"""Which layers are drawn where none are named: what people look at first in a model of this kind."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from featmap.errors import LayerError
from featmap.layer_tree import LayerInfo, measure
from featmap.models.protocol import AnyModel
from featmap.wording import on_command_line
from featmap.wording import option as written

_BACKBONE, _HEAD = 'backbone', 'head'
_NUMBER = re.compile(r'\d+[a-z]?(?=$|[._])')
AFTER = re.compile(r'(?:^|[._])(?:\w*decoder|\w*head|\w*neck|fpn|aux\w*|classifier)\d*(?:$|\.)', re.IGNORECASE)
"""Parts that come after what is looked at first, and those beside it."""
_LEAST_SHARE = 0.5  # of the parameters of the largest family: a smaller one is a part of something


@dataclass(frozen=True)
class Default:
    """Layers that were chosen, and what they are: ``4 stages``, ``last of 12``; nothing for a ``backbone``."""

    names: tuple[str, ...]
    why: str = ''

    def __str__(self) -> str:
        """As on a command line, with what they are."""
        return ' '.join(self.names) + (f' ({self.why})' if self.why else '')


def choose(model: AnyModel, extra_tokens: int | None = None) -> Default:
    """The layers to draw where none are named.

    A model with a ``backbone`` is not run for this; any other is once, on a blank image.

    Args:
        model: The model.
        extra_tokens: How many tokens stand before the cells, where the model is not to be asked.

    Raises:
        LayerError: where no layer puts out a map.
    """
    found = backbone_of(model.model)
    if found is None:
        if next(model.model.children(), None) is None:
            kind = type(model.model).__name__
            raise LayerError(f'{kind} has no layers inside that could be drawn; nn.Sequential(model) has it for one')
        layers, missing = measure(model, None, extra_tokens=extra_tokens)
        found = default_layers(layers)
        if found is None:
            hint = f'; {written("preview_model")} shows what they put out' if on_command_line() else ''
            raise missing or LayerError(
                f'none of the {len(layers)} layers of the model puts out a map of the image{hint}'
            )
    return found


def backbone_of(model: nn.Module) -> Default | None:
    """The part called ``backbone``, where the model has one that can run as a whole, and hands out its stages.

    That of a classifier, which has a ``head`` or a place for one, hands out the last stage alone, or a row of numbers.
    """
    child = model._modules.get(_BACKBONE)
    if child is None or type(child).forward is nn.Module.forward or hasattr(model, _HEAD):
        return None
    return Default((_BACKBONE,))


def default_layers(layers: Sequence[LayerInfo]) -> Default | None:
    """The stages of a backbone, or the last block of a transformer, as a forward shows them; None for no map at all.

    Layers whose names differ in numbers alone are a family: ``layer1`` and ``layer2``, ``blocks.0`` and ``blocks.1``.
    The shallowest family that holds much of what the model has learned is taken, one of several strides before one of
    a single one. Of each stride it gives the layer that ran last: the end of a stage; of one stride the last block.

    Args:
        layers: What :func:`featmap.layer_tree.measure` found.
    """
    drawable = [layer for layer in layers if _is_drawn(layer)]
    drawable = [layer for layer in drawable if not AFTER.search(layer.name)] or drawable
    families: defaultdict[str, list[LayerInfo]] = defaultdict(list)
    for layer in drawable:
        families[_NUMBER.sub('#', layer.name)].append(layer)
    several = [family for family in families.values() if len(family) > 1]
    if not several:
        return _by_stride(drawable)
    largest = max(map(_parameters, several))
    best = min(
        (family for family in several if _parameters(family) >= _LEAST_SHARE * largest),
        key=lambda family: (len(_octaves(family)) == 1, _depth(family[0]), -_parameters(family)),
    )
    if _larger_after(best, drawable):
        return _by_stride(drawable)
    names = _in_order(_octaves(best).values())
    return Default(names, f'{len(names)} stages' if len(names) > 1 else f'last of {len(best)}')


def _larger_after(family: Sequence[LayerInfo], layers: Sequence[LayerInfo]) -> bool:
    """Whether a family leads to something larger and coarser, as a branch leads to where branches meet."""
    last, coarsest = max(layer.order for layer in family), max(_octaves(family))
    around = [layer for layer in layers if any(each.name.startswith(f'{layer.name}.') for each in family)]
    return any(
        layer.order > last and max(octaves_of(layer)) > coarsest and layer.parameters > _parameters(family)
        for layer in layers
        if layer not in around
    )


def _by_stride(layers: Sequence[LayerInfo]) -> Default | None:
    """Of each stride the last of the layers that are nearest to the top."""
    ordered = sorted(layers, key=lambda layer: (-_depth(layer), layer.order))
    top = {octave: layer for layer in ordered for octave in octaves_of(layer)}
    return Default(_in_order(top.values()), 'last of each stride') if top else None


def _is_drawn(layer: LayerInfo) -> bool:
    """Whether a layer ran and put out a map of more than one cell, and does more than pool."""
    cells = layer.shapes[0][-2] * layer.shapes[0][-1] if layer.strides else 0
    return layer.calls > 0 and cells > 1 and not ('Pool' in layer.kind and not layer.parameters)


def _octaves(layers: Sequence[LayerInfo]) -> dict[int, LayerInfo]:
    """The last layer that puts out a map of each stride."""
    ordered = sorted(layers, key=lambda layer: layer.order)
    return {octave: layer for layer in ordered for octave in octaves_of(layer)}


def octaves_of(layer: LayerInfo) -> set[int]:
    """The strides of a layer's maps as powers of two."""
    return {round(math.log2(rows * columns) / 2) for rows, columns in layer.strides}


def _depth(layer: LayerInfo) -> int:
    return layer.name.count('.')


def _parameters(layers: Sequence[LayerInfo]) -> int:
    return sum(layer.parameters for layer in layers)


def _in_order(layers: Iterable[LayerInfo]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer.name for layer in sorted(layers, key=lambda layer: layer.order)))
