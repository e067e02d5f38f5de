"""What operations do to the axes of the tensors that carry a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from featmap.geometry import Place
from featmap.geometry.places import AxisPlace
from featmap.tracing.axes import Axes, Axis, Chain, Factor, cells_of, extent_of, factors_of, folded, plain, whole_of

_RESHAPES = {'view', 'reshape', 'flatten', 'unflatten', 'squeeze', 'unsqueeze', 'view_as', 'reshape_as', 'ravel'}
_VIEWS = {'permute', 'transpose', 'movedim', 'moveaxis', 'swapaxes', 'swapdims', 't', 'adjoint', '__get__', '__iter__',
          'select', 'narrow', 'split', 'split_with_sizes', 'chunk', 'unsafe_chunk', 'unsafe_split', 'tensor_split',
          'unbind', '__getitem__'}  # fmt: skip
_JOINS = {'cat', 'concat', 'concatenate'}
FIRST_ONLY = {'scaled_dot_product_attention', 'multi_head_attention_forward', '_native_multi_head_attention'}
"""A row of their output belongs to a row of the first argument, the queries."""
_SHUFFLES = {'gather', 'index_select', 'sort', 'topk', 'take_along_dim', 'flip', 'fliplr', 'flipud', 'rot90', 'take',
             'tensordot', 'hstack', 'vstack', 'stack', 'repeat', 'repeat_interleave'}  # fmt: skip


def follow(
    name: str,
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    number: int,
    output: Tensor,
    sources: Sequence[tuple[Tensor, Axes | None, Place | None]],
) -> tuple[Axes, Place | None] | None:
    """The axes of an operation's output, and the place that they are of; None where they hold no grid.

    Args:
        name: The operation's name.
        func: The operation.
        args: Its arguments.
        kwargs: Its named arguments.
        number: Which of its outputs this is.
        output: The output.
        sources: Tensors among the arguments, with their axes and places.
    """
    shape = tuple(map(int, output.shape))
    if name in _JOINS:
        return _joined(name, args, kwargs, sources, shape)
    if name in ('matmul', '__matmul__', 'bmm') and len(sources) == 2:
        return _multiplied(sources, shape)
    for source, axes, place in sources:
        if axes is None:
            continue
        found: Axes | None
        if name == 'einsum':
            found = _summed(args, source, axes, shape)
        elif name in _RESHAPES:
            found = _regrouped(axes, shape)
        elif name in _VIEWS:
            found, place = _viewed(func, args, kwargs, number, source, axes, place)
        elif name in _SHUFFLES:
            found = None
        else:
            found = _alike(axes, shape)
        if found is not None and len(found) == len(shape) and (held := folded(found, place)):
            return held
    return None


def _alike(axes: Axes, shape: tuple[int, ...]) -> Axes | None:
    """After an operation that keeps the number of axes: those of another extent are new."""
    if len(axes) != len(shape):
        return None
    return tuple(axis if extent_of(axis) == extent else plain(extent) for axis, extent in zip(axes, shape))


def _multiplied(
    sources: Sequence[tuple[Tensor, Axes | None, Place | None]], shape: tuple[int, ...]
) -> tuple[Axes, Place | None] | None:
    """A product of matrices: rows of the first, columns of the second."""
    (_, first, place), (_, second, other) = sources
    rows = first if first is not None and len(first) == len(shape) else None
    columns = second if second is not None and len(second) == len(shape) else None
    if rows is not None and (held := folded((*rows[:-1], plain(shape[-1])), place)):
        return held if _alike(held[0], shape) == held[0] else None
    if columns is not None:
        axes = _alike((*columns[:-2], plain(shape[-2]), columns[-1]), shape)
        return folded(axes, other) if axes is not None else None
    return None


def _summed(args: Sequence[Any], source: Tensor, axes: Axes, shape: tuple[int, ...]) -> Axes | None:
    """After an ``einsum``: the axes of one operand by their letters, all others new."""
    equation, operands = args[0], [each for each in _nested(args[1:]) if isinstance(each, Tensor)]
    if not isinstance(equation, str) or '->' not in equation or '.' in equation:
        return None
    given, _, made = equation.replace(' ', '').partition('->')
    letters = next((own for own, each in zip(given.split(','), operands) if each is source), '')
    if len(letters) != len(axes) or len(made) != len(shape):
        return None
    return tuple(axes[letters.index(each)] if each in letters else plain(extent) for each, extent in zip(made, shape))


def _regrouped(axes: Axes, shape: tuple[int, ...]) -> Axes | None:
    """After a view of another shape: the factors in the same order, split and joined for the new extents."""
    left = [factor for axis in axes for factor in axis][::-1]
    new: list[Axis] = []
    for extent in shape:
        factors: list[Factor | Chain] = []
        while extent > 1:
            if not left:
                return None
            factor = left.pop()
            if extent % factor.size == 0:
                extent //= factor.size
                factors.append(factor)
            elif factor.size % extent == 0 and isinstance(factor, Factor):
                inner = factor.size // extent
                factors.append(Factor(extent, factor.of, factor.step * inner))
                left.append(Factor(inner, factor.of, factor.step))
                extent = 1
            else:
                return None
        new.append(factors_of(factors))
    return tuple(new) if not left else None


def _viewed(
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    number: int,
    source: Tensor,
    axes: Axes,
    place: Place | None,
) -> tuple[Axes | None, Place | None]:
    """After a permutation, or where parts are taken: the same done to a tensor without data, whose strides tell."""
    view = probed(func, args, kwargs, number, source)
    if view is None:
        return None, None
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
            elif any(each for _, each in parts):
                own = (cut,)
                placed = [each for _, each in parts if each]
                place = placed[0] if len(placed) == 1 else None
            else:
                return None, None
            found.append(own)
        else:
            found.append(plain(extent))
    return tuple(found), place


def probed(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], number: int, source: Tensor
) -> list[tuple[int, int | None, int]] | None:
    """Each axis of a view as its extent, the axis of the source that it is of, and the first element of that.

    None where it is no view: where elements are picked by a tensor, or in steps.
    """
    if not args or args[0] is not source or any(isinstance(each, Tensor) for each in _nested(args[1:])):
        return None
    if any(isinstance(each, list) for each in _nested(args[1:2])) and getattr(func, '__name__', '') == '__getitem__':
        return None
    strides = [1] * source.ndim
    for axis in range(source.ndim - 1, 0, -1):  # as if no axis had an extent of 1, so that no two strides are alike
        strides[axis - 1] = strides[axis] * max(int(source.shape[axis]), 2)
    probe = torch.empty_strided(tuple(source.shape), strides, device='meta')
    made = func(probe, *args[1:], **kwargs)
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


def _nested(values: Any) -> Iterable[Any]:
    for value in values if isinstance(values, (tuple, list)) else (values,):
        yield value
        if isinstance(value, (tuple, list)):
            yield from _nested(value)


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


def _joined(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    sources: Sequence[tuple[Tensor, Axes | None, Place | None]],
    shape: tuple[int, ...],
) -> tuple[Axes, Place | None] | None:
    """Side by side: along an axis of tokens one after the other, else along new channels."""
    tensors = args[0] if args else kwargs.get('tensors', ())
    along = args[1] if len(args) > 1 else kwargs.get('dim', kwargs.get('axis', 0))
    if not isinstance(along, int) or not all(isinstance(each, Tensor) and each.ndim == len(shape) for each in tensors):
        return None
    along %= len(shape)
    known = {id(tensor): (axes, place) for tensor, axes, place in sources}
    parts: list[tuple[int, Place | None]] = []
    others: Axes | None = None
    for tensor in tensors:
        axes, place = known.get(id(tensor), (None, None))
        axis = axes[along] if axes is not None else ()
        whole = whole_of(axis, place) if axes is not None and place is not None else {}
        if len(axis) == 1 and isinstance(axis[0], Chain):
            parts.extend(axis[0].parts)
        elif len(whole) == 2 and place is not None:
            parts.append((extent_of(axis), place.each(AxisPlace.resized, (whole['rows'], whole['columns']))))
        else:
            parts.append((int(tensor.shape[along]), None))
        others = axes if others is None and axes is not None and (len(whole) or _held(axes, along)) else others
    if others is None:
        return None
    if any(place for _, place in parts):
        placed = [place for _, place in parts if place]
        axes = tuple((Chain(tuple(parts)),) if n == along else plain(shape[n]) for n in range(len(shape)))
        return axes, placed[0] if len(placed) == 1 else None
    place = next(place for _, axes, place in sources if axes is others)
    return folded(tuple(plain(shape[n]) if n == along else axis for n, axis in enumerate(others)), place)


def _held(axes: Axes, along: int) -> bool:
    """Whether a grid stands on other axes than this one."""
    return any(isinstance(f, Chain) or f.of for n, axis in enumerate(axes) if n != along for f in axis)
