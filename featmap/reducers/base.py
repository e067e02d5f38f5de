"""What a reducer is, and how one is chosen by name."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from types import FunctionType
from typing import Any, Union

import torch
from torch import Tensor

from featmap.errors import DrawError, FeatMapError, OptionError, first_line, nearest
from featmap.geometry import Spot
from featmap.meaning import Meaning
from featmap.registry import REDUCERS
from featmap.structures import Reduction
from featmap.wording import option as written


class Reducer(ABC):
    """(C, h, w) features to (K, h, w) planes, at the layer's own resolution and on its device.

    Register a subclass with ``@REDUCERS.register_module('name')`` and choose it by that name. A function of the same
    arguments will do. Either may also return a plain (h, w) or (K, h, w) tensor.
    """

    @abstractmethod
    def __call__(self, features: Tensor, weights: Tensor) -> Reduction | Tensor:
        """Reduce one map.

        Args:
            features: (C, h, w), any float type. It is the layer's own memory: do not write to it.
            weights: (h, w) float32 on the same device, how much each cell counts in statistics: 0 on padding.

        One with ``takes_meaning = True`` is also handed the :class:`featmap.meaning.Meaning` of the channels, by name;
        one with ``takes_spot = True`` the :class:`featmap.geometry.Spot` that is asked about, or None, as ``spot``.
        """


AnyReducer = Callable[[Tensor, Tensor], Union[Reduction, Tensor]]


class Chain(Reducer):
    """Reducers one after the other: the planes of one are the channels of the next."""

    def __init__(self, steps: Sequence[AnyReducer]) -> None:
        if not steps:
            raise OptionError('a list of reducers needs at least one')
        self.steps = list(steps)

    @property
    def needs_fit(self) -> bool:
        """Whether a step is fitted on a whole run."""
        return any(getattr(step, 'needs_fit', False) for step in self.steps)

    def observe(self, features: Tensor, weights: Tensor) -> None:
        """Show the features to the first step that is fitted, as the steps before it leave them."""
        for step in self.steps:
            if getattr(step, 'needs_fit', False):
                step.observe(features, weights)  # type: ignore[attr-defined]
                return
            features = reduce(step, features, weights).values

    takes_meaning = True

    @property
    def takes_spot(self) -> bool:
        """Whether a step answers to a queried pixel."""
        return any(getattr(step, 'takes_spot', False) for step in self.steps)

    def shows(self, meaning: Meaning) -> bool:
        """Whether the first step makes anything of an output of this meaning."""
        return shows(self.steps[0], meaning)

    def fit(self) -> None:
        """Fit the step that observed."""
        next(step for step in self.steps if getattr(step, 'needs_fit', False)).fit()  # type: ignore[attr-defined]

    def dump(self) -> bytes:
        """What the step that has something to keep for other runs gives.

        Raises:
            OptionError: where none has.
        """
        for step in self.steps:
            if hasattr(step, 'dump'):
                return step.dump()
        raise OptionError('none of the reducers has a basis')

    def __call__(
        self, features: Tensor, weights: Tensor, meaning: Meaning | None = None, spot: Spot | None = None
    ) -> Reduction:
        result = reduce(self.steps[0], features, weights, meaning, spot)
        for step in self.steps[1:]:
            before, result = result, reduce(step, result.values, weights, None, spot)
            size = before.magnitude if result.magnitude is None else result.magnitude
            result = replace(result, channels=_traced(result.channels, before.channels), magnitude=size)
        return result


_Numbers = Union[tuple[Union[int, None], ...], Tensor]


def _traced(planes: _Numbers, channels: _Numbers) -> _Numbers:
    """Numbers of planes as the channels that those planes show: the second of channels 5 and 7 is channel 7."""
    if isinstance(channels, Tensor):
        known = planes if isinstance(planes, Tensor) else [plane for plane in planes if plane is not None]
        return channels[known] if len(known) == len(planes) else (None,) * len(planes)
    if isinstance(planes, Tensor):
        known = [channel for channel in channels if channel is not None]
        if len(known) < len(channels):
            return (None,) * len(planes)
        return torch.tensor(known, device=planes.device)[planes]
    return tuple(None if plane is None else channels[plane] for plane in planes)


def build_reducer(name: Any, topk: int = 4, **options: Any) -> AnyReducer:
    """The reducer that the options name.

    Args:
        name: A registered name, a config ``dict(type=..., ...)``, a list of them to apply in turn, or None for channels
            as they are.
        topk: For ``topk`` and with ``name`` None: how many channels; -1 or less draws a 1- or 3-channel map as it is.
        **options: ``channels``, ``components``, ``basis`` and others for reducers that take them; None is left out.

    Raises:
        OptionError: for a name that is not registered, or arguments that the reducer does not take.
    """
    if isinstance(name, (list, tuple)):
        return Chain([build_reducer(step, topk, **options) for step in name])
    if name is None:
        name = 'topk' if topk > 0 else 'as_image'
    cfg: dict[str, Any] = {'type': name} if isinstance(name, str) else dict(name)
    kind = cfg.pop('type', None)
    if not isinstance(kind, str) and not callable(kind):
        raise OptionError(f'the reducer {kind!r} cannot be built: expected a name, as in dict(type="pca")')
    # Not REDUCERS.get(), which imports and returns whatever Python object a dotted name stands for.
    REDUCERS.import_from_location()
    kind = kind.removeprefix('featmap.') if isinstance(kind, str) else kind
    maker = REDUCERS.module_dict.get(kind) if isinstance(kind, str) else kind
    if isinstance(kind, str) and maker is None:
        known = sorted(REDUCERS.module_dict)
        raise OptionError(
            f'no reducer is called {kind!r}; nearest: {", ".join(nearest(kind, known))}; known: {", ".join(known)}, '
            f'None. A reducer of your own needs {written("cfg_options")} custom_imports=MODULE'
        )
    cfg = {**_implied(kind, {'topk': topk, **options}), **cfg}
    try:
        if isinstance(maker, FunctionType):
            signature(maker).bind(None, None, **cfg)
            return partial(maker, **cfg)
        return maker(**cfg)
    except (TypeError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f'the reducer {kind} cannot be built from {cfg}: {error}') from error


_ARGUMENTS = {
    'topk': {'k': 'topk', 'abs': 'abs'},
    'select_max': {'abs': 'abs'},
    'channels': {'channels': 'channels'},
    'pca': {'k': 'components', 'basis': 'basis'},
    'nmf': {'k': 'components'},
    'similarity': {'stated': 'stated'},
    'kmeans': {'k': 'components'},
}


def _implied(kind: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a reducer that options of a run stand for."""
    given = {argument: options.get(option) for argument, option in _ARGUMENTS.get(kind, {}).items()}
    return {argument: value for argument, value in given.items() if value is not None}


def shows(reducer: AnyReducer, meaning: Meaning) -> bool:
    """Whether a reducer makes anything of an output of this meaning: one that asks for classes does not of boxes."""
    return reducer.shows(meaning) if hasattr(reducer, 'shows') else True


def reduce(
    reducer: AnyReducer,
    features: Tensor,
    weights: Tensor,
    meaning: Meaning | None = None,
    spot: Spot | None = None,
) -> Reduction:
    """Reduce (C, h, w) features and check what came out.

    The values are the reducer's own memory: the layer's may be overwritten by the next one.

    Args:
        reducer: What to make of them.
        features: (C, h, w).
        weights: (h, w), how much each cell counts.
        meaning: What the channels are, where the layer is a head; for reducers that take it.
        spot: The cell that is asked about; for reducers that take it.

    Raises:
        OptionError: where the reducer returned something of another shape.
        DrawError: where it fails, as one of one's own may in any way.
    """
    given = {'meaning': meaning, 'spot': spot}
    given = {name: each for name, each in given.items() if getattr(reducer, f'takes_{name}', False)}
    try:
        value = reducer(features, weights, **given)
    except FeatMapError:
        raise
    except Exception as error:
        own = getattr(reducer, 'func', reducer)  # of a function that is registered with arguments
        name = getattr(own, '__name__', type(own).__name__)
        raise DrawError(f'the reducer {name} failed: {type(error).__name__}: {first_line(error)}') from error
    if isinstance(value, Tensor):
        planes = value[None] if value.ndim == 2 else value
        value = Reduction(planes, (None,) * (len(planes) if planes.ndim else 0))
    made = tuple(value.values.shape) if isinstance(value, Reduction) else type(value).__name__
    _, rows, columns = features.shape
    if not isinstance(value, Reduction) or not len(value.channels) or made != (len(value.channels), rows, columns):
        raise OptionError(
            f'the reducer made {made} of a map of {tuple(features.shape)}: expected (K, {rows}, {columns})'
        )
    planes = value.values.float()
    if planes.untyped_storage().data_ptr() == features.untyped_storage().data_ptr():
        planes = planes.clone()
    return replace(value, values=planes)


@contextlib.contextmanager
def one_thread(features: Tensor) -> Iterator[None]:
    """Run a reduction of one map on one thread of the CPU.

    It takes a twentieth of a millisecond. Spread on several threads it ends no sooner, and on a busy machine the
    threads wait for one another for a time slice of the scheduler: 8 ms were measured.
    """
    before = torch.get_num_threads()
    if features.is_cuda or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def channel_sums(features: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum over the cells of each channel: (C,) float32. Non-finite cells count as 0."""
    flat = features.float().flatten(1)
    # Looking at the sums would make the host wait for a device.
    if not features.is_cuda:
        sums = flat @ weights.float().flatten()
        if torch.isfinite(sums).all():
            return sums
    return torch.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0) @ weights.float().flatten()
