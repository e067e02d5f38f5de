"""Recording what layers put out, with forward hooks that never outlive the ``with`` block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from featmap.errors import LayerError
from featmap.layers import Target, children_to_try, resolve
from featmap.wording import on_command_line
from featmap.wording import option as written


@dataclass(frozen=True, repr=False)
class Record:
    """One call of one layer: target, number of the call in this forward (from 0), and what was kept of the output."""

    target: Target
    call: int
    value: Any

    def __repr__(self) -> str:
        """One line: the layer, the call, and the value's type or shape."""
        value = self.value
        kept = f'tensor of {tuple(value.shape)}' if isinstance(value, Tensor) else type(value).__name__
        return f'<Record of {self.target.label}, call {self.call}: {kept}>'


def clone_output(target: Target, output: Any) -> Any:
    """A detached copy of every tensor in a layer's output, nesting kept."""
    if isinstance(output, Tensor):
        return output.detach().clone()
    if isinstance(output, Mapping):
        return {key: clone_output(target, value) for key, value in output.items()}
    if isinstance(output, tuple) and hasattr(output, '_fields'):
        return type(output)(*(clone_output(target, value) for value in output))
    if isinstance(output, (tuple, list)):
        return type(output)(clone_output(target, value) for value in output)
    return output


class _Stopped(BaseException):
    """Leaves the forward once a recorder has all that it wants. Not an Exception: models catch those."""

    def __init__(self, recorder: ActivationRecorder) -> None:
        super().__init__()
        self.recorder = recorder


class ActivationRecorder:
    """Records layers' outputs during the forwards inside its ``with`` block.

    Every call of a layer is kept. The next layer may overwrite its input in place, so an output is consumed inside
    the hook: cloned by default, or handed to ``consume``, whose return value is kept instead.

    Args:
        model: The model.
        targets: Layer names, see :func:`featmap.layers.resolve`, or resolved targets.
        consume: Called as ``consume(target, output)`` in the hook, under the forward's own grad mode.
        stop_early: End the forward, by leaving the ``with`` block, as soon as nothing wanted can come any more. For
            the first forward that is where the last wanted top-level part (backbone, neck) returns; later ones
            stop right after the last call that the first one has seen.
        strict: Whether a target that never ran is an error.

    Example:
        >>> with ActivationRecorder(model, ['neck']) as recorder:
        ...     model(images)
        >>> recorder.records[0].value
    """

    def __init__(
        self,
        model: nn.Module,
        targets: str | Sequence[str] | Sequence[Target],
        consume: Callable[[Target, Any], Any] = clone_output,
        stop_early: bool = False,
        strict: bool = True,
    ) -> None:
        self.model = model
        self.strict = strict
        if isinstance(targets, str) or not targets or not all(isinstance(target, Target) for target in targets):
            targets = resolve(model, targets)  # type: ignore[arg-type]
        self.targets: list[Target] = list(targets)  # type: ignore[arg-type]
        self.consume = consume
        self.stop_early = stop_early
        self.stopped = False
        self._records: list[Record] = []
        self._handles: list[RemovableHandle] = []
        self._expected: dict[int, int] = {}
        self._calls: dict[int, int] = {}
        self._returned: set[str] = set()
        self._thread = 0

    def __enter__(self) -> ActivationRecorder:
        if self._handles:
            raise RuntimeError('this recorder is already recording')
        self._records, self._calls, self._returned, self.stopped = [], {}, set(), False
        self._thread = threading.get_ident()
        try:
            self._attach()
        except BaseException:
            self._detach()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._detach()
        stopped = isinstance(error, _Stopped) and error.recorder is self
        if kind is None or stopped:
            self._expected = dict(self._calls)
        return stopped

    @property
    def records(self) -> list[Record]:
        """What was recorded, in the order of the targets, then of the calls.

        Raises:
            LayerError: where a target never ran, with what to name instead.
        """
        order = {target: index for index, target in enumerate(self.targets)}
        if self.strict and (idle := self.never_ran()):
            raise LayerError('; '.join(reason for _, reason in idle))
        return sorted(self._records, key=lambda record: (order[record.target], record.call))

    def never_ran(self) -> list[tuple[Target, str]]:
        """The targets that were not called in the last forward, each with what to name instead."""
        return [(t, self._never_ran(t)) for t in self.targets if not self.calls(t) and not t.optional]

    def calls(self, target: Target) -> int:
        """How often the target's module was called in the last forward."""
        return self._calls.get(id(target.module), 0)

    def _attach(self) -> None:
        by_module: dict[int, list[Target]] = {}
        for target in self.targets:
            by_module.setdefault(id(target.module), []).append(target)
        for group in by_module.values():
            self._handles.append(group[0].module.register_forward_hook(self._hook(group)))
        if self.stop_early and not self._expected:
            for top in self._tops():
                hook = self._boundary(top)
                self._handles.append(getattr(self.model, top).register_forward_hook(hook))

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, group: list[Target]) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if threading.get_ident() != self._thread:  # someone else runs the same module
                return
            call = self._calls.get(id(module), 0)
            self._calls[id(module)] = call + 1
            for target in group:
                self._records.append(Record(target, call, self.consume(target, output)))
            if self.stop_early and self._expected and self._calls == self._expected:
                self._stop()

        return hook

    def _boundary(self, top: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if threading.get_ident() != self._thread:
                return
            self._returned.add(top)
            if self._returned == self._tops():
                self._stop()

        return hook

    def _stop(self) -> None:
        self.stopped = True
        raise _Stopped(self)

    def _tops(self) -> set[str]:
        return {target.name.partition('.')[0] for target in self.targets}

    def _never_ran(self, target: Target) -> str:
        kind = type(target.module).__name__
        if isinstance(target.module, (nn.ModuleList, nn.ModuleDict)):
            advice = f'it only holds layers; name its children: {children_to_try(target.name, target.module)}'
        elif next(target.module.children(), None) is not None:
            advice = (
                f'its parts are called without it; name its children: {children_to_try(target.name, target.module)}'
            )
        else:
            advice = 'the forward does not call it'
            if on_command_line():
                advice += f'; {written("preview_model")} shows which layers run'
        return f'{target.name} ({kind}) was never run: {advice}'
