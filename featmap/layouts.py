"""Whatever a layer returns, as maps of (C, h, w): nested outputs, tokens, channels-last.

A picture of something that is no map would be a lie, so what cannot be placed on the input is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from featmap.errors import LayerError
from featmap.geometry import is_regular

# Strides that token grids have: patches of 2^k pixels, of 14 and 7 (ViT), and what pooling makes of them.
_TOKEN_STRIDES = (4, 8, 14, 16, 28, 32, 56, 64, 7, 2, 1, 128)
EXTRA_TOKENS = (0, 1, 2, 5, 4)
"""Tokens that stand before the grid: none, class, class + distillation, class + 4 registers, 4 registers."""
_LEVEL_STARTS = (4, 8, 16, 32)


@dataclass(frozen=True)
class Leaf:
    """A value inside a layer's output; ``grid`` is the (h, w) that the layer handed out beside it, if any."""

    path: tuple[str, ...]
    value: Any
    grid: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """The path as text: ``[0][1]``."""
        return ''.join(f'[{key}]' for key in self.path)


@dataclass(frozen=True)
class Map:
    """A batch of maps: (N, C, h, w), a view of the layer's output, and its path as text."""

    path: str
    features: Tensor


def flatten(output: Any, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every value in a nested output, depth first."""
    if isinstance(output, Mapping):
        for key, value in output.items():
            yield from flatten(value, (*path, str(key)))
    elif isinstance(output, (tuple, list)) and not _is_pair(output):
        for index, value in enumerate(output):
            following = output[index + 1] if index + 1 < len(output) else None
            inner = (*path, str(index))
            if isinstance(value, Tensor) and following is not None and _is_pair(following):
                yield Leaf(inner, value, (int(following[0]), int(following[1])))
            elif not _is_pair(value):
                yield from flatten(value, inner)
    else:
        yield Leaf(path, output)


def maps_of(
    output: Any,
    input_shape: tuple[int, int],
    batch: int = 1,
    path: Sequence[str] = (),
    layer: str = 'the layer',
    grid_of: Callable[[str, Tensor], tuple[int, int] | None] | None = None,
) -> list[Map]:
    """The maps in what a layer returned.

    Args:
        output: A tensor or any nesting of tuples, lists and dicts.
        input_shape: Height and width of the network input, by which token grids and channels-last are told.
        batch: How many images the model was run on.
        path: Keys of the wanted part of the output; all of it by default.
        layer: The layer's name, for messages and to tell what kind of module it is.
        grid_of: Given a path as text and its tensor of tokens, the (h, w) that they are known to form, or None.

    Raises:
        LayerError: where nothing in the output is a map of the image, with the reason.
    """
    leaves = list(flatten(output))
    wanted = [leaf for leaf in leaves if leaf.path[: len(path)] == tuple(path)]
    if not wanted:
        labels = ', '.join(leaf.label for leaf in leaves[:8] if leaf.label) or 'one plain value'
        raise LayerError(f'{layer} has no output {"".join(f"[{key}]" for key in path)}: it puts out {labels}')
    maps: list[Map] = []
    reasons: list[str] = []
    for leaf in wanted:
        if grid_of and not leaf.grid and isinstance(leaf.value, Tensor) and leaf.value.ndim == 3:
            leaf = replace(leaf, grid=grid_of(leaf.label, leaf.value))
        try:
            maps.extend(_maps_of_leaf(leaf, input_shape, batch, layer))
        except _NoMapError as reason:
            reasons.append(f'{leaf.label or "its output"} is {reason}')
    if not maps:
        raise LayerError(f'{layer} puts out no feature map: {"; ".join(reasons[:3])}')
    return maps


class _NoMapError(Exception):
    """Why a value is no map."""


def _maps_of_leaf(leaf: Leaf, input_shape: tuple[int, int], batch: int, layer: str) -> list[Map]:
    value, kind = leaf.value, type(leaf.value).__name__
    if not isinstance(value, Tensor):
        raise _NoMapError(f'a {kind}, expected a tensor')
    shape = f'a tensor of shape {tuple(value.shape)}'
    if not value.is_floating_point():
        raise _NoMapError(f'{shape} of {value.dtype}, expected floating-point features')
    if value.ndim not in (3, 4) or value.numel() == 0:
        raise _NoMapError(f'{shape}, expected (N, C, H, W) or tokens (N, L, C)')
    parts = layer.split('.')
    if 'roi_head' in parts:
        raise _NoMapError(f'{shape}: features of regions, one per box and not one per image; take neck instead')
    if value.ndim == 3 and value.shape[0] != batch and value.shape[1] == batch:
        value = value.transpose(0, 1)  # (L, N, C), the order of torch's own transformers
    if value.shape[0] != batch:
        raise _NoMapError(
            f'{shape}: its first axis is not the batch of {batch} but regions, windows or queries, so it has no place '
            'in the image'
        )
    if value.ndim == 4:
        return [Map(leaf.label, _channels_first(value, shape, input_shape))]
    if value.shape[1] == value.shape[2] and _sums_to_one(value):
        raise _NoMapError(f'{shape}: attention between {value.shape[1]} tokens, not features of cells')
    if 'decoder' in parts:
        raise _NoMapError(f'{shape}: one row per object query, which has no place in the image')
    return _grids_of_tokens(value, shape, leaf, input_shape, parts)


def _sums_to_one(value: Tensor) -> bool:
    """Whether each row is a distribution, as a softmax over keys makes it; (L, L) alone could be L channels."""
    rows = value.float()
    return bool((rows.amin() >= 0) & ((rows.sum(dim=-1) - 1).abs().amax() < 1e-2))


def _channels_first(value: Tensor, shape: str, input_shape: tuple[int, int]) -> Tensor:
    _, second, third, last = value.shape
    if third == last and token_grid(last, input_shape) and not is_regular(input_shape, (third, last)):
        raise _NoMapError(f'{shape}: attention between {last} tokens, not features of cells')
    if not is_regular(input_shape, (third, last)) and is_regular(input_shape, (second, third)):
        return value.permute(0, 3, 1, 2)
    return value


def _grids_of_tokens(
    tokens: Tensor, shape: str, leaf: Leaf, input_shape: tuple[int, int], names: list[str]
) -> list[Map]:
    count = tokens.shape[1]
    if leaf.grid and count - leaf.grid[0] * leaf.grid[1] in EXTRA_TOKENS:
        return [Map(leaf.label, _to_grid(tokens[:, count - leaf.grid[0] * leaf.grid[1] :], leaf.grid))]
    # A head's rows are object queries, whose number may happen to fit a grid. Only its encoder has tokens of cells.
    in_head = any(name.endswith('head') for name in names) and 'encoder' not in names
    found = None if in_head else token_grid(count, input_shape)
    # Levels before extra tokens: far fewer counts come out as levels by chance.
    levels = [] if found and not found[1] else _level_grids(count, input_shape)
    if 'pixel_decoder' in names:
        levels.reverse()  # Mask2Former's go from coarse to fine
    if levels:
        parts = tokens.split([rows * columns for rows, columns in levels], dim=1)
        return [
            Map(f'{leaf.label}[level {index}]', _to_grid(part, grid))
            for index, (part, grid) in enumerate(zip(parts, levels))
        ]
    if found:
        grid, extra = found
        return [Map(leaf.label, _to_grid(tokens[:, extra:], grid))]
    if in_head:
        raise _NoMapError(f'{shape}: one row per object query, which has no place in the image')
    raise _NoMapError(f'{shape}: {count} tokens fit no grid over an input of {input_shape[0]}x{input_shape[1]}')


def token_grid(count: int, input_shape: tuple[int, int]) -> tuple[tuple[int, int], int] | None:
    """The (h, w) grid that ``count`` tokens form over the input, and how many extra tokens stand before it."""
    for extra in EXTRA_TOKENS:
        for stride in _TOKEN_STRIDES:
            for grid in (_ceil_grid(input_shape, stride), _floor_grid(input_shape, stride)):
                if grid[0] * grid[1] == count - extra:
                    return grid, extra
    return None


def _level_grids(count: int, input_shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Grids of consecutive pyramid levels whose cells add up to ``count`` (encoders of deformable DETRs)."""
    for start in _LEVEL_STARTS:
        grids: list[tuple[int, int]] = []
        stride = start
        while sum(rows * columns for rows, columns in grids) < count and stride <= 256:
            grids.append(_ceil_grid(input_shape, stride))
            stride *= 2
        if len(grids) > 1 and sum(rows * columns for rows, columns in grids) == count:
            return grids
    return []


def _to_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, grid)


def _ceil_grid(input_shape: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-input_shape[0] // stride), -(-input_shape[1] // stride)


def _floor_grid(input_shape: tuple[int, int], stride: int) -> tuple[int, int]:
    return input_shape[0] // stride, input_shape[1] // stride


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, (tuple, list, torch.Size))
        and len(value) == 2
        and all(isinstance(item, int) for item in value)
    )
