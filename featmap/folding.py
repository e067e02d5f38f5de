"""A layer tree cut at a depth, so that it can be read at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from featmap.layer_tree import LayerInfo

MOST_LINES = 100
"""A longer tree is folded where no depth is asked for."""


@dataclass(frozen=True)
class Line:
    """A layer that is shown, and how many layers inside it are not."""

    layer: LayerInfo
    hidden: int = 0


def fold(layers: Sequence[LayerInfo], depth: int | None = None) -> list[Line]:
    """The layers down to a depth, in their order.

    Args:
        layers: Parents before children.
        depth: 1 for the layers that no other of these holds; None for as deep as :data:`MOST_LINES` lines allow.
    """
    depths = _depths(layers)
    if depth is None:
        depth = _deepest(list(depths.values()))
    hidden: Counter[str] = Counter()
    for name, own in depths.items():
        if own > depth:
            hidden[next(above for above in _above(name) if depths.get(above) == depth)] += 1
    return [Line(layer, hidden[layer.name]) for layer in layers if depths[layer.name] <= depth]


def _depths(layers: Sequence[LayerInfo]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for layer in layers:
        parent = next((above for above in _above(layer.name) if above in depths), None)
        depths[layer.name] = 1 if parent is None else depths[parent] + 1
    return depths


def _deepest(depths: list[int]) -> int:
    """The most levels that stay within the lines, and at least one."""
    fitting = [level for level in range(1, max(depths, default=1) + 1) if sum(d <= level for d in depths) <= MOST_LINES]
    return max(fitting, default=1)


def _above(name: str) -> Iterator[str]:
    """The names of what holds a layer, nearest first."""
    while '.' in name:
        name = name.rpartition('.')[0]
        yield name
