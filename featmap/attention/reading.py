"""Which of a layer's outputs are attention weights: rows of a softmax over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from featmap.errors import OptionError
from featmap.geometry import Query, is_regular, query_text, written_query
from featmap.layouts import Map, flatten, token_grid
from featmap.meaning import Meaning
from featmap.structures import FeatureMap
from featmap.wording import option as written

ATTENTION = 'attention of '
"""Begins what a label says of weights."""
_SLACK = 1e-2  # of a row's sum, in half precision


@dataclass(frozen=True)
class Matrix:
    """Attention weights of one image.

    Attributes:
        path: Where in the layer's output they are, as text.
        weights: (heads, rows, keys): a row is what one query attends to.
        averaged: Whether the layer itself took the mean over its heads.
    """

    path: str
    weights: Tensor
    averaged: bool = False


@dataclass(frozen=True)
class Attended(Map):
    """What one query attends to, as a map (1, heads, h, w).

    Attributes:
        meaning: Whose attention it is; channels are heads.
        averaged: Whether the layer itself took the mean over its heads.
        numbers: (h, w), which key each cell is.
        matrix: (heads, rows, keys), where the query is known only once the forward is over; None otherwise.
    """

    meaning: Meaning = field(default_factory=Meaning)
    averaged: bool = False
    numbers: Tensor | None = None
    matrix: Tensor | None = None

    def of(self, row: int, pixel: tuple[float, float]) -> Attended:
        """The same for an object query of the matrix, found by a pixel."""
        assert self.matrix is not None
        assert self.numbers is not None
        meaning = replace(self.meaning, kind=f'{ATTENTION}object query {row} at {query_text(pixel)}')
        return replace(self, features=attended(self.matrix, row, self.numbers), meaning=meaning, matrix=None)

    @property
    def heads(self) -> str:
        """What a mean over its channels is of, for a label."""
        count = int(self.features.shape[1])
        return 'heads averaged' if self.averaged else f'mean of {count} head{"s" * (count != 1)}'


def matrices_in(output: Any, path: Sequence[str], input_shape: tuple[int, int]) -> list[Matrix]:
    """The attention weights among the wanted part of what a layer put out for one image.

    Args:
        output: A tensor or any nesting of tuples, lists and dicts.
        path: Keys of the wanted part; all of it by default.
        input_shape: Height and width of the network input, by which maps are told from matrices.
    """
    found = []
    for leaf in flatten(output):
        if leaf.path[: len(path)] == tuple(path) and isinstance(leaf.value, Tensor):
            weights = _heads_first(leaf.value)
            if weights is not None and _may_be(weights, input_shape) and _sums_to_one(weights):
                found.append(Matrix(leaf.label, weights.detach(), leaf.value.ndim == 3 and leaf.value.shape[0] == 1))
    return found


def check_answers(query: Query | None, maps: Sequence[FeatureMap]) -> None:
    """Refuse a query where none of the maps is of attention, and the reducer does not take it.

    Raises:
        OptionError: with what it goes with.
    """
    if query is None or not maps or any(item.meaning.startswith(ATTENTION) for item in maps):
        return
    names = ', '.join(dict.fromkeys(item.layer for item in maps[:3]))
    raise OptionError(
        f'{written_query(query)} has no effect on {names} with {maps[0].reducer}: it goes with '
        f'{written("channel_reduction", "similarity")}, or with layers that hand out attention weights'
    )


def attended(matrix: Tensor, row: int, numbers: Tensor) -> Tensor:
    """What a row of (heads, rows, keys) attends to in cells whose keys have these (h, w) numbers: (1, heads, h, w)."""
    return matrix[:, row][:, numbers][None]


def _heads_first(value: Tensor) -> Tensor | None:
    """(1, heads, rows, keys), (1, rows, keys) or (heads, rows, keys) as the last."""
    if not value.is_floating_point() or value.ndim not in (3, 4) or min(value.shape) < 1 or value.shape[-1] < 2:
        return None
    if value.ndim == 3:
        return value
    return value[0] if value.shape[0] == 1 else None


def _may_be(weights: Tensor, input_shape: tuple[int, int]) -> bool:
    """Whether extents speak for a matrix: looking at the values makes the host wait for a device."""
    rows, keys = int(weights.shape[-2]), int(weights.shape[-1])
    return token_grid(keys, input_shape) is not None or not is_regular(input_shape, (rows, keys))


def _sums_to_one(weights: Tensor) -> bool:
    """Whether each row is a distribution, as a softmax over keys makes it."""
    if weights.device.type == 'cpu':  # most that are none are told by one row
        first = weights[0, 0].float()
        if not (first.amin() >= 0) or not (first.sum() - 1).abs() < _SLACK:
            return False
    rows = weights.float()
    return bool((rows.amin() >= 0) & ((rows.sum(dim=-1) - 1).abs().amax() < _SLACK))


def numbered(weights: Tensor, axis: int) -> Tensor:
    """Tokens (1, n, 1) float32 that hold their own numbers, for the rows (-2) or keys (-1) of (heads, rows, keys).

    They are made of the weights, so that they are traced as those are.
    """
    like = weights[:1, :, 0] if axis == -2 else weights[:1, 0]
    return torch.zeros_like(like, dtype=torch.float32)[..., None] + torch.arange(
        like.shape[1], dtype=torch.float32, device=like.device
    ).view(1, -1, 1)
