"""What the channels of a head's output stand for: classes, objectness, sides of a box, per anchor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TITLES = {'obj': 'objectness', 'ctr': 'centerness', 'iou': 'IoU'}
"""Kinds of one number a cell and anchor, by the name under which they are asked for."""
SCORE = ':score'
"""Ends the name of a class whose score is asked for, rather than its probability alone."""


@dataclass(frozen=True)
class Meaning:
    """One output of a detection head.

    Channels run anchor by anchor: attribute ``i`` of anchor ``a`` is channel ``a * len(attributes) + i``.

    Attributes:
        kind: ``cls``, ``box``, ``obj``, ``ctr``, ``iou``, or what the head itself calls it; empty where unknown.
        level: The pyramid level, such as ``P3``; empty where the output is of none.
        attributes: What each channel of an anchor is; empty where that is unknown.
        classes: Which of the attributes are classes that can be asked for, by their place.
        scores: Which other attributes are scores that can be asked for by name.
        anchors: Anchors, or other priors, at a cell.
        activation: What makes scores of the numbers: ``sigmoid``, ``softmax`` (over an anchor's attributes), or empty
            where they are none, or are probabilities already.
        reason: Why nothing can be asked for by name.
        factor: What the head multiplies class scores with, before its sigmoid: (anchors, h, w).
        factor_kind: Which of :data:`TITLES` that is.
        levels: The outputs of this kind of all levels, by which it is seen whether they are probabilities.
    """

    kind: str = ''
    level: str = ''
    attributes: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    anchors: int = 1
    activation: str = ''
    reason: str = ''
    factor: Tensor | None = field(default=None, compare=False, repr=False)
    factor_kind: str = ''
    levels: tuple[Tensor, ...] = field(default=(), compare=False, repr=False)

    @property
    def label(self) -> str:
        """Kind and level, for labels: ``cls P3``."""
        return ' '.join(part for part in (self.kind, self.level) if part)

    @property
    def names(self) -> tuple[str, ...]:
        """What can be asked for by name, each class also as ``dog:score``, and ``score`` for the best class."""
        return tuple(self.attributes[place] for place in (*self.classes, *self.scores))

    def has(self, name: str) -> bool:
        """Whether this can be asked for here."""
        return bool(self._places(name)[0])

    def describe(self, channel: int) -> str:
        """What one channel is: ``dog``, or ``dog, anchor 2`` of several; empty where that is unknown."""
        if not self.attributes:
            return ''
        anchor, place = divmod(channel, len(self.attributes))
        return self.attributes[place] + (f', anchor {anchor}' if self.anchors > 1 else '')

    def plane(self, features: Tensor, name: str) -> tuple[Tensor, str]:
        """What a name stands for as (h, w) float32, the largest of all anchors at a cell, and its label.

        ``dog:score`` is what a detection's score is made of: the class times the head's objectness or the like.

        Args:
            features: (C, h, w), all channels of the output.
            name: One that it :meth:`has`.
        """
        places, is_score = self._places(name)
        each = self._probabilities(features.float().unflatten(0, (self.anchors, len(self.attributes))))
        plane = each[:, list(places)].amax(dim=1)
        made_of = self.activation or 'probability'
        if is_score:
            made_of = 'score = cls'
            if self.factor is not None:
                plane = plane * self.factor.float().sigmoid()
                made_of += f' × {self.factor_kind}'
            elif self.scores:
                plane = plane * each[:, self.scores[0]]
                made_of += ' × obj'
        shown = 'best class' if is_score and f':{name}' == SCORE else name.removesuffix(SCORE)
        parts = [] if self.kind in TITLES else [shown]
        note = f', max of {self.anchors} anchors' if self.anchors > 1 else ''
        return plane.amax(dim=0), ' · '.join([*parts, made_of]) + note

    def _places(self, name: str) -> tuple[tuple[int, ...], bool]:
        """The attributes that a name stands for, and whether their score is meant."""
        exact = tuple(place for place in (*self.classes, *self.scores) if self.attributes[place] == name)
        if exact:
            return exact, False
        if f':{name}' == SCORE:
            return self.classes, True
        return tuple(place for place in self.classes if self.attributes[place] + SCORE == name), True

    def _probabilities(self, each: Tensor) -> Tensor:
        if self.activation == 'softmax':
            return each.softmax(dim=1)
        return each.sigmoid() if self.activation == 'sigmoid' else each

    def activated(self) -> Meaning:
        """This meaning for scores that turn out to be probabilities already, as some heads put them out.

        Logits of all levels between 0 and 1 throughout would be a network that never decides.
        """
        inside = (bool((level.amin() >= 0) & (level.amax() <= 1)) for level in self.levels)
        return replace(self, activation='') if self.levels and self.activation and all(inside) else self

    def bare(self) -> Meaning:
        """Without tensors, to be kept."""
        return replace(self, factor=None, levels=())


def unknown(reason: str, kind: str = '', level: str = '') -> Meaning:
    """An output whose channels have numbers only, and why."""
    return Meaning(kind, level, reason=reason)


def repeated(names: Sequence[str]) -> tuple[str, ...]:
    """Names that tell two of the same apart: the second ``dog`` becomes ``dog (2)``."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f'{name} ({seen[name]})')
    return tuple(result)


class Meanings:
    """What the outputs of a model's layers mean, of a model without heads that could be asked."""

    def head(self, module: Any) -> Any:
        """What is known of a layer that is a head: its class ``names``, and whether it has a row ``by_query``."""
        return None

    def of(self, module: Any, output: Any, path: str, channels: int) -> Meaning:
        """The meaning of the map at a path in what a layer put out."""
        return unknown('the model has no detection head that says what its channels are')
