"""What PyTorch's operations do to places, by their names, and the places that tensors carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from featmap.geometry import Place
from featmap.geometry.places import AxisPlace, merged
from featmap.layouts import EXTRA_TOKENS

_TAG = '_featmap_place'


def place_of(tensor: Tensor) -> Place | None:
    """The place that a tensor carries, whatever its axes are by now."""
    return getattr(tensor, _TAG, None)


def put(tensor: Tensor, place: Place | None) -> None:
    """Make a tensor carry its place; None takes it away."""
    if place is None:
        vars(tensor).pop(_TAG, None)
    else:
        setattr(tensor, _TAG, place)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a nested value."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))


def grid_of(tensor: Tensor) -> tuple[int, int]:
    """The last two extents."""
    return int(tensor.shape[-2]), int(tensor.shape[-1])


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


def _rows_axis(shape: Sequence[int], place: Place | None) -> int | None:
    """Where the rows of a grid stand among the axes, its columns after them; in front of channels last too."""
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
    place = place_of(source)
    at = _rows_axis(source.shape, place)
    if place is None or at is None:
        return NotImplemented

    def after(axis: AxisPlace, dimension: int) -> AxisPlace:
        first = 2 * (source.ndim - 1 - dimension)
        return axis.sampled(-int(pads[first]), 1, int(output.shape[dimension])) if first < len(pads) else axis

    return Place(after(place.rows, at), after(place.columns, at + 1))


def _picked(args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor) -> Any:
    """Indexing with slices, which crops a map, or takes every other pixel of it."""
    source, key = args[0], args[1] if isinstance(args[1], tuple) else (args[1],)
    place = place_of(source)
    at = _rows_axis(source.shape, place)
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
