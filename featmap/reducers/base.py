"""What a reducer is, and how one is chosen by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Union

import torch
from torch import Tensor

from featmap.errors import OptionError, nearest
from featmap.registry import REDUCERS
from featmap.structures import Reduction


class Reducer(ABC):
    """(C, h, w) features to (K, h, w) planes, at the layer's own resolution and on its device.

    Register a subclass with ``@REDUCERS.register_module('name')`` and choose it by that name. Any callable of the same
    signature will do; it may also return a plain (h, w) or (K, h, w) tensor.
    """

    @abstractmethod
    def __call__(self, features: Tensor, weights: Tensor) -> Reduction | Tensor:
        """Reduce one map.

        Args:
            features: (C, h, w), any float type. It is the layer's own memory: do not write to it.
            weights: (h, w) float32 on the same device, how much each cell counts in statistics: 0 on padding.
        """


AnyReducer = Callable[[Tensor, Tensor], Union[Reduction, Tensor]]


def build_reducer(name: str | dict[str, Any] | None, topk: int) -> AnyReducer:
    """The reducer that the options name.

    Args:
        name: A registered name, a config ``dict(type=..., ...)``, or None for channels as they are.
        topk: With ``name`` None: how many channels; -1 or less draws a 1- or 3-channel map as it is.

    Raises:
        OptionError: for a name that is not registered, or arguments that the reducer does not take.
    """
    if name is None:
        cfg: dict[str, Any] = {'type': 'topk', 'k': topk} if topk > 0 else {'type': 'as_image'}
    else:
        cfg = {'type': name} if isinstance(name, str) else dict(name)
    kind = cfg.get('type')
    if isinstance(kind, str) and REDUCERS.get(kind) is None:
        known = sorted(REDUCERS.module_dict)
        raise OptionError(
            f'no reducer is called {kind!r}; nearest: {", ".join(nearest(kind, known))}; known: {", ".join(known)}, '
            'None. A reducer of your own needs --cfg-options custom_imports=MODULE'
        )
    try:
        return REDUCERS.build(cfg)
    except (TypeError, ValueError) as error:
        raise OptionError(f'the reducer {kind} cannot be built from {cfg}: {error}') from error


def reduce(reducer: AnyReducer, features: Tensor, weights: Tensor) -> Reduction:
    """Reduce (C, h, w) features and check what came out.

    The values are the reducer's own memory: the layer's may be overwritten by the next one.

    Raises:
        OptionError: where the reducer returned something of another shape.
    """
    value = reducer(features, weights)
    if isinstance(value, Tensor):
        planes = value[None] if value.ndim == 2 else value
        value = Reduction(planes.float(), (None,) * len(planes))
    planes, (_, rows, columns) = value.values, features.shape
    if planes.ndim != 3 or planes.shape[1:] != features.shape[1:] or len(value.channels) != len(planes):
        raise OptionError(
            f'the reducer made {tuple(planes.shape)} of a map of {tuple(features.shape)}: expected '
            f'(K, {rows}, {columns})'
        )
    if planes.untyped_storage().data_ptr() == features.untyped_storage().data_ptr():
        value = replace(value, values=planes.clone())
    return value


def channel_sums(features: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum over the cells of each channel: (C,) float32. Non-finite cells count as 0."""
    flat = features.float().flatten(1)
    sums = flat @ weights.float().flatten()
    if torch.isfinite(sums).all():
        return sums
    return torch.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0) @ weights.float().flatten()
