"""What keeps post-processing from being differentiated, set aside for as long as a forward runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_CHECKPOINTED = ('with_cp', 'grad_checkpointing', 'gradient_checkpointing')
"""What says that parts of a module are run again in the backward: of OpenMMLab's, timm's, transformers' modules."""
_DETACHING = (torch.Tensor.detach, torch.detach, torch.Tensor.__deepcopy__)


class _Sigmoid(torch.autograd.Function):
    """A sigmoid with the gradient σ(x)·σ(−x). PyTorch's σ·(1 − σ) is 0 from x = 17 up, as if nothing made the score."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sigmoid()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * x.sigmoid() * (-x).sigmoid()


class _Exp(torch.autograd.Function):
    """An exponential on which nothing depends where the gradient is 0, even where the width of a box overflows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = x.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return torch.where(gradients[0] == 0, gradients[0], gradients[0] * result)


def sigmoid(x: Tensor) -> Tensor:
    """A sigmoid whose gradient is not lost in rounding where it is nearly 1."""
    found: Tensor = _Sigmoid.apply(x)  # type: ignore[no-untyped-call]
    return found


class _Softmax(torch.autograd.Function):
    """A softmax whose best class keeps its gradient.

    That is y·(g − Σ g·y), in which a probability that is next to 1 cancels itself: it is summed up of the others here.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        result = x.softmax(dim)
        ctx.save_for_backward(result)
        ctx.dim = dim
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (result,), dim, slope = ctx.saved_tensors, ctx.dim, gradients[0]
        best = result == result.amax(dim, keepdim=True)
        others = result.masked_fill(best, 0)
        alone = best.sum(dim, keepdim=True) == 1
        rest = torch.where(best & alone, others.sum(dim, keepdim=True), 1 - result)
        weighted = result * slope
        cross = torch.where(
            best & alone, (others * slope).sum(dim, keepdim=True), weighted.sum(dim, keepdim=True) - weighted
        )
        return result * (slope * rest - cross), None


_SOFTMAX = (torch.softmax, torch.Tensor.softmax, functional.softmax)
_EXACT = {
    torch.sigmoid: _Sigmoid, torch.Tensor.sigmoid: _Sigmoid, torch.exp: _Exp, torch.Tensor.exp: _Exp,
}  # fmt: skip


class _Joined(TorchFunctionMode):
    """Keeps what is computed inside joined to the graph, whatever detaches it or writes into one of several views.

    A head detaches its outputs before it decodes them, for nobody needed a gradient there. And PyTorch lets nobody
    write into the outputs of ``unbind``, ``split`` and the like, which share their memory. What is lost of gradients in
    rounding is kept, see :class:`_Sigmoid`, :class:`_Softmax` and :class:`_Exp`.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _DETACHING:
            return args[0].clone()
        if func in _EXACT and not kwargs and args[0].is_floating_point():
            return _EXACT[func].apply(args[0])  # type: ignore[no-untyped-call]
        if func in _SOFTMAX:
            named = dict(kwargs or {})
            dim = named.get('dim', args[1] if len(args) > 1 else None)
            if isinstance(dim, int) and named.get('dtype') is None and args and args[0].is_floating_point():
                return _Softmax.apply(args[0], dim)  # type: ignore[no-untyped-call]
        result = func(*args, **(kwargs or {}))
        if type(result) in (tuple, list) and any(isinstance(each, Tensor) and each._is_view() for each in result):
            return type(result)(each.clone() if isinstance(each, Tensor) else each for each in result)
        return result


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No gradients of parameters inside: the graph is of activations alone. Nothing changes where gradients are off."""
    if not torch.is_grad_enabled():
        yield
        return
    learning = [each for each in module.parameters() if each.requires_grad]
    try:
        for each in learning:
            each.requires_grad_(False)
        yield
    finally:
        for each in learning:
            each.requires_grad_(True)


@contextmanager
def kept_whole(module: nn.Module) -> Iterator[None]:
    """Inside, no part throws away what it computed, to run again in the backward: hooks would see it twice.

    That is for training, and PyTorch refuses gradients of anything but parameters through it. Nothing changes where
    gradients are off.
    """
    parts = module.modules() if torch.is_grad_enabled() else ()
    asked = [(vars(part), name) for part in parts for name in _CHECKPOINTED if vars(part).get(name) is True]
    try:
        for attributes, name in asked:
            attributes[name] = False
        yield
    finally:
        for attributes, name in asked:
            attributes[name] = True


@contextmanager
def joined(module: nn.Module, method: str, parts: bool = True) -> Iterator[None]:
    """Inside, what the method of this name of a module puts out is joined to what it is given; and of its parts.

    Nothing is changed where gradients are off.
    """
    if not torch.is_grad_enabled():
        yield
        return
    with running_in(_Joined, module.modules() if parts else [module], method):
        yield


@contextmanager
def running_in(mode: type[TorchFunctionMode], owners: Iterable[nn.Module], method: str) -> Iterator[None]:
    """Inside, the method of this name of any of some modules runs in a mode of its own."""
    with ExitStack() as stack:
        for owner in owners:
            given = getattr(owner, method, None)
            if callable(given):
                stack.enter_context(overridden(owner, method, _in_mode(mode, given)))
        yield


@contextmanager
def overridden(owner: nn.Module, method: str, by: Callable[..., Any]) -> Iterator[None]:
    """Inside, a module's method is another one."""
    own = vars(owner).get(method)
    try:
        setattr(owner, method, by)
        yield
    finally:
        if own is None:
            vars(owner).pop(method, None)
        else:
            setattr(owner, method, own)


def _in_mode(mode: type[TorchFunctionMode], method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        with mode():
            return method(*args, **kwargs)

    return run
