"""``GradientRecorder``: layers' outputs inside the graph of a forward, and a target's gradient with respect to them."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from featmap.errors import LayerError
from featmap.layers import Target, resolve


@dataclass(frozen=True, repr=False)
class Kept:
    """One call of one layer: what it put out, as the next layer got it, before anything was written into it.

    Attributes:
        target: The layer.
        call: Number of the call in this forward, from 0.
        output: The output, whose wanted tensors are in the graph.
        tensors: Those, by their path as text: ``[0]``; empty for a plain tensor.
    """

    target: Target
    call: int
    output: Any
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Any:
        """The output with others in the place of the wanted tensors."""
        return replaced(self.output, lambda path, value: tensors.get(path, value))


class GradientRecorder:
    """Keeps layers' outputs in the graph of the forwards inside its ``with`` block.

    Layers after a wanted one get a copy, so that what they write in place leaves the kept one as the layer put it out.
    The graph begins at the first wanted output: a backward ends there, and nothing before it is held in memory.

    Args:
        model: The model. Its parameters are best frozen meanwhile.
        targets: Layer names, see :func:`featmap.layers.resolve`, or resolved targets.
        watch: Called as ``watch(target, output)`` in the hook with what the layer put out, such as to see its layout.
        finite: Layers behind which gradients that are not finite count as 0. Where a box's width overflows, 0 times
            infinity comes back from it, although the score does not depend on it.
    """

    def __init__(
        self,
        model: nn.Module,
        targets: str | Sequence[str] | Sequence[Target],
        watch: Callable[[Target, Any], None] | None = None,
        finite: Collection[nn.Module] = (),
    ) -> None:
        if isinstance(targets, str) or not all(isinstance(target, Target) for target in targets):
            targets = resolve(model, targets)  # type: ignore[arg-type]
        self.model = model
        self.targets: list[Target] = list(targets)  # type: ignore[arg-type]
        self.kept: list[Kept] = []
        self._watch = watch
        self._finite = set(finite)
        self._handles: list[RemovableHandle] = []
        self._calls: dict[int, int] = {}
        self._thread = 0

    def __enter__(self) -> GradientRecorder:
        if self._handles:
            raise RuntimeError('this recorder is already recording')
        self.kept, self._calls = [], {}
        self._thread = threading.get_ident()
        by_module: dict[int, list[Target]] = {}
        for target in self.targets:
            by_module.setdefault(id(target.module), []).append(target)
        try:
            for group in by_module.values():
                self._handles.append(group[0].module.register_forward_hook(self._hook(group)))
        except BaseException:
            self._detach()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._detach()

    def calls(self, target: Target) -> int:
        """How often the target's module was called in the last forward."""
        return self._calls.get(id(target.module), 0)

    def gradients(self, scalar: Tensor, of: Sequence[Target] | None = None) -> list[dict[str, Tensor]]:
        """The gradients of a 0-dim tensor of the last forward's graph with respect to what was kept, in its order.

        Tensors on which it does not depend are left out. The graph stays for the next target.

        Args:
            scalar: The tensor.
            of: The layers that are asked about; the others' gradients are left out. None for all.
        """
        wanted = [(number, path, tensor) for number, each in self._asked(of) for path, tensor in each.tensors.items()]
        found: list[dict[str, Tensor]] = [{} for _ in self.kept]
        if not wanted or not scalar.requires_grad:
            return found
        gradients = torch.autograd.grad(
            scalar, [tensor for _, _, tensor in wanted], retain_graph=True, allow_unused=True
        )
        for (number, path, _), gradient in zip(wanted, gradients):
            if gradient is not None:
                found[number][path] = gradient
        return found

    def _asked(self, of: Sequence[Target] | None) -> list[tuple[int, Kept]]:
        return [(number, each) for number, each in enumerate(self.kept) if of is None or each.target in of]

    def clear(self) -> None:
        """Let go of what was kept, and of the graph with it."""
        self.kept = []

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, group: Sequence[Target]) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            if threading.get_ident() != self._thread:  # someone else runs the same module
                return None
            name = group[0].name
            if not torch.is_grad_enabled():
                raise LayerError(
                    f'{name} runs where gradients are off (no_grad inside of the model): nothing can be told of it'
                )
            call = self._calls.get(id(module), 0)
            self._calls[id(module)] = call + 1
            if self._watch is not None:
                for target in group:
                    self._watch(target, output)
            tensors: dict[str, Tensor] = {}
            known: dict[int, Tensor] = {}

            def keep(path: str, value: Tensor) -> Tensor:
                wanted = any(path.startswith(_text(target.path)) for target in group)
                if not wanted or not value.is_floating_point():
                    return value
                if id(value) not in known:  # the same tensor may stand in several places
                    known[id(value)] = value if value.requires_grad else value.detach().requires_grad_()
                tensors[path] = known[id(value)]
                return tensors[path]

            kept = replaced(output, keep)
            for target in group:
                own = {path: value for path, value in tensors.items() if path.startswith(_text(target.path))}
                self.kept.append(Kept(target, call, kept, own))
            copies = {id(value): value.clone() for value in known.values()}
            for value in copies.values() if module in self._finite else ():
                value.register_hook(_finite)
            return replaced(kept, lambda path, value: copies.get(id(value), value))

        return hook


def replaced(output: Any, by: Callable[[str, Tensor], Tensor], path: str = '') -> Any:
    """A nested output of the same types, with what ``by(path, tensor)`` gives in the place of each tensor."""
    if isinstance(output, Tensor):
        return by(path, output)
    made: Any
    if isinstance(output, Mapping):
        made = copy.copy(output)  # of its own type, such as the outputs of transformers
        for key, value in output.items():
            made[key] = replaced(value, by, f'{path}[{key}]')
        return made
    if is_dataclass(output) and not isinstance(output, type):
        made = copy.copy(output)
        for entry in fields(output):
            object.__setattr__(made, entry.name, replaced(getattr(output, entry.name), by, f'{path}[{entry.name}]'))
        return made
    if isinstance(output, (tuple, list)) and type(output) is not torch.Size:
        items = [replaced(value, by, f'{path}[{index}]') for index, value in enumerate(output)]
        return type(output)(*items) if hasattr(output, '_fields') else type(output)(items)
    return output


def _finite(gradient: Tensor) -> Tensor:
    return gradient.nan_to_num(0, 0, 0)


def _text(path: Sequence[str]) -> str:
    return ''.join(f'[{key}]' for key in path)
