"""``Unfolder``: what layers put out in a graph, and gradients of it, as maps of (C, h, w) with their places."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from featmap.errors import LayerError
from featmap.geometry import Cells
from featmap.gradients import GradientRecorder, Kept
from featmap.layers import Target
from featmap.layouts import Layout, maps_of
from featmap.placement import Placement
from featmap.tokens import Tokens


@dataclass(frozen=True)
class Unfolded:
    """One map of one call of one layer, and the gradient of a target with respect to it.

    Attributes:
        target: The layer.
        call: Number of the call, from 0.
        path: Where in the layer's output: ``[0]``.
        features: (C, h, w).
        gradient: (C, h, w).
        cells: How the cells lie in the network input.
        tokens: Of which tokens it was made; None of none.
    """

    target: Target
    call: int
    path: str
    features: Tensor
    gradient: Tensor
    cells: Cells
    tokens: Tokens | None = None


@dataclass
class _Seen:
    layouts: dict[str, Layout | None] = field(default_factory=dict)
    cells: dict[str, tuple[Cells, Tokens | None]] = field(default_factory=dict)


class Unfolder:
    """Sees what layers put out, inside the forward, and unfolds it and its gradients by the same layouts afterwards.

    Args:
        placement: Of the model, which watches the forward.
        input_shape: Height and width of the network input.
        extra_tokens: How many tokens stand before the cells, where the model is not to be asked.
    """

    def __init__(self, placement: Placement, input_shape: tuple[int, int], extra_tokens: int | None = None) -> None:
        self._placement = placement
        self._input_shape = input_shape
        self._extra_tokens = extra_tokens
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._calls: dict[str, int] = {}
        self.refused: dict[str, str] = {}

    def restart(self) -> None:
        """Forget a forward: it is run again."""
        self._seen, self._calls, self.refused = {}, {}, {}

    def see(self, target: Target, output: Any) -> None:
        """What a layer puts out, in its hook."""
        call = self._calls.get(target.label, 0)
        self._calls[target.label] = call + 1
        ask, seen = self._placement.layouts_of(target), _Seen()

        def layout_of(path: str, value: Tensor) -> Layout | None:
            seen.layouts[path] = ask(path, value)
            return seen.layouts[path]

        try:
            found = maps_of(output, self._input_shape, 1, target.path, target.name, layout_of, self._extra_tokens)
        except LayerError as error:
            if not target.optional:
                self.refused[target.label] = str(error)
            return
        seen.cells = {item.path: (self._placement.cells(target, item), item.tokens) for item in found}
        self._seen[target.label, call] = seen

    def maps(self, kept: Kept, gradients: dict[str, Tensor]) -> Iterator[Unfolded]:
        """The maps of one kept output that a gradient reaches.

        Args:
            kept: What a recorder kept.
            gradients: By path, of the wanted tensors, see :meth:`GradientRecorder.gradients`.
        """
        seen = self._seen.get((kept.target.label, kept.call))
        if seen is None or not gradients:
            return
        zeros = {path: torch.zeros_like(tensor) for path, tensor in kept.tensors.items() if path not in gradients}
        features = self._unfold(kept.target, kept.output, seen)
        slopes = self._unfold(kept.target, kept.with_tensors({**gradients, **zeros}), seen)
        for path, (cells, tokens) in seen.cells.items():
            if path in features and path in slopes and bool(slopes[path].any()):
                yield Unfolded(kept.target, kept.call, path, features[path], slopes[path], cells, tokens)

    def _unfold(self, target: Target, output: Any, seen: _Seen) -> dict[str, Tensor]:
        maps = maps_of(
            output,
            self._input_shape,
            1,
            target.path,
            target.name,
            lambda path, _: seen.layouts.get(path),
            self._extra_tokens,
        )
        return {item.path: item.features[0].detach() for item in maps}


class UnfoldingRecorder(GradientRecorder):
    """A recorder whose unfolder sees the wanted layers, and forgets a forward that is run again."""

    def __init__(
        self,
        model: nn.Module,
        wanted: Sequence[Target],
        others: Sequence[Target],
        unfolder: Unfolder,
        finite: Collection[nn.Module] = (),
    ) -> None:
        mine = set(wanted)

        def watch(target: Target, output: Any) -> None:
            if target in mine:
                unfolder.see(target, output)

        super().__init__(model, [*wanted, *(each for each in others if each not in mine)], watch, finite)
        self._unfolder = unfolder

    def __enter__(self) -> UnfoldingRecorder:
        self._unfolder.restart()
        super().__enter__()
        return self
