"""What the numbers of a layer stand for that puts out raw predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from featmap.meaning import Meaning, repeated, unknown

BOX = tuple(f'box {number}' for number in range(4))
"""Which of the four is which only the model's decoding knows."""


@dataclass(frozen=True)
class LayerMeaning:
    """What the numbers of a layer mean, a group of them for each anchor.

    Attributes:
        meaning: That of one anchor.
        paths: The meanings of outputs at other paths than the top.
    """

    meaning: Meaning
    paths: tuple[tuple[str, Meaning], ...] = ()

    def of(self, path: str, channels: int) -> Meaning:
        """The meaning of the output at a path, of so many channels, or numbers a row."""
        meaning = dict(self.paths).get(path, self.meaning)
        each = len(meaning.attributes)
        if not each or channels % each:
            return unknown(f'its {channels} channels are not {each} for each anchor', meaning.kind)
        return replace(meaning, anchors=channels // each)


def class_meaning(count: int, classes: Sequence[str], activation: str, background: int | None = None) -> Meaning:
    """The meaning of scores for so many classes.

    Args:
        count: How many numbers there are.
        classes: The model's class names; numbers stand for them where there are not as many, beside a background.
        activation: ``sigmoid``, or ``softmax``.
        background: Which of the numbers is that of none, if any.
    """
    names = list(classes)
    if background is not None and len(names) == count - 1:
        names.insert(background, 'background')
    if len(names) != count:
        names = [f'class {number}' for number in range(count)]
    places = tuple(number for number in range(count) if number != background)
    return Meaning('cls', '', repeated(names), places, activation=activation)
