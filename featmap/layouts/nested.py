"""The values in what a layer returns, however nested, and the sizes that it hands out beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Leaf:
    """A value inside a layer's output; ``sizes`` are the (h, w) that the layer handed out beside it, nearest first."""

    path: tuple[str, ...]
    value: Any
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def label(self) -> str:
        """The path as text: ``[0][1]``."""
        return ''.join(f'[{key}]' for key in self.path)


def flatten(output: Any, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every value in a nested output, depth first: of tuples, lists, dicts and dataclasses."""
    if isinstance(output, Mapping):
        for key, value in output.items():
            yield from flatten(value, (*path, str(key)))
    elif is_dataclass(output) and not isinstance(output, type):
        for entry in fields(output):
            yield from flatten(getattr(output, entry.name), (*path, entry.name))
    elif isinstance(output, (tuple, list)) and not is_pair(output):
        for index, value in enumerate(output):
            inner = (*path, str(index))
            if isinstance(value, Tensor):
                yield Leaf(inner, value, _sizes_beside(output, index))
            elif not is_pair(value):
                yield from flatten(value, inner)
    else:
        yield Leaf(path, output)


def _sizes_beside(output: Sequence[Any], index: int) -> tuple[tuple[int, int], ...]:
    """As ``tokens, (h, w)`` or ``tokens, h, w`` have it, and as ``before, after, (h, w, h_after, w_after)``."""
    found: list[tuple[int, int]] = []
    row: list[int] = []
    for value in (*output[index + 1 :], None):
        if _is_whole(value):
            row.append(value)
            continue
        found.extend(zip(row[::2], row[1::2]))
        row = []
        if isinstance(value, (tuple, list)) and len(value) % 2 == 0 and all(map(_is_whole, value)):
            found.extend(zip(value[::2], value[1::2]))
    return tuple((int(rows), int(columns)) for rows, columns in found)


def is_pair(value: Any) -> bool:
    """Whether a value is a height and a width."""
    return isinstance(value, (tuple, list, torch.Size)) and len(value) == 2 and all(map(_is_whole, value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
