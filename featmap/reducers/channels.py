"""Reducers that keep channels as they are: the most active ones, chosen ones, or all of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from featmap.errors import DrawError, OptionError, nearest
from featmap.meaning import SCORE, Meaning
from featmap.options.kinds import parse_channels
from featmap.reducers.base import Reducer, channel_sums, one_thread
from featmap.registry import REDUCERS
from featmap.structures import Reduction
from featmap.wording import option as written


@REDUCERS.register_module('topk')
class TopK(Reducer):
    """The ``k`` channels with the largest signed sum over the image, largest first; all where there are fewer.

    The rule is MMEngine's. A channel that answers with strong negative values ranks last by it; with ``abs`` channels
    are ranked by the sum of magnitudes.
    """

    runner_up = False  # whether the best channel that is not chosen is told

    def __init__(self, k: int = 4, abs: bool = False) -> None:
        if k < 1:
            raise ValueError(f'k must be at least 1, got {k}')
        self.k, self.abs = k, abs

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        with one_thread(features):
            sums = channel_sums(features.abs() if self.abs else features, weights)
            chosen = torch.topk(sums, min(self.k, len(sums))).indices
            best = torch.topk(sums, min(2, len(sums))).values if self.runner_up else sums[chosen]
        # On a device the numbers stay there until the forward is over: reading them would wait for it.
        numbers = chosen if chosen.is_cuda else tuple(chosen.tolist())
        ranking = 'sum of |x|' if self.abs else 'sum'
        return Reduction(features[chosen].float(), numbers, sums=best, ranking=ranking)


@REDUCERS.register_module('select_max')
class SelectMax(TopK):
    """The one channel with the largest signed sum over the image, as MMEngine's ``select_max``."""

    runner_up = True

    def __init__(self, abs: bool = False) -> None:
        super().__init__(k=1, abs=abs)


@REDUCERS.register_module('channels')
class Channels(Reducer):
    """The channels that were named, in the order of their naming: numbers, ranges such as ``'40-47'``, or ``'all'``.

    A name is a class (or ``objectness``, ``centerness``, ``IoU``) of a detection head's scores: its activation applied,
    the largest of all anchors at a cell. ``dog:score`` is the class times objectness or the like, as the score of a
    detection is, and ``score`` that of the best class. Outputs of a head without any of the names are not shown.
    """

    takes_meaning = True

    def __init__(self, channels: Sequence[int | str] | str = 'all') -> None:
        self.channels = parse_channels(channels)

    @property
    def names(self) -> tuple[str, ...]:
        """The names among the channels that were asked for."""
        return () if self.channels == 'all' else tuple(c for c in self.channels if isinstance(c, str))

    def shows(self, meaning: Meaning) -> bool:
        """Whether an output of this meaning has any of the channels; one without a meaning answers for itself."""
        names = self.names
        return len(names) < len(self.channels) or bool(meaning.reason) or any(map(meaning.has, names))

    def __call__(self, features: Tensor, weights: Tensor, meaning: Meaning | None = None) -> Reduction:
        count = features.shape[0]
        if not self.names:
            chosen = tuple(range(count)) if self.channels == 'all' else tuple(int(c) for c in self.channels)
            self._check(chosen, count)
            return Reduction(features[list(chosen)].float(), chosen)
        if meaning is None or not meaning.names:
            reason = meaning.reason if meaning and meaning.reason else 'the map is no output of a detection head'
            raise OptionError(f'no channel is called {self.names[0]!r}: {reason}')
        meaning = meaning.activated()
        planes: list[Tensor] = []
        numbers: list[int | None] = []
        labels: list[str] = []
        for channel in self.channels:
            if isinstance(channel, int):
                self._check((channel,), count)
                planes.append(features[channel].float())
                numbers.append(channel)
                labels.append(f'channel {channel} ({meaning.describe(channel)})')
            elif meaning.has(channel):
                plane, label = meaning.plane(features, channel)
                planes.append(plane)
                numbers.append(None)
                labels.append(label)
        return Reduction(torch.stack(planes), tuple(numbers), names=tuple(labels))

    @staticmethod
    def _check(chosen: Sequence[int], count: int) -> None:
        beyond = [channel for channel in chosen if channel >= count]
        if beyond:
            raise OptionError(f'a map of {count} channels has no channel {beyond[0]}: expected 0 to {count - 1}')


@REDUCERS.register_module('as_image')
class AsImage(Reducer):
    """A 1- or 3-channel map as a grey or RGB picture, as MMEngine draws it for ``topk=-1``."""

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        channels = features.shape[0]
        if channels not in (1, 3):
            raise DrawError(
                f'a map of {channels} channels cannot be drawn as it is, which takes 1 or 3: choose '
                f'{written("topk")} 1 or more, '
                f'or {written("channel_reduction")} squeeze_mean or select_max'
            )
        return Reduction(features.float(), tuple(range(channels)), kind='image')


def check_names(wanted: Sequence[str], heads: Sequence[Any]) -> None:
    """Refuse names of classes that none of these heads has, before an image costs anything.

    Raises:
        OptionError: for the first such name, with the nearest. Where there is no head the reducer says why.
    """
    if not heads:
        return
    known = list(dict.fromkeys(name for head in heads for name in head.names))
    for name in wanted:
        if name.removesuffix(SCORE) not in known and f':{name}' != SCORE:
            raise OptionError(
                f'the head has no class {name.removesuffix(SCORE)!r}; nearest: {", ".join(nearest(name, known))}; '
                f'it has {", ".join(known[:6])}{f", … ({len(known)} in all)" if len(known) > 6 else ""}'
            )


def reasons(reduction: Reduction) -> tuple[str, ...]:
    """For each plane, why its channel was chosen, as text; empty where it was not for what is in it.

    This waits for the device on which the sums are.
    """
    if reduction.sums is None:
        return ()
    sums = [number + 0.0 for number in reduction.sums.tolist()]
    count = len(reduction.channels)
    if len(sums) == count:
        return tuple(f'{reduction.ranking} {_text(number, 3)}' for number in sums)
    best, other = sums[count - 1 :]
    digits = next((n for n in range(3, 10) if _text(best, n) != _text(other, n)), 3)
    return (f'{reduction.ranking} {_text(best, digits)}, next {_text(other, digits)}',)


def _text(number: float, digits: int) -> str:
    """A number with so many digits, and with all those before the point up to a million."""
    whole = len(str(int(abs(number)))) if abs(number) < 1e6 else 0
    return f'{number:.{max(digits, whole)}g}'
