"""Asking modules for attention weights that they have but do not hand out, for one forward."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from featmap.attention.sampled import is_deformable
from featmap.layers import Target
from featmap.wording import option as written

_MISSING = object()
_CHOICES = ('_attn_implementation', '_attn_implementation_internal')  # of transformers of old, and of now


@contextlib.contextmanager
def handed_out(model: nn.Module, targets: Sequence[Target], asked: bool) -> Iterator[None]:
    """Within, the targets hand out the weights that a forward would keep from them; after it all is as it was.

    - ``torch.nn.MultiheadAttention`` that is called with ``need_weights=False`` is called with True, of each head.
    - A module inside one with ``fused_attn``, such as timm's ``attn_drop``, is called: the fused kernel has no weights.
    - A module of transformers, and those that share its config, run by the ``eager`` function, whatever
      ``attn_implementation`` the model has.

    What a module puts out beside the weights changes by rounding only. Other modules are left alone.

    Args:
        model: The model.
        targets: Layers that are recorded.
        asked: Whether a query is there; without one, only a target that names a part of an output, ``layer[1]``, and
            those that do nothing else are asked.
    """
    with contextlib.ExitStack() as stack:
        for target in targets:
            module = target.module
            parent = _parent(model, target.name)
            if getattr(parent, 'fused_attn', False) is True and next(module.children(), None) is None:
                if (
                    isinstance(module, (nn.Dropout, nn.Identity, nn.Softmax))
                    and 'attn' in target.name.rpartition('.')[2]
                ):
                    stack.enter_context(_set(parent, 'fused_attn', False))
            elif not (asked or target.path):
                continue
            elif isinstance(module, nn.MultiheadAttention):
                handle = module.register_forward_pre_hook(_with_weights, with_kwargs=True)
                stack.callback(handle.remove)
            elif _is_of_transformers(module):
                # Not a copy for this module: masks are made by the config too. Nor by its property, which would choose
                # for the parts of the config.
                for name in _CHOICES:
                    if name in vars(module.config):
                        stack.enter_context(_set(module.config, name, 'eager'))
        yield


def hint(target: Target, reason: str) -> str:
    """What to add to why a target puts out no map, where it could hand out attention weights; else nothing."""
    if is_deformable(target.module):
        how = f'{written("explain", "box:0")} and {written("method", ["attention"])}'
        return f'; {how} draw where object queries sample'
    could = isinstance(target.module, nn.MultiheadAttention) or _is_of_transformers(target.module)
    return f'; {written("query")} X,Y draws its attention weights' if could and 'attention' not in reason else ''


def _with_weights(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The call of a ``MultiheadAttention`` with weights of each head."""
    try:
        given = inspect.signature(module.forward).bind(*args, **kwargs)
    except TypeError:
        return None  # the call fails by itself, and says why
    if 'need_weights' not in inspect.signature(module.forward).parameters:
        return None
    given.arguments.update(need_weights=True, average_attn_weights=False)
    return given.args, given.kwargs


def _is_of_transformers(module: nn.Module) -> bool:
    """Whether a module chooses among functions of attention by its config, as those of transformers do."""
    implementation = getattr(getattr(module, 'config', None), '_attn_implementation', None)
    return 'ttention' in type(module).__name__ and implementation not in (None, 'eager')


def _parent(model: nn.Module, name: str) -> nn.Module | None:
    parent = name.rpartition('.')[0]
    try:
        return model.get_submodule(parent)
    except AttributeError:
        return None  # a target that is no submodule by its name, such as one that a pattern renamed


@contextlib.contextmanager
def _set(holder: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of another value, for a while."""
    before = vars(holder).get(name, _MISSING)
    setattr(holder, name, value)
    try:
        yield
    finally:
        if before is _MISSING:
            delattr(holder, name)
        else:
            setattr(holder, name, before)
