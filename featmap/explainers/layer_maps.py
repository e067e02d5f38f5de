"""The maps that layers put out for the image that is asked about, with all of their channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from featmap.asked import Asked
from featmap.errors import LayerError, OptionError
from featmap.explainers.base import Heat
from featmap.geometry import Cells
from featmap.gradients import replaced
from featmap.layers import Target
from featmap.layouts import Map, flatten, maps_of
from featmap.placement import Placement
from featmap.recorder import ActivationRecorder
from featmap.tokens import Tokens


@dataclass(frozen=True)
class LayerMap:
    """One map of one call of a layer.

    Attributes:
        target: The layer.
        call: Number of the call in a forward, from 0.
        index: Number of the map among those of that call.
        path: Where in the layer's output it stands, as text.
        features: (C, h, w) float32, a copy.
        cells: How its cells lie in the network input.
        tokens: Of which tokens it was made; None of none.
    """

    target: Target
    call: int
    index: int
    path: str
    features: Tensor = field(repr=False)
    cells: Cells
    tokens: Tokens | None = None


class LayerMaps:
    """What layers put out for the image, and the same maps in other forwards.

    Args:
        asked: The model and its image.
        layers: The layers.
        method: The method that asks, for messages.
    """

    def __init__(self, asked: Asked, layers: Sequence[Target], method: str) -> None:
        if not layers:
            raise OptionError(f'{method} works on the channels of layers: name at least one')
        self._shape = asked.batch.input_shape
        self._extra_tokens = asked.extra_tokens
        self._inputs = asked.batch.inputs[:1]
        self._placement = Placement(asked.network.model)
        self._found: list[LayerMap] = []
        self._recorder = ActivationRecorder(asked.network.model, layers, self._record)
        batch = asked.batch.repeated(self._inputs.clone())  # the forward may write into it
        with self._placement.watched(batch.inputs, self._recorder.calls):
            asked.network.predict(batch, self._recorder)
        self.maps = [item for record in self._recorder.records for item in record.value]
        """The maps, in the order of the layers."""

    def heat(self, item: LayerMap, weights: Tensor) -> Heat:
        """``relu(Σ w_k A_k)`` of one of the maps, for weights (C,)."""
        values = torch.tensordot(weights.to(item.features), item.features, 1).clamp(min=0)
        channels, rows, columns = item.features.shape
        return Heat(
            values,
            item.cells,
            item.target.name,
            (channels, rows, columns),
            path=item.path,
            call=item.call,
            calls=self._recorder.calls(item.target),
            tokens=item.tokens,
        )

    def known(self, calls: Callable[[Target], int]) -> AbstractContextManager[None]:
        """Around another forward on an input of the same size: where the cells of tokens stand is known in it.

        Args:
            calls: How often a target has been called in it, the present call included.
        """
        return self._placement.watched(self._inputs, calls)

    def clear(self, number: int, output: Any, rows: Sequence[int], channels: Sequence[int], batch: int) -> None:
        """Write 0 into channels of map ``number`` within an output of its layer, for these inputs of a batch.

        Raises:
            LayerError: where the map is no view of the output.
        """
        wanted = self.maps[number]
        features = self._maps(wanted.target, output, batch)[wanted.index].features
        tensors = [leaf.value for leaf in flatten(output) if isinstance(leaf.value, Tensor)]
        if not any(_memory(features) == _memory(tensor) for tensor in tensors):
            raise LayerError(
                f'{wanted.target.name} puts its cells out in an order of its own: nothing can be cleared in it'
            )
        features[list(rows), list(channels)] = 0

    def _record(self, target: Target, output: Any) -> list[LayerMap]:
        call, found = self._recorder.calls(target) - 1, []
        for index, item in enumerate(self._maps(target, output, 1)):
            cells = self._placement.cells(target, item)
            features = item.features[0].float().clone()
            found.append(LayerMap(target, call, index, item.path, features, cells, item.tokens))
        return found

    def _maps(self, target: Target, output: Any, batch: int) -> list[Map]:
        layouts = self._placement.layouts_of(target)
        return maps_of(output, self._shape, batch, target.path, target.name, layouts, self._extra_tokens)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Ablation:
    """Around a forward: for each input of the batch one channel of one map is 0, for whatever comes after its layer.

    Args:
        maps: What the layers put out.
        which: For each input, the number of the map and of its channel.
    """

    def __init__(self, maps: LayerMaps, which: Sequence[tuple[int, int]]) -> None:
        self._maps = maps
        self._which = which
        self._calls: dict[int, int] = {}
        self._open = ExitStack()

    def __enter__(self) -> Ablation:
        self._calls = {}
        modules = {id(each.target.module): each.target.module for each in self._maps.maps}
        with ExitStack() as stack:
            stack.enter_context(self._maps.known(lambda target: self._calls[id(target.module)]))
            for module in modules.values():
                stack.callback(module.register_forward_hook(self._hook).remove)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    def _hook(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        call = self._calls.get(id(module), 0)
        self._calls[id(module)] = call + 1
        rows: dict[int, list[int]] = {}
        for row, (number, _) in enumerate(self._which):
            wanted = self._maps.maps[number]
            if wanted.target.module is module and wanted.call == call:
                rows.setdefault(number, []).append(row)
        if not rows:
            return None
        # A copy: a layer may keep what it put out, or hand its input on.
        output = replaced(output, lambda _, value: value.clone())
        for number, places in rows.items():
            self._maps.clear(number, output, places, [self._which[row][1] for row in places], len(self._which))
        return output
