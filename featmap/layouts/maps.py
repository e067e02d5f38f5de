"""Whatever a layer returns, as maps of (C, h, w): nested outputs, tokens, channels-last.

A picture of something that is no map would be a lie, so what cannot be placed on the input is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from featmap.errors import LayerError, OptionError
from featmap.geometry import is_regular
from featmap.layouts.grids import EXTRA_TOKENS, Grid, Layout, fitting_grid, level_grids, token_grid
from featmap.layouts.nested import Leaf, flatten
from featmap.structures import FeatureMap
from featmap.tokens import Tokens
from featmap.wording import option as written

_MOST_OBLONG = 8  # pooling to a fixed size makes oblong cells, rows of another thing than pixels longer ones
_INSIDE = ('att', 'msa', 'transformer')  # what modules are called that work on windows


@dataclass(frozen=True)
class Map:
    """A batch of maps: (N, C, h, w), a view of the layer's output, its path as text, and what was made of tokens."""

    path: str
    features: Tensor
    tokens: Tokens | None = None


@dataclass(frozen=True)
class _Asked:
    """What is known where a leaf is read: height and width of the input, images, layer, tokens before by hand."""

    input_shape: tuple[int, int]
    batch: int
    layer: str
    extra_tokens: int | None

    @property
    def parts(self) -> list[str]:
        """The parts of the layer's name."""
        return self.layer.split('.')


def maps_of(
    output: Any,
    input_shape: tuple[int, int],
    batch: int = 1,
    path: Sequence[str] = (),
    layer: str = 'the layer',
    layout_of: Callable[[str, Tensor], Layout | None] | None = None,
    extra_tokens: int | None = None,
) -> list[Map]:
    """The maps in what a layer returned.

    Args:
        output: A tensor or any nesting of tuples, lists, dicts and dataclasses.
        input_shape: Height and width of the network input, by which token grids and channels-last are told.
        batch: How many images the model was run on.
        path: Keys of the wanted part of the output; all of it by default.
        layer: The layer's name, for messages and to tell what kind of module it is.
        layout_of: Given a path as text and its tensor, how cells are known to stand in it, or None.
        extra_tokens: How many tokens stand before the cells, where the caller says so.

    Raises:
        LayerError: where nothing in the output is a map of the image, with the reason.
    """
    leaves = list(flatten(output))
    wanted = [leaf for leaf in leaves if leaf.path[: len(path)] == tuple(path)]
    if not wanted:
        labels = ', '.join(leaf.label for leaf in leaves[:8] if leaf.label) or 'one plain value'
        raise LayerError(f'{layer} has no output {"".join(f"[{key}]" for key in path)}: it puts out {labels}')
    asked = _Asked(input_shape, batch, layer, extra_tokens)
    maps: list[Map] = []
    reasons: list[str] = []
    for leaf in wanted:
        layout = layout_of(leaf.label, leaf.value) if layout_of and isinstance(leaf.value, Tensor) else None
        try:
            maps.extend(_maps_of_leaf(leaf, layout, asked))
        except _NoMapError as reason:
            if leaf.value is not None or len(wanted) == 1:
                reasons.append(f'{leaf.label or "its output"} is {reason}')
    if not maps:
        why = '; '.join(reasons[:3]) or 'all that it puts out is None'
        raise LayerError(f'{layer} puts out no feature map: {why}')
    return maps


def check_extra_tokens(extra_tokens: int | None, maps: Sequence[FeatureMap]) -> None:
    """Refuse a number of tokens before the cells where no map was made of tokens.

    Raises:
        OptionError: with what it goes with.
    """
    if extra_tokens is None or not maps or any(item.tokens for item in maps):
        return
    names = ', '.join(dict.fromkeys(item.layer for item in maps[:3]))
    raise OptionError(
        f'{written("extra_tokens", extra_tokens)} has no effect on {names}: it goes with layers that put out tokens'
    )


class _NoMapError(Exception):
    """Why a value is no map."""


def _maps_of_leaf(leaf: Leaf, layout: Layout | None, asked: _Asked) -> list[Map]:
    value, kind = leaf.value, type(leaf.value).__name__
    if not isinstance(value, Tensor):
        raise _NoMapError(f'a {kind}, expected a tensor')
    shape = f'a tensor of shape {tuple(value.shape)}'
    if not value.is_floating_point():
        raise _NoMapError(f'{shape} of {value.dtype}, expected floating-point features')
    if layout and layout.windows:
        raise _NoMapError(f'{shape}: {_in_windows(layout.windows, asked)}')
    if layout and layout.turned:
        raise _NoMapError(f'{shape}: {layout.turned}')
    if value.ndim not in (3, 4) or value.numel() == 0:
        raise _NoMapError(f'{shape}, expected (N, C, H, W) or tokens (N, L, C)')
    if 'roi_head' in asked.parts:
        raise _NoMapError(f'{shape}: features of regions, one per box and not one per image; take neck instead')
    if value.ndim == 3 and _sequence_first(value, layout, asked.batch):
        value = value.transpose(0, 1)  # (L, N, C), the order of torch's own transformers
        layout = layout and Layout((1,), layout.grids)
    if value.shape[0] != asked.batch:
        raise _NoMapError(
            f'{shape}: its first axis is not the batch of {asked.batch} but regions, windows or queries, so it has no '
            'place in the image'
        )
    if layout and layout.axes == (1, 2) and value.ndim == 3:
        value = value.unsqueeze(1)  # a map of one channel, (N, H, W)
        layout = Layout((2, 3))
    in_decoder = 'decoder' in asked.parts or any('decoder' in key for key in leaf.path)
    if in_decoder and not (layout and layout.grids) and value.ndim == 3:
        raise _NoMapError(f'{shape}: one row per object query, which has no place in the image')
    if layout and len(layout.axes) == 1 and not layout.grids:
        raise _NoMapError(f'{shape}: tokens that are no cells, or in an unknown order, and have no place in the image')
    if layout and len(layout.axes) == 1:
        return _known_tokens(value, shape, leaf, layout, asked)
    if value.ndim == 4:
        return [Map(leaf.label, _channels_first(value, shape, layout, asked.input_shape))]
    if value.shape[1] == value.shape[2] and _sums_to_one(value):
        raise _NoMapError(f'{shape}: attention between {value.shape[1]} tokens, not features of cells')
    if value.shape[1] == 1:
        raise _NoMapError(f'{shape}: one token, which has no place in the image')
    return _guessed_tokens(value, shape, leaf, asked)


def _sequence_first(value: Tensor, layout: Layout | None, batch: int) -> bool:
    if layout and len(layout.axes) == 1:
        return layout.axes[0] == 0
    return value.shape[0] != batch and value.shape[1] == batch


def _in_windows(windows: tuple[int, tuple[int, int]], asked: _Asked) -> str:
    """What to say of windows, and the layer around the attention, where they are a map again."""
    count, (rows, columns) = windows
    names = enumerate(asked.parts)
    inside = next((n for n, part in names if any(sign in part for sign in _INSIDE)), len(asked.parts) - 1)
    around = '.'.join(asked.parts[:inside])
    advice = f'; take {around} instead' if around else ''
    return f'{count} windows of {rows}×{columns} cells, each by itself and not one map{advice}'


def _sums_to_one(value: Tensor) -> bool:
    """Whether each row is a distribution, as a softmax over keys makes it; (L, L) alone could be L channels."""
    rows = value.float()
    return bool((rows.amin() >= 0) & ((rows.sum(dim=-1) - 1).abs().amax() < 1e-2))


def _channels_first(value: Tensor, shape: str, layout: Layout | None, input_shape: tuple[int, int]) -> Tensor:
    if layout and len(layout.axes) == 2 and 0 not in layout.axes:
        channels = next(axis for axis in (1, 2, 3) if axis not in layout.axes)
        return value.permute(0, channels, *layout.axes)
    _, second, third, last = value.shape
    if third == last and token_grid(last, input_shape) and not is_regular(input_shape, (third, last)):
        raise _NoMapError(f'{shape}: attention between {last} tokens, not features of cells')
    if third == last > 1 and _sums_to_one(value):
        raise _NoMapError(f'{shape}: attention between {last} tokens or channels, not features of cells')
    if is_regular(input_shape, (third, last)):
        return value
    if is_regular(input_shape, (second, third)):
        return value.permute(0, 3, 1, 2)
    oblong = input_shape[0] * last / (input_shape[1] * third)  # a cell's height by its width
    if not 1 / _MOST_OBLONG <= oblong <= _MOST_OBLONG:
        raise _NoMapError(f'{shape}: {third}×{last} fit no input of {input_shape[0]}x{input_shape[1]}')
    return value


def _known_tokens(value: Tensor, shape: str, leaf: Leaf, layout: Layout, asked: _Asked) -> list[Map]:
    """The maps of tokens of which it is known where their cells are; (N, heads, L, C) have theirs as channels."""
    axis = layout.axes[0]
    count = int(value.shape[axis])
    if list(value.shape[1:]).count(count) > 1 and _sums_to_one(value):
        raise _NoMapError(f'{shape}: attention between {count} tokens, not features of cells')
    tokens = value.movedim(axis, 1)
    tokens = tokens if tokens.ndim == 3 else tokens.flatten(2)
    return _laid_out(tokens, leaf, _by_hand(layout.grids, count, shape, asked), known=True)


def _by_hand(grids: Sequence[Grid], count: int, shape: str, asked: _Asked) -> Sequence[Grid]:
    """The grids as they are, or where the caller says; tokens that are just one grid have none before it."""
    extra = asked.extra_tokens
    if extra is None or len(grids) != 1 or grids[0].size == count:
        return grids
    (grid,) = grids
    if extra + grid.size > count:
        raise _NoMapError(
            f'{shape}: {count} tokens without the {extra} of {written("extra_tokens")} are fewer than the grid of '
            f'{grid.shape[0]}×{grid.shape[1]}; the model itself has {grid.start} before it'
        )
    return [Grid(grid.shape, extra)]


def _guessed_tokens(tokens: Tensor, shape: str, leaf: Leaf, asked: _Asked) -> list[Map]:
    count, input_shape = int(tokens.shape[1]), asked.input_shape
    extras = EXTRA_TOKENS if asked.extra_tokens is None else (0, asked.extra_tokens)
    for size in leaf.sizes:
        if count - size[0] * size[1] in extras:
            return _laid_out(tokens, leaf, [Grid(size, count - size[0] * size[1])], known=True)
    if asked.extra_tokens is not None:
        for extra in dict.fromkeys((asked.extra_tokens, 0)):
            if found := fitting_grid(count - extra, input_shape):
                return _laid_out(tokens, leaf, [Grid(found, extra)])
        raise _NoMapError(
            f'{shape}: {count - asked.extra_tokens} tokens, those of {written("extra_tokens")} left out, fit no grid '
            f'over an input of {input_shape[0]}x{input_shape[1]}'
        )
    # A head's rows are object queries, whose number may happen to fit a grid. Only its encoder has tokens of cells.
    in_head = any(name.endswith('head') for name in asked.parts) and 'encoder' not in asked.parts
    guess = None if in_head else token_grid(count, input_shape)
    # Levels before extra tokens: far fewer counts come out as levels by chance.
    levels = [] if guess and not guess[1] else level_grids(count, input_shape)
    if 'pixel_decoder' in asked.parts:
        levels.reverse()  # Mask2Former's go from coarse to fine
    if levels:
        starts = [sum(rows * columns for rows, columns in levels[:index]) for index in range(len(levels))]
        return _laid_out(tokens, leaf, [Grid(level, start) for level, start in zip(levels, starts)])
    if guess:
        return _laid_out(tokens, leaf, [Grid(*guess)])
    if in_head:
        raise _NoMapError(f'{shape}: one row per object query, which has no place in the image')
    raise _NoMapError(
        f'{shape}: {count} tokens fit no grid over an input of {input_shape[0]}x{input_shape[1]}; where some stand '
        f'before the grid, {written("extra_tokens")} says how many'
    )


def _laid_out(tokens: Tensor, leaf: Leaf, grids: Sequence[Grid], known: bool = False) -> list[Map]:
    """A map for each grid of tokens (N, L, C)."""
    count = int(tokens.shape[1])
    made = Tokens(count, count - sum(grid.size for grid in grids), known)
    maps = []
    for index, grid in enumerate(grids):
        path = leaf.label if len(grids) == 1 else f'{leaf.label}[level {index}]'
        cells = tokens[:, grid.start : grid.start + grid.size]
        cells = cells.transpose(1, 2)
        if grid.order is not None:
            sizes, order = grid.order
            cells = cells.unflatten(2, sizes).permute(0, 1, *(2 + axis for axis in order)).flatten(2)
        maps.append(Map(path, cells.unflatten(2, grid.shape), made))
    return maps
