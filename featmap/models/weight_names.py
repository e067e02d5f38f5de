"""Where the weights are in what a checkpoint holds, and what a model calls them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import add
from typing import Any

from torch import Tensor, nn

# Where training tools keep the weights, MMEngine's own first.
_WEIGHT_KEYS = (
    *('state_dict', 'model', 'model_state_dict', 'module', 'net', 'ema', 'model_ema', 'state_dict_ema'),
    *('params_ema', 'params', 'weights', 'network', 'teacher'),
)
_DATA_PARALLEL = 'module.'
_COMPILED = '_orig_mod.'


def state_dict_in(content: Any) -> OrderedDict[str, Tensor]:
    """The weights in what was read: under a usual key, the only ones there are, or all of it; empty without any.

    The prefixes of data-parallel training and of ``torch.compile`` are taken off.
    """
    if isinstance(content, nn.Module):  # Only a trusted file can hold one.
        content = content.state_dict()
    if not isinstance(content, Mapping):
        return OrderedDict()
    found = _weights_of(content)
    tensors = [(name, value) for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)]
    state_dict = OrderedDict((_uncompiled(name), value) for name, value in tensors)
    # The versions of the modules, which load_state_dict hands to them, and they compare.
    state_dict._metadata = {  # type: ignore[attr-defined]
        _uncompiled(name): value
        for name, value in (getattr(found, '_metadata', None) or {}).items()
        if isinstance(name, str) and isinstance(value, dict) and isinstance(value.get('version', 1), (int, type(None)))
    }
    if all(name.startswith(_DATA_PARALLEL) for name in state_dict):
        return _renamed(state_dict, lambda name: name[len(_DATA_PARALLEL) :])
    return state_dict


def named_for(state_dict: OrderedDict[str, Tensor], parameters: Sequence[str]) -> OrderedDict[str, Tensor]:
    """The weights by the names of a model's parameters, where one of the two only has a prefix more.

    So are weights within the module that trained them, such as one of Lightning, and those of a model that has been put
    into a wrapper. Nothing is renamed unless each parameter has its counterpart then, and in one way only.
    """
    if all(name in state_dict for name in parameters):
        return state_dict
    first = parameters[0]
    within = {name[: -len(first)] for name in state_dict if name.endswith(f'.{first}')}
    within = {prefix for prefix in within if all(prefix + name in state_dict for name in parameters)}
    if len(within) == 1:
        prefix = within.pop()
        return _renamed(state_dict, lambda name: name[len(prefix) :] if name.startswith(prefix) else name)
    parts = first.split('.')
    for prefix in ('.'.join(parts[:count]) + '.' for count in range(1, len(parts))):
        if all(name.startswith(prefix) and name[len(prefix) :] in state_dict for name in parameters):
            return _renamed(state_dict, partial(add, prefix))
    return state_dict


def _weights_of(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    for key in _WEIGHT_KEYS:
        if (weights := _as_weights(content.get(key))) is not None:
            return weights
    if not any(isinstance(value, Tensor) for value in content.values()):
        others = [weights for value in content.values() if (weights := _as_weights(value)) is not None]
        if len(others) == 1:
            return others[0]
    return content


def _as_weights(value: Any) -> Mapping[Any, Any] | None:
    # A whole module is what other tools save. Only a trusted file can hold one.
    if isinstance(value, nn.Module):
        value = value.state_dict()
    holds = isinstance(value, Mapping) and any(isinstance(tensor, Tensor) for tensor in value.values())
    return value if holds else None


def _uncompiled(name: str) -> str:
    return name.replace(_COMPILED, '').removesuffix(_COMPILED[:-1]).removesuffix('.')


def _renamed(state_dict: OrderedDict[str, Tensor], rename: Callable[[str], str]) -> OrderedDict[str, Tensor]:
    """With the versions of modules, which are by names without a dot at the end."""
    renamed = OrderedDict((rename(name), value) for name, value in state_dict.items())
    versions = getattr(state_dict, '_metadata', None) or {}
    renamed._metadata = {  # type: ignore[attr-defined]
        rename(f'{name}.' if name else '').removesuffix('.'): value for name, value in versions.items()
    }
    return renamed
