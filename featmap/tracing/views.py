"""What views and picks do to the axes of a tensor, found out by doing the same to a tensor without data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from featmap.geometry import Place
from featmap.tracing.axes import Axes, Axis, Chain, cells_of, extent_of, others_on, plain, read


def viewed(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    number: int,
    source: Tensor,
    axes: Axes,
    place: Place | None,
    shape: tuple[int, ...],
) -> tuple[Axes | None, Place | None]:
    """After a permutation, or where parts are taken: the same done to a tensor without data, whose strides tell."""
    view = probed(func, args, kwargs, number, source)
    if view is None:
        return no_cells(axes, place, source.shape, shape), None
    found: list[Axis] = []
    for extent, axis, start in view:
        own = axes[axis] if axis is not None else ()
        if axis is None or extent == extent_of(own):
            found.append(own if axis is not None else plain(extent))
            continue
        if len(own) == 1 and isinstance(own[0], Chain):
            cut = _cut(own[0], start, extent)
            if cut is None:
                return None, None
            parts = cut.parts
            if len(parts) == 1 and parts[0][1] is not None:
                place, own = parts[0][1], cells_of(parts[0][1])
            else:
                own = (cut,)
                placed = [each for _, each in parts if each]
                place = placed[0] if len(placed) == 1 else None
            found.append(own)
        else:
            found.append(plain(extent))
    return tuple(found), place


def no_cells(axes: Axes, place: Place | None, given: Sequence[int], shape: tuple[int, ...]) -> Axes | None:
    """After tokens were picked or shuffled by what no one can see: they have no place any more."""
    layout = read(axes, place, given)
    if layout is None or len(layout.axes) != 1 or len(given) != len(shape):
        return None
    return others_on(shape, layout.axes[0])


def probed(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], number: int, source: Tensor
) -> list[tuple[int, int | None, int]] | None:
    """Each axis of a view as its extent, the axis of the source that it is of, and the first element of that.

    None where it is no view: where elements are picked by a tensor, or in steps.
    """
    if not args or args[0] is not source or any(isinstance(each, Tensor) for each in nested(args[1:])):
        return None
    if any(isinstance(each, list) for each in nested(args[1:2])) and getattr(func, '__name__', '') == '__getitem__':
        return None
    strides = [1] * source.ndim
    for axis in range(source.ndim - 1, 0, -1):  # as if no axis had an extent of 1, so that no two strides are alike
        strides[axis - 1] = strides[axis] * max(int(source.shape[axis]), 2)
    probe = torch.empty_strided(tuple(source.shape), strides, device='meta')
    made = func(probe, *args[1:], **kwargs)
    if made is None:  # such as ``_base``, of what is no view
        return None
    made = list(made)[number] if not isinstance(made, Tensor) else made
    if not isinstance(made, Tensor) or made.ndim > source.ndim + 4:
        return None
    starts, offset = {}, made.storage_offset()
    for axis, stride in enumerate(strides):
        starts[axis], offset = offset // stride, offset % stride
    found: list[tuple[int, int | None, int]] = []
    for extent, stride in zip(made.shape, made.stride()):
        of = strides.index(stride) if stride in strides and extent > 0 else None
        if of is None and extent != 1:
            return None
        found.append((int(extent), of, starts.get(of, 0) if of is not None else 0))
    return found


def _cut(tokens: Chain, start: int, count: int) -> Chain | None:
    """So many of the tokens from one on; None where that cuts a grid in two."""
    parts: list[tuple[int, Place | None]] = []
    first = 0
    for size, place in tokens.parts:
        taken = min(first + size, start + count) - max(first, start)
        if taken > 0:
            if place is not None and taken < size:
                return None
            parts.append((taken, place))
        first += size
    return Chain(tuple(parts))


def nested(values: Any) -> Iterable[Any]:
    """All in a nested value, depth first, and what holds it."""
    for value in values if isinstance(values, (tuple, list)) else (values,):
        yield value
        if isinstance(value, (tuple, list)):
            yield from nested(value)
