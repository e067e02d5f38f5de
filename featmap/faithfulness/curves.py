"""Insertion and deletion: a target's value as the most important pixels come or go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from featmap.faithfulness.protocol import Protocol
from featmap.faithfulness.ranking import count_of, ranks

Answer = Callable[[np.ndarray, str], Sequence[Any]]
"""(B, H, W) bool masks, True where a pixel is kept, and a baseline's name, to B answers of any kind."""
Value = Callable[[Sequence[Any], int], np.ndarray]
"""B answers and a target's number to its values in them, (B,)."""


@dataclass(frozen=True)
class Curves:
    """A target's value at each share of the pixels, see :attr:`Protocol.shares`.

    Attributes:
        baseline: What stood in the place of pixels that were away.
        insertion: (n,) float32: that share, the most important, shown on the baseline.
        deletion: (n,) float32: that share taken from the image.
        whole: The value in the whole image.
        bare: The value on the baseline.
    """

    baseline: str
    insertion: np.ndarray = field(repr=False)
    deletion: np.ndarray = field(repr=False)
    whole: float = 0.0
    bare: float = 0.0

    @property
    def insertion_area(self) -> float:
        """The area under insertion: more is better."""
        return area(self.insertion)

    @property
    def deletion_area(self) -> float:
        """The area under deletion: less is better."""
        return area(self.deletion)

    @property
    def gap(self) -> float:
        """Insertion − deletion, of the areas."""
        return self.insertion_area - self.deletion_area


@dataclass(frozen=True)
class Ranked:
    """A map to be measured.

    Attributes:
        heat: (H, W), on the original image.
        targets: The numbers of the targets whose values it is measured by. Most maps have one; what is shown for all
            alike, as by a class-agnostic method, is perturbed once for all of them.
    """

    heat: np.ndarray
    targets: tuple[int, ...] = (0,)


def area(values: np.ndarray) -> float:
    """The trapezoid's area under evenly spaced values, over 0 to 1: (Σ − ½ first − ½ last) / (n − 1)."""
    values = np.asarray(values, np.float64)
    return float((values.sum() - (values[0] + values[-1]) / 2) / (len(values) - 1))


def insertion_deletion(
    heat: np.ndarray,
    measure: Callable[[np.ndarray, str], np.ndarray],
    baseline: str = 'blur',
    protocol: Protocol | None = None,
    seen: np.ndarray | None = None,
    batch_size: int = 8,
) -> Curves:
    """The curves of one map of one target.

    Args:
        heat: (H, W).
        measure: The target's value, (B,), where only the pixels of (B, H, W) bool masks are left of the image, and the
            named baseline is in the place of the others.
        baseline: Its name.
        protocol: The protocol; its areas and seed count.
        seen: (H, W) bool: the pixels that the network sees; None for all.
        batch_size: How many masks at a time.
    """
    found = measured_curves(
        [Ranked(heat)],
        answer=lambda masks, name: list(measure(masks, name)),
        value=lambda answers, _: np.asarray(answers),
        baseline=baseline,
        protocol=protocol or Protocol(),
        seen=seen,
        batch_size=batch_size,
    )
    return found[0][0]


def measured_curves(
    maps: Sequence[Ranked],
    answer: Answer,
    value: Value,
    baseline: str,
    protocol: Protocol,
    seen: np.ndarray | None = None,
    batch_size: int = 8,
) -> list[dict[int, Curves]]:
    """The curves of many maps of one image, whose steps go to the model together; memory holds one batch.

    The whole image and the bare baseline are asked about once for all.

    Returns:
        For each map its curves by the target's number.
    """
    if not maps:
        return []
    shape = maps[0].heat.shape
    everyone = sorted({number for item in maps for number in item.targets})
    ends = answer(np.stack([np.ones(shape, bool), np.zeros(shape, bool)]), baseline)
    whole, bare = {}, {}
    for number in everyone:
        whole[number], bare[number] = (float(one) for one in value(ends, number))
    made = []
    for item in maps:
        rows = np.empty((2, len(item.targets), len(protocol.shares)), np.float32)
        for place, share in enumerate(protocol.shares):  # those in between follow
            if share in (0, 1):
                rows[0, :, place] = [(whole if share else bare)[number] for number in item.targets]
                rows[1, :, place] = [(bare if share else whole)[number] for number in item.targets]
        made.append(rows)

    stream = _masks(maps, protocol, seen)
    while batch := list(islice(stream, batch_size)):
        answers = answer(np.stack([mask for *_, mask in batch]), baseline)
        start = 0
        while start < len(batch):  # what belongs to one map is valued together
            number = batch[start][0]
            stop = next((k for k in range(start, len(batch)) if batch[k][0] != number), len(batch))
            kinds, places = [entry[1] for entry in batch[start:stop]], [entry[2] for entry in batch[start:stop]]
            for row, target in enumerate(maps[number].targets):
                made[number][kinds, row, places] = value(answers[start:stop], target)
            start = stop
    return [
        {
            target: Curves(baseline, rows[0, row].copy(), rows[1, row].copy(), whole[target], bare[target])
            for row, target in enumerate(item.targets)
        }
        for item, rows in zip(maps, made)
    ]


def _masks(
    maps: Sequence[Ranked], protocol: Protocol, seen: np.ndarray | None
) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Number of the map, 0 for insertion or 1 for deletion, place among the shares, what is kept: (H, W) bool."""
    for number, item in enumerate(maps):
        order = ranks(item.heat, seen, protocol.seed)
        pixels = order.size if seen is None else int(seen.sum())
        for place, share in enumerate(protocol.shares):
            if 0 < share < 1:
                inserted = order < count_of(share, pixels)
                yield number, 0, place, inserted
                yield number, 1, place, ~inserted
