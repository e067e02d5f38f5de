"""Where the keys of attention stand in the image: its tokens, taken as tokens that hold their own numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from featmap.attention.reading import numbered
from featmap.errors import LayerError
from featmap.geometry import Cells, nominal_stride
from featmap.layers import Target
from featmap.layouts import maps_of
from featmap.placement import Placement

ACROSS_NAMES = ('cross', 'encoder_attn', 'multihead_attn')
"""Parts of the names of attention between object queries and cells."""


@dataclass(frozen=True)
class KeyMap:
    """Keys that are cells of a map: (h, w), which key each is, and how they lie in the network input."""

    numbers: Tensor
    cells: Cells


@dataclass(frozen=True)
class Keys:
    """The maps that keys form, or the reason why they form none.

    Attributes:
        layer: Whose they are.
        maps: One, or one a level.
        reason: Why there is none.
    """

    layer: str
    maps: tuple[KeyMap, ...] = ()
    reason: str = ''


KeysOf = Callable[[str, int, Tensor, Sequence[tuple[int, int]]], Keys]
"""Layer, number of its call, tokens (1, n, 1) that hold their numbers, and the grids that these form, where known."""


def keys_by(placement: Placement, model: nn.Module, input_shape: tuple[int, int]) -> KeysOf:
    """What a forward, followed by a placement meanwhile, says of keys.

    Args:
        placement: Inside its ``watched`` block.
        model: The model.
        input_shape: Height and width of the network input.
    """

    def keys_of(layer: str, call: int, tokens: Tensor, grids: Sequence[tuple[int, int]]) -> Keys:
        target = Target(layer, model.get_submodule(layer), ('keys', str(call)))
        known = partial(placement.layouts_of(target), target.label)
        try:
            maps = maps_of(tokens, input_shape, 1, (), 'it', lambda _, value: known(value))
        except LayerError as error:
            found = Keys(layer, reason=str(error))
        else:
            placed = [(each.features[0, 0].round().long(), placement.cells(target, each)) for each in maps]
            found = Keys(layer, tuple(KeyMap(numbers, cells) for numbers, cells in placed))
        if not grids or list(grids) == [tuple(each.numbers.shape) for each in found.maps]:
            return found
        return Keys(layer, tuple(_one_after_another(grids, input_shape, tokens.device)))

    return keys_of


def _one_after_another(
    grids: Sequence[tuple[int, int]], input_shape: tuple[int, int], device: torch.device
) -> Iterator[KeyMap]:
    """Levels whose strides only their sizes tell."""
    start = 0
    for rows, columns in grids:
        numbers = torch.arange(start, start + rows * columns, device=device).view(rows, columns)
        start += rows * columns
        yield KeyMap(numbers, Cells(nominal_stride(input_shape, (rows, columns))))


def numbers_of(weights: Tensor, layer: str) -> Tensor:
    """Tokens (1, n, 1) that hold their numbers, for the keys of weights (…, heads, rows, keys)."""
    weights = weights.detach() if weights.ndim == 3 else weights.detach()[0]
    # Of tokens among themselves, rows are what is traced.
    within = weights.shape[-2] == weights.shape[-1] and not any(name in layer for name in ACROSS_NAMES)
    return numbered(weights, -2 if within else -1)


def numbers_like(tokens: Tensor) -> Tensor:
    """The same for tokens (1, n, 1)."""
    count = torch.arange(tokens.shape[1], dtype=torch.float32, device=tokens.device)
    return torch.zeros_like(tokens.detach(), dtype=torch.float32) + count.view(1, -1, 1)
