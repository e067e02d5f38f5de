"""The layer tree of a model, measured by one real forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from featmap.errors import LayerError, MissingOpError
from featmap.escaping import escape
from featmap.geometry import Cells, Stride
from featmap.layers import Target, resolve
from featmap.layouts import flatten, maps_of
from featmap.models.protocol import AnyModel
from featmap.placement import Placement
from featmap.recorder import ActivationRecorder
from featmap.wording import option as written

_MARK = '●'
_HEADINGS = ('', 'layer', 'type', 'output C×H×W', 'stride', 'parameters', 'calls')
_CUT = ((3, 12), (2, 10), (4, 6))  # columns that may be cut to so many characters, in this order


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
    """

    name: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    strides: tuple[Stride, ...]
    parameters: int
    calls: int
    known: bool = True


def measure(
    detector: AnyModel, image: np.ndarray, names: Sequence[str] = ()
) -> tuple[list[LayerInfo], MissingOpError | None]:
    """Run the model on an (H, W, 3) RGB uint8 image and describe each layer, parents before children.

    Args:
        detector: The model.
        image: The image.
        names: Layers to describe with their parts; all by default.

    Returns:
        The layers, and the error of an op that the forward lacked; what ran before it is measured all the same.
    """
    everything = [Target(name, module) for name, module in detector.model.named_modules() if name]
    if names:
        roots = [target.name for target in resolve(detector.model, names)]
        everything = [t for t in everything if any(t.name == r or t.name.startswith(f'{r}.') for r in roots)]
    batch = detector.prepare([image])
    placement = Placement(detector.model)

    def describe(target: Target, output: Any) -> tuple[tuple[tuple[int, ...], ...], tuple[Cells, ...]]:
        try:
            maps = maps_of(output, batch.input_shape, 1, layer=target.name, grid_of=placement.grids_of(target))
        except LayerError:
            tensors = (leaf.value for leaf in flatten(output) if isinstance(leaf.value, Tensor))
            return tuple(tuple(tensor.shape) for tensor in tensors), ()
        shapes = tuple(tuple(item.features.shape[1:]) for item in maps)
        return shapes, tuple(placement.cells(target, item) for item in maps)

    missing = None
    recorder = ActivationRecorder(detector.model, everything, describe, strict=False)
    try:
        with placement.watched(batch.inputs, recorder.calls):
            detector.predict(batch, recorder)
    except MissingOpError as error:
        missing = error
    first = {record.target: record.value for record in reversed(recorder.records)}
    layers = []
    for target in everything:
        shapes, cells = first.get(target, ((), ()))
        strides = tuple(each.stride for each in cells)
        parameters = sum(parameter.numel() for parameter in target.module.parameters())
        calls, known = recorder.calls(target), all(each.known for each in cells)
        layers.append(LayerInfo(target.name, type(target.module).__name__, shapes, strides, parameters, calls, known))
    return layers, missing


def print_layers(layers: Sequence[LayerInfo], console: Console | None = None) -> None:
    """Print the layers as a table, one line each, and which to draw.

    A terminal's width is kept to by cutting types and shapes; names are there to be copied and stand whole. What puts
    out maps has a mark.
    """
    console = console or Console()
    rows = [_row(layer) for layer in layers]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows)]
    if console.is_terminal:
        for column, least in _CUT:
            excess = sum(widths) + 2 * len(widths) - console.width
            widths[column] = min(widths[column], max(widths[column] - excess, least))
    table = Table(box=None, pad_edge=False, header_style='bold', padding=(0, 2, 0, 0))
    for title, width in zip(_HEADINGS, widths):
        side: Literal['left', 'right'] = 'right' if title in ('parameters', 'calls') else 'left'
        table.add_column(title, justify=side, no_wrap=True, overflow='ellipsis', width=width)
    for layer, row in zip(layers, rows):
        style = 'bold' if layer.name.count('.') == 0 else ('' if layer.strides else 'dim')
        table.add_row(*(Text(text, style if column == 1 else '') for column, text in enumerate(row)))
    wide = Console(file=console.file, width=sum(widths) + 2 * len(widths), force_terminal=console.is_terminal)
    wide.print(table, crop=False)
    tried = suggestions(layers)
    if tried:
        names = ' '.join(tried)
        wide.print(
            f'{_MARK} puts out maps; try {written("target_layers")} {escape(names)}', markup=False, soft_wrap=True
        )


def _row(layer: LayerInfo) -> tuple[str, ...]:
    return (
        _MARK if layer.strides else '',
        escape(layer.name),
        escape(layer.kind),
        ', '.join('×'.join(map(str, shape)) for shape in layer.shapes) or '–',
        ', '.join(f'{"" if layer.known else "≈"}{stride}' for stride in _distinct(layer.strides)) or '–',
        f'{layer.parameters:,}',
        str(layer.calls) if layer.calls else 'never',
    )


def suggestions(layers: Sequence[LayerInfo], count: int = 6) -> list[str]:
    """Layers worth drawing: those nearest to the top that ran and put out maps."""
    drawable = [layer.name for layer in layers if layer.calls and layer.strides]
    highest = [name for name in drawable if not any(name.startswith(f'{other}.') for other in drawable)]
    # A head's outputs are drawn by name, and are read last.
    return sorted(highest, key=lambda name: ('head' in name, name.count('.')))[:count]


def _distinct(strides: Sequence[Stride]) -> Iterator[str]:
    return iter(dict.fromkeys(f'{sy:.3g}' if sy == sx else f'{sy:.3g}×{sx:.3g}' for sy, sx in strides))
