"""Maps that stand in a tensor otherwise than the image: mirrored, turned by quarters, or with columns before rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from featmap.geometry import Place
from featmap.tracing.axes import Axes, on_axes, others_on, read
from featmap.tracing.rules import axes_of, place_of, put, rows_axis

_TAG = '_featmap_turn'


@dataclass(frozen=True)
class Turn:
    """How a map stands against the image, as test-time augmentation has it.

    Attributes:
        rows: Whether it is upside down.
        columns: Whether left and right are exchanged.
        quarters: By how many quarters it is turned, 0 to 3.
        mixed: Whether its rows or columns are in another order, or some of them mirrored.
        shift: By how many pixels of the input, down and to the right, it is rolled round its edges.
    """

    rows: bool = False
    columns: bool = False
    quarters: int = 0
    mixed: bool = False
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def reason(self) -> str:
        """Why it is not drawn; empty where it stands as the image does."""
        if self == _NONE:
            return ''
        if self.mixed:
            return 'the model itself has put its rows or columns in another order'
        how = 'rolled round its edges' if any(self.shift) else 'turned' if self.quarters else 'mirrored'
        return f'it is {how} against the image by the model itself'


_NONE, _MIXED = Turn(), Turn(mixed=True)


def turn_of(tensor: Tensor) -> Turn:
    """The turn that a tensor carries."""
    return getattr(tensor, _TAG, _NONE)


def put_turn(tensor: Tensor, turn: Turn) -> None:
    """Make a tensor carry its turn."""
    if turn != _NONE:
        setattr(tensor, _TAG, turn)
    else:
        vars(tensor).pop(_TAG, None)


def turn_after(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], sources: Iterable[Tensor]) -> Turn:
    """The turn of what an operation makes of these; of several that stand differently it is that of the image."""
    turns = {turn_of(source) for source in sources}
    turn = turns.pop() if len(turns) == 1 else _MIXED if _MIXED in turns else _NONE
    if _reorders(name, args, kwargs):
        return _MIXED
    if turn == _MIXED or name not in ('flip', 'rot90', 'roll') or not args or not isinstance(args[0], Tensor):
        return turn
    axes = _rows_and_columns(args[0])
    if axes is None:
        return turn
    if name == 'roll':
        return _rolled(turn, args, kwargs, axes)
    if name == 'flip':
        dims = kwargs.get('dims', args[1] if len(args) == 2 else args[1:])
        at = {dim % args[0].ndim for dim in (dims if isinstance(dims, (tuple, list)) else (dims,))}
        return replace(turn, rows=turn.rows ^ (axes[0] in at), columns=turn.columns ^ (axes[1] in at))
    count = kwargs.get('k', args[1] if len(args) > 1 else 1)
    dims = tuple(dim % args[0].ndim for dim in kwargs.get('dims', args[2] if len(args) > 2 else (0, 1)))
    sign = {axes: 1, axes[::-1]: -1}.get(dims, 0)
    return replace(turn, quarters=(turn.quarters + sign * count) % 4)


def _rolled(turn: Turn, args: Sequence[Any], kwargs: Mapping[str, Any], axes: tuple[int, int]) -> Turn:
    """The turn after ``roll``, which windows that are shifted undo once they have been looked at."""
    shifts, dims = (kwargs.get(each, args[n] if len(args) > n else None) for n, each in ((1, 'shifts'), (2, 'dims')))
    if dims is None or dims == ():
        return _MIXED  # of all numbers in a row
    by = dict(zip(*(each if isinstance(each, (tuple, list)) else (each,) for each in (dims, shifts))))
    by = {dim % args[0].ndim: shift for dim, shift in by.items()}
    place = place_of(args[0])
    steps = (1.0, 1.0) if place is None else place.stride
    rows, columns = (
        round((before + by.get(axis, 0) * step) % (int(args[0].shape[axis]) * step), 3)
        for before, axis, step in zip(turn.shift, axes, steps)
    )
    return replace(turn, shift=(rows, columns))


def written_into(target: Any, value: Any) -> None:
    """After ``target[…] = value``: a map that has been given a part that stands otherwise."""
    if isinstance(target, Tensor) and isinstance(value, Tensor) and turn_of(value) != turn_of(target):
        put_turn(target, _MIXED)


def _reorders(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation picks all rows or columns of a map by their numbers, in another order."""
    if name not in ('index_select', '__getitem__') or not args or not isinstance(args[0], Tensor):
        return False
    axes = _rows_and_columns(args[0])
    if axes is None:
        return False
    picked: dict[int, Any] = {}
    if name == 'index_select':
        dim, index = (kwargs.get(each, args[n] if len(args) > n else None) for n, each in ((1, 'dim'), (2, 'index')))
        if isinstance(dim, int):  # and no name
            picked[dim % args[0].ndim] = index
    else:
        key = tuple(each for each in (args[1] if isinstance(args[1], tuple) else (args[1],)) if each is not None)
        if any(each is Ellipsis for each in key):
            at = next(number for number, each in enumerate(key) if each is Ellipsis)
            key = (*key[:at], *(slice(None),) * (args[0].ndim - len(key) + 1), *key[at + 1 :])
        picked = dict(enumerate(key))
    return any(_is_another_order(picked.get(axis), int(args[0].shape[axis])) for axis in axes)


def _is_another_order(index: Any, extent: int) -> bool:
    if isinstance(index, list) and all(isinstance(each, int) for each in index):
        index = torch.tensor(index)
    if not isinstance(index, Tensor):
        return False
    if index.ndim != 1 or index.dtype == torch.bool or len(index) != extent:
        return False
    return bool((index.diff() < 0).any())


def arithmetic(
    rule: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor
) -> tuple[Any, Axes | None]:
    """What a rule makes of the place of an input whose map stands on the last two axes, columns first.

    Returns:
        The place, None where it is lost, and NotImplemented where the rule is to be asked as ever; and the axes.
    """
    source = args[0] if args else kwargs.get('input')
    if name in ('pad', '__getitem__', 'unfold') or not isinstance(source, Tensor):
        return NotImplemented, None
    axes, place, last = axes_of(source), place_of(source), source.ndim - 1
    layout = read(axes, place, source.shape)
    if layout is None or place is None or len(layout.axes) != 2 or layout.axes == (last - 1, last):
        return NotImplemented, None
    if layout.axes != (last, last - 1):
        return None, others_on(output.shape, 1)  # of a window that moves over channels, whose output is no map
    put(source, Place(place.columns, place.rows), on_axes(source.shape, last - 1, last))
    try:
        made = rule(args, kwargs, output)
    finally:
        put(source, place, axes)
    if not isinstance(made, Place):
        return None, None
    return Place(made.columns, made.rows), on_axes(output.shape, output.ndim - 1, output.ndim - 2)


def _rows_and_columns(tensor: Tensor) -> tuple[int, int] | None:
    layout = read(axes_of(tensor), place_of(tensor), tensor.shape)
    if layout is not None:
        return (layout.axes[0], layout.axes[1]) if len(layout.axes) == 2 else None
    rows = rows_axis(tensor)
    return None if rows is None else (rows, rows + 1)
