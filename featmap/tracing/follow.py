"""What operations do to the axes of the tensors that carry a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from featmap.geometry import Place
from featmap.geometry.places import AxisPlace
from featmap.tracing.axes import (
    Axes,
    Axis,
    Chain,
    Factor,
    extent_of,
    factors_of,
    folded,
    holds_cells,
    is_out_of_order,
    others_on,
    plain,
    whole_of,
)
from featmap.tracing.views import nested, no_cells, viewed

_RESHAPES = {
    'view',
    '_unsafe_view',
    'reshape',
    'flatten',
    'unflatten',
    'squeeze',
    'unsqueeze',
    'view_as',
    'reshape_as',
    'ravel',
}
_VIEWS = {'permute', 'transpose', 'movedim', 'moveaxis', 'swapaxes', 'swapdims', 't', 'adjoint', '__get__', '__iter__',
          'select', 'narrow', 'slice', 'split', 'split_with_sizes', 'chunk', 'unsafe_chunk', 'unsafe_split',
          'tensor_split', 'unbind', '__getitem__'}  # fmt: skip
_PRODUCTS = {'matmul', '__matmul__', 'bmm'}
_REDUCTIONS = {'mean', 'sum', 'max', 'min', 'amax', 'amin', 'median', 'prod', 'std', 'var', 'logsumexp'}
_JOINS = {'cat', 'concat', 'concatenate'}
FIRST_ONLY = {'scaled_dot_product_attention', 'multi_head_attention_forward', '_native_multi_head_attention'}
"""A row of their output belongs to a row of the first argument, the queries."""
_SHUFFLES = {'gather', 'index_select', 'sort', 'topk', 'take_along_dim', 'flip', 'fliplr', 'flipud', 'rot90', 'take',
             'tensordot', 'hstack', 'vstack', 'repeat', 'repeat_interleave'}  # fmt: skip


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
    if name in _PRODUCTS and len(sources) == 2:
        return _multiplied(sources, shape)
    if name in FIRST_ONLY and not sources:
        return _answered(name, args, kwargs, number, shape)
    aside = None
    for source, axes, place in sources:
        if axes is None:
            continue
        found: Axes | None
        if name in _PRODUCTS and args and args[0] is not source:
            found = _alike(tuple(plain(extent_of(axis)) for axis in axes[:-1]) + axes[-1:], shape)
        elif name in _REDUCTIONS and not any(isinstance(each, Tensor) for each in args[1:]):
            found = _reduced(args, kwargs, axes, shape)
        elif name == 'einsum':
            found = _summed(args, source, axes, shape)
        elif name in _RESHAPES:
            found = _regrouped(axes, shape)
        elif name in _VIEWS:
            found, place = viewed(func, args, kwargs, number, source, axes, place, shape)
        elif name == 'stack':
            new = args[1] if len(args) > 1 else kwargs.get('dim', 0)
            new %= len(shape)
            found = (*axes[:new], plain(shape[new]), *axes[new:])
        elif name == 'view_as_complex':
            found = axes[:-1]
        elif name == 'view_as_real':
            found = (*axes, plain(2))
        elif name in _SHUFFLES:
            found = no_cells(axes, place, source.shape, shape)
            if found is None and name == 'flip':  # a map, of which it is known that it is mirrored
                return axes, place
        elif source.shape == shape and any(map(holds_cells, axes)):
            return axes, place
        else:
            found = _alike(axes, shape)
        if found is not None and len(found) == len(shape) and (held := folded(found, place)):
            if any(map(holds_cells, held[0])):
                return held
            aside = aside or held
    return aside


def _answered(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], number: int, shape: tuple[int, ...]
) -> tuple[Axes, Place | None] | None:
    """Attention of queries that are no cells: as many rows as there are of those, which are none either.

    Where there are as many queries as keys, they may be cells that were lost sight of.
    """
    key = args[1] if len(args) > 1 else kwargs.get('key')
    # (L, N, C) and weights (N, L, S) of the one function, (N, heads, L, C) of the other.
    rows, keys = (number, 0) if name == 'multi_head_attention_forward' else (len(shape) - 2, -2)
    if not isinstance(key, Tensor) or key.ndim < 2 or shape[rows] == key.shape[keys]:
        return None
    return others_on(shape, rows), None


def _alike(axes: Axes, shape: tuple[int, ...]) -> Axes | None:
    """After an operation that keeps the number of axes: those of another extent are new."""
    if len(axes) != len(shape):
        return None
    return tuple(axis if extent_of(axis) == extent else plain(extent) for axis, extent in zip(axes, shape))


def _reduced(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, shape: tuple[int, ...]) -> Axes | None:
    """Without the axes that a mean or another number was taken of, or with one element each instead."""
    if len(axes) == len(shape):
        return _alike(axes, shape)
    taken = kwargs.get('dim', kwargs.get('axis', args[1] if len(args) > 1 else None))
    if taken is None:
        return None
    gone = {axis % len(axes) for axis in (taken if isinstance(taken, (tuple, list)) else (taken,))}
    return tuple(axis for number, axis in enumerate(axes) if number not in gone)


def _multiplied(
    sources: Sequence[tuple[Tensor, Axes | None, Place | None]], shape: tuple[int, ...]
) -> tuple[Axes, Place | None] | None:
    """A product of matrices: rows of the first, columns of the second."""
    (_, first, place), (_, second, other) = sources
    rows = first if first is not None and len(first) == len(shape) else None
    columns = second if second is not None and len(second) == len(shape) else None
    if columns is not None and not (rows is not None and any(map(holds_cells, rows[:-1]))):
        axes = _alike((*columns[:-2], plain(shape[-2]), columns[-1]), shape)
        if axes is not None and (held := folded(axes, other)):
            return held
    if rows is not None:
        if (held := folded((*rows[:-1], plain(shape[-1])), place)) and _alike(held[0], shape) == held[0]:
            return held
        if holds_cells(rows[-1]) and extent_of(rows[-1]) != shape[-2]:  # cells are summed up for rows that are none
            return others_on(shape, len(shape) - 2), None
    return None


def _summed(args: Sequence[Any], source: Tensor, axes: Axes, shape: tuple[int, ...]) -> Axes | None:
    """After an ``einsum``: the axes of one operand by their letters, all others new."""
    equation, operands = args[0], [each for each in nested(args[1:]) if isinstance(each, Tensor)]
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
        elif is_out_of_order(axis, place):
            return others_on(shape, along), None
        elif len(whole) == 2 and place is not None:
            parts.append((extent_of(axis), place.each(AxisPlace.resized, (whole['rows'], whole['columns']))))
        else:
            parts.append((int(tensor.shape[along]), None))
        others = axes if others is None and axes is not None and (len(whole) or _held(axes, along)) else others
    if any(place for _, place in parts) or any(
        len(axes[along]) == 1 and isinstance(axes[along][0], Chain) for _, axes, _ in sources if axes is not None
    ):
        placed = [place for _, place in parts if place]
        axes = tuple((Chain(tuple(parts)),) if n == along else plain(shape[n]) for n in range(len(shape)))
        return axes, placed[0] if len(placed) == 1 else None
    if others is None:
        return None
    place = next(place for _, axes, place in sources if axes is others)
    return folded(tuple(plain(shape[n]) if n == along else axis for n, axis in enumerate(others)), place)


def _held(axes: Axes, along: int) -> bool:
    """Whether a grid stands on other axes than this one."""
    return any(isinstance(f, Chain) or f.of for n, axis in enumerate(axes) if n != along for f in axis)
