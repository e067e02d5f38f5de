"""What PyTorch's operations do to places, by their names, and the places that tensors carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from featmap.geometry import Place
from featmap.geometry.places import AxisPlace, merged
from featmap.layouts import EXTRA_TOKENS
from featmap.tracing.axes import Axes, as_tokens, on_axes, read

_TAG = '_featmap_place'
_AXES = '_featmap_axes'


def place_of(tensor: Tensor) -> Place | None:
    """The place that a tensor carries, whatever its axes are by now."""
    return getattr(tensor, _TAG, None)


def axes_of(tensor: Tensor) -> Axes | None:
    """The axes that a tensor carries, where it is known how a grid or tokens stand in it."""
    return getattr(tensor, _AXES, None)


def put(tensor: Tensor, place: Place | None, axes: Axes | None = None) -> None:
    """Make a tensor carry its place and its axes; None takes them away."""
    for tag, value in ((_TAG, place), (_AXES, axes)):
        if value is None:
            vars(tensor).pop(tag, None)
        else:
            setattr(tensor, tag, value)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a nested value."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))


def grid_of(tensor: Tensor, axis: int = -2) -> tuple[int, int]:
    """Two extents, the last ones by default."""
    return int(tensor.shape[axis]), int(tensor.shape[axis + 1])


def on_grid(tensor: Tensor) -> Place | None:
    """The place of a tensor (…, h, w), taken to its own grid where blocks of cells were folded into channels."""
    place = place_of(tensor)
    if place is None or tensor.ndim < 3 or place.grid == grid_of(tensor):
        return place if tensor.ndim >= 3 else None
    folded = _folded(place, tensor.shape)
    return folded if folded.grid == grid_of(tensor) else None


def _folded(place: Place, shape: Sequence[int]) -> Place:
    """The place of blocks of cells, where the last two extents are a part of the grid's; else the place itself."""
    grid = (int(shape[-2]), int(shape[-1]))
    if min(grid) < 1 or any(own % new for own, new in zip(place.grid, grid)):
        return place
    return place.each(AxisPlace.resized, grid)


def rows_axis(tensor: Tensor) -> int | None:
    """Where the rows of a tensor's grid stand among its axes, its columns after them."""
    place = place_of(tensor)
    layout = read(axes_of(tensor), place, tensor.shape)
    if layout is None or place is None:
        return _rows_axis(tensor.shape, place)
    adjacent = len(layout.axes) == 2 and layout.axes[1] == layout.axes[0] + 1
    return layout.axes[0] if adjacent and grid_of(tensor, layout.axes[0]) == place.grid else None


def _rows_axis(shape: Sequence[int], place: Place | None) -> int | None:
    """The same by the extents alone; in front of channels last too."""
    if place is None or len(shape) < 3:
        return None
    found = [k for k in range(len(shape) - 1) if (shape[k], shape[k + 1]) == place.grid]
    if not found:
        return None
    return found[-1] if len(shape) == 3 or found[-1] else None


def passed_on(places: Sequence[Place], shape: Sequence[int], batch: int, joins: bool) -> Place | None:
    """The place of what an operation of unknown arithmetic made of these, by the grid that its shape still holds.

    Args:
        places: Those of the operation's inputs.
        shape: Of its output.
        batch: How many images there are.
        joins: Whether it puts its inputs side by side, so that a grid cannot hide in the number of elements.
    """
    total = 1
    for extent in shape:
        total *= extent
    fits: list[list[Place]] = [[], [], []]
    for place in dict.fromkeys(places):
        rows, columns = place.grid
        if _rows_axis(shape, place) is not None:
            fits[0].append(place)
        elif any(extent == rows * columns + extra for extent in shape for extra in EXTRA_TOKENS):
            fits[1].append(place)
        elif total and total % (rows * columns) == 0 and not joins:
            fits[2].append(_folded(place, shape) if len(shape) == 4 and shape[0] == batch else place)
    for group in fits:
        if group:
            # Of several grids the finest: a gate of one cell fits everywhere.
            finest = max(place.grid[0] * place.grid[1] for place in group)
            return merged(place for place in group if place.grid[0] * place.grid[1] == finest)
    return None


# --- what operations do to places


def _pair(value: Any) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return (int(values[0]), int(values[-1]))


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], index: int, name: str, default: Any) -> Any:
    return args[index] if len(args) > index else kwargs.get(name, default)


def _input(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    return args[0] if args else kwargs['input']


def windowed(
    source: Tensor, output: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any
) -> Place | None:
    """The place of what a window that moves over (…, h, w) puts out."""
    place = on_grid(source)
    if place is None:
        return None
    kernel, dilations = _pair(kernel_size), _pair(dilation)
    if padding == 'same':
        pads = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilations))
    else:
        pads = (0, 0) if padding == 'valid' else _pair(padding)
    return place.each(AxisPlace.windowed, grid_of(output), kernel, _pair(stride), pads, dilations)


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Place | None:
    weight = _argument(args, kwargs, 1, 'weight', None)
    stride, padding, dilation = (
        _argument(args, kwargs, index, name, default)
        for index, name, default in ((3, 'stride', 1), (4, 'padding', 0), (5, 'dilation', 1))
    )
    return windowed(_input(args, kwargs), output, tuple(weight.shape[-2:]), stride, padding, dilation)


def _transposed(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Place | None:
    place, weight = on_grid(_input(args, kwargs)), _argument(args, kwargs, 1, 'weight', None)
    if place is None:
        return None
    stride, padding, dilation = (
        _pair(_argument(args, kwargs, index, name, default))
        for index, name, default in ((3, 'stride', 1), (4, 'padding', 0), (7, 'dilation', 1))
    )
    return place.each(AxisPlace.transposed, grid_of(output), tuple(weight.shape[-2:]), stride, padding, dilation)


def _pooling(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor, dilated: bool = True) -> Place | None:
    kernel = _argument(args, kwargs, 1, 'kernel_size', 1)
    stride = _argument(args, kwargs, 2, 'stride', None)
    padding = _argument(args, kwargs, 3, 'padding', 0)
    dilation = _argument(args, kwargs, 4, 'dilation', 1) if dilated else 1
    return windowed(
        _input(args, kwargs), output, kernel, kernel if stride in (None, (), []) else stride, padding, dilation
    )


def _average_pooling(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Place | None:
    return _pooling(args, kwargs, output, dilated=False)


def _power_pooling(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Place | None:
    kernel, stride = _argument(args, kwargs, 2, 'kernel_size', 1), _argument(args, kwargs, 3, 'stride', None)
    return windowed(_input(args, kwargs), output, kernel, stride or kernel, 0, 1)


def _resized(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Place | None:
    """Interpolation, adaptive pooling, and channels to pixels or back."""
    place = on_grid(_input(args, kwargs))
    if place is None or output.ndim < 3:
        return None
    rows, columns = grid_of(output)
    nearest = kwargs.get('mode', 'nearest') == 'nearest' and 'scale_factor' in kwargs
    corners = bool(kwargs.get('align_corners'))
    return Place(place.rows.resized(rows, nearest, corners), place.columns.resized(columns, nearest, corners))


def _unfolded(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Any:
    """``F.unfold``, which makes each window a column of tokens; a tensor's own method of that name slides one axis."""
    place, kernel = on_grid(_input(args, kwargs)), _argument(args, kwargs, 1, 'kernel_size', 1)
    if place is None or len(args) > 2 or output.ndim != 3:
        return NotImplemented
    kernel, dilation = _pair(kernel), _pair(kwargs.get('dilation', 1))
    padding, stride = _pair(kwargs.get('padding', 0)), _pair(kwargs.get('stride', 1))
    cells = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in zip(place.grid, kernel, dilation, padding, stride)
    )
    return place.each(AxisPlace.windowed, cells, kernel, stride, padding, dilation)


def _padded(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Any:
    source, pads = _input(args, kwargs), _argument(args, kwargs, 1, 'pad', ())
    place, at = place_of(source), rows_axis(source)
    if place is None or at is None:
        return NotImplemented

    def after(axis: AxisPlace, dimension: int) -> AxisPlace:
        first = 2 * (source.ndim - 1 - dimension)
        return axis.sampled(-int(pads[first]), 1, int(output.shape[dimension])) if first < len(pads) else axis

    return Place(after(place.rows, at), after(place.columns, at + 1))


def _picked(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Any:
    """Indexing with slices, which crops a map, or takes every other pixel of it."""
    source, key = args[0], args[1] if isinstance(args[1], tuple) else (args[1],)
    place, at = place_of(source), rows_axis(source)
    if place is None or at is None or any(isinstance(each, (Tensor, list)) for each in key):
        return NotImplemented
    given = sum(each is not None and each is not Ellipsis for each in key)
    dimension, axes = 0, {at: place.rows, at + 1: place.columns}
    for each in key:
        if each is Ellipsis:
            dimension += source.ndim - given
        elif each is not None:
            if dimension in axes:
                if not isinstance(each, slice):
                    return None  # one row or column is no map
                chosen = range(*each.indices(axes[dimension].cells))
                if not chosen:
                    return None
                axes[dimension] = axes[dimension].sampled(chosen[0], chosen.step, len(chosen))
            dimension += 1
    return Place(axes[at], axes[at + 1])


JOINS = ('cat', 'concat', 'concatenate', 'hstack', 'vstack')
RULES: dict[str, Callable[[Sequence[Any], Mapping[str, Any], Tensor], Any]] = {
    **dict.fromkeys(('conv2d', '_convolution'), _convolution),
    'conv_transpose2d': _transposed,
    **dict.fromkeys(('max_pool2d', 'max_pool2d_with_indices'), _pooling),
    'avg_pool2d': _average_pooling,
    'lp_pool2d': _power_pooling,
    **dict.fromkeys(
        ('interpolate', 'upsample', 'adaptive_avg_pool2d', 'adaptive_max_pool2d', 'adaptive_max_pool2d_with_indices',
         'pixel_shuffle', 'pixel_unshuffle'),
        _resized,
    ),
    'unfold': _unfolded,
    'pad': _padded,
    '__getitem__': _picked,
}  # fmt: skip
"""Of operations by their name; ``NotImplemented`` where a call is none that the rule is about."""


def axes_after(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor, place: Place) -> Axes | None:
    """How the grid stands in what an operation of :data:`RULES` puts out."""
    if name == 'unfold':
        return as_tokens(3, 2, output.shape, place)
    at: int | None = output.ndim - 2
    if name in ('pad', '__getitem__'):
        at = rows_axis(_input(args, kwargs))
    if name == '__getitem__' and at is not None:
        key = args[1] if isinstance(args[1], tuple) else (args[1],)
        at = _after_key(key, args[0].ndim, at)
    return None if at is None else on_axes(output.shape, at, at + 1)


def _after_key(key: Sequence[Any], ndim: int, axis: int) -> int:
    """Where an axis stands after indexing by numbers, slices, ``None`` and ``...``, which does not pick one of it."""
    given = sum(each is not None and each is not Ellipsis for each in key)
    before, shift = 0, 0
    for each in key:
        if before > axis:
            break
        if each is Ellipsis:
            before += ndim - given
        elif each is None:
            shift += 1
        else:
            shift -= isinstance(each, int)
            before += 1
    return axis + shift
