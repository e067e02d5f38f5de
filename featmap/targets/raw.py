"""``Raw``: one tensor of raw predictions, and the places in it that a gradient hits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from featmap.answers import RawLayer
from featmap.meaning import Meaning, unknown
from featmap.targets.trace import Trace

Place = tuple[int, ...]
"""Of a dense prediction the level, the image, row and column; of others the indices of its row."""


@dataclass(frozen=True, eq=False)
class Raw:
    """One tensor of raw predictions: (N, C, h, w) where they are dense, else rows of (..., K).

    Attributes:
        layer: The layer that put it out.
        path: Where in that layer's output: ``[0][1]``.
        call: Number of the call of the layer in this forward.
        tensor: The tensor, in the graph.
    """

    layer: RawLayer
    path: str
    call: int
    tensor: Tensor

    @property
    def level(self) -> int:
        """Of which pyramid level it is: as the layer says, or the second number of its path, or that of the call."""
        if self.layer.level is not None:
            return self.layer.level
        keys = re.findall(r'\[(\d+)\]', self.path)
        return int(keys[1]) if len(keys) > 1 else self.call

    @cached_property
    def meaning(self) -> Meaning:
        """What its channels, or the numbers of a row, stand for."""
        if self.layer.head is None:
            return unknown('it is not known what the head puts out')
        channels = self.tensor.shape[1 if self.layer.kind == 'dense' else -1]
        return self.layer.head.of(self.path, int(channels))

    @property
    def predicts(self) -> bool:
        """Whether it is a prediction; a head of rows may put out features too, which is known where the rest is."""
        return self.layer.kind == 'dense' or self.layer.head is None or bool(self.meaning.kind)

    def places(self, gradient: Tensor) -> dict[Place, list[tuple[int, float]]]:
        """By place, the channels in which a gradient is finite and not zero, and its values there.

        A gradient that is not finite is that of another output: where the width of a box overflows, zero times
        infinity is left of it.
        """
        found: dict[Place, list[tuple[int, float]]] = {}
        where = (gradient.isfinite() & (gradient != 0)).nonzero()
        values = gradient[tuple(where.T)].tolist()
        for index, value in zip(where.tolist(), values):
            if self.layer.kind == 'dense':
                image, channel, row, column = index
                place: Place = (self.level, image, row, column)
            else:
                place, channel = tuple(index[:-1]), index[-1]
            found.setdefault(place, []).append((channel, value))
        return found

    def row(self, place: Place) -> Tensor:
        """The numbers at a place: (C,) of all anchors of a cell, or (K,)."""
        if self.layer.kind == 'dense':
            return self.tensor[place[1], :, place[2], place[3]]
        return self.tensor[place]


@dataclass(frozen=True, eq=False)
class Found:
    """A traced prediction, with the raw numbers that its parts are made of.

    Attributes:
        trace: Where it is.
        raws: The raw outputs in which its score's gradient is not zero.
        place: Its place in them.
        channel: The channel of the class score, which a better score raises most.
    """

    trace: Trace
    raws: tuple[Raw, ...]
    place: Place
    channel: int
