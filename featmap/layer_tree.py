"""Every layer of a model as one forward shows it: what it puts out, on which stride, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
from torch import Tensor

from featmap.errors import LayerError, MissingOpError
from featmap.geometry import Cells, Stride
from featmap.layers import Target, resolve
from featmap.layouts import flatten, maps_of
from featmap.models.protocol import AnyModel
from featmap.placement import Placement
from featmap.recorder import ActivationRecorder
from featmap.tokens import Tokens

_Described = tuple[tuple[tuple[int, ...], ...], tuple[Cells, ...], tuple[Optional[Tokens], ...]]
"""Of each output its shape, its cells and its tokens."""


@dataclass(frozen=True)
class LayerInfo:
    """One layer: the name to pass, its type, what it put out, and how often it was called.

    Attributes:
        name: What ``--target-layers`` takes.
        kind: The module's class.
        shapes: The shape of every map in the output of its first call, or of every tensor where none is a map.
        strides: The stride of every map; empty where the output is no map.
        parameters: How many numbers the layer and its parts learn.
        calls: How often it was called in the forward.
        known: Whether the strides come of the operations that ran, and not of the sizes.
        tokens: For every map, of which tokens it was made; empty where none was made of tokens.
        order: Its place among the layers in the order in which they first returned.
    """

    name: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    strides: tuple[Stride, ...]
    parameters: int
    calls: int
    known: bool = True
    tokens: tuple[Tokens | None, ...] = ()
    order: int = field(default=-1, compare=False)


def measure(
    network: AnyModel, image: np.ndarray | None, names: Sequence[str] = (), extra_tokens: int | None = None
) -> tuple[list[LayerInfo], MissingOpError | None]:
    """Run the model on an (H, W, 3) RGB uint8 image and describe each layer, parents before children.

    Args:
        network: The model.
        image: The image; None for a blank one.
        names: Layers to describe with their parts; all by default.
        extra_tokens: How many tokens stand before the cells, where the model is not to be asked.

    Returns:
        The layers, and the error of an op that the forward lacked; what ran before it is measured all the same.
    """
    everything = [Target(name, module) for name, module in network.model.named_modules() if name]
    if names:
        roots = [target.name for target in resolve(network.model, names)]
        everything = [t for t in everything if any(t.name == r or t.name.startswith(f'{r}.') for r in roots)]
    # Where the image lies in the input is of no interest.
    batch = network.blank() if image is None else network.prepare([image], over_input=True)
    placement = Placement(network.model)

    order: dict[str, int] = {}

    def describe(target: Target, output: Any) -> _Described:
        order.setdefault(target.name, len(order))
        try:
            layouts = placement.layouts_of(target)
            maps = maps_of(output, batch.input_shape, 1, (), target.name, layouts, extra_tokens)
        except LayerError:
            tensors = (leaf.value for leaf in flatten(output) if isinstance(leaf.value, Tensor))
            return tuple(tuple(tensor.shape) for tensor in tensors), (), ()
        shapes = tuple(tuple(item.features.shape[1:]) for item in maps)
        tokens = tuple(item.tokens for item in maps)
        return shapes, tuple(placement.cells(target, item) for item in maps), tokens if any(tokens) else ()

    missing = None
    recorder = ActivationRecorder(network.model, everything, describe, strict=False)
    try:
        with placement.watched(batch.inputs, recorder.calls):
            network.predict(batch, recorder)
    except MissingOpError as error:
        missing = error
    first = {record.target: record.value for record in reversed(recorder.records)}
    layers = []
    for target in everything:
        shapes, cells, tokens = first.get(target, ((), (), ()))
        strides = tuple(each.stride for each in cells)
        parameters = sum(parameter.numel() for parameter in target.module.parameters())
        calls, known = recorder.calls(target), all(each.known for each in cells)
        kind, place = type(target.module).__name__, order.get(target.name, -1)
        layers.append(LayerInfo(target.name, kind, shapes, strides, parameters, calls, known, tokens, place))
    return layers, missing
