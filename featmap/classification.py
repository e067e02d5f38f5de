"""What a classifier says of a whole image: its best classes, and how they are told in few words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MOST = 5
"""How many classes are kept."""
_LONGEST = 40  # characters of a name in a line of text
KINDS = ('softmax', 'sigmoid')
"""Probabilities of one class out of all, which add up to 1; of each class by itself, in multi-label models."""


@dataclass(frozen=True, eq=False, repr=False)
class Classification:
    """The best classes of an image.

    Attributes:
        labels: (K,) int64 class numbers, best first; 1 to 5 of them.
        scores: (K,) float32 probabilities, 0 to 1.
        kind: What makes probabilities of the model's scores, see :data:`KINDS`.
        of: How many classes there are in all.

    Raises:
        ValueError: where these do not go together.
    """

    labels: np.ndarray
    scores: np.ndarray
    kind: str = 'softmax'
    of: int = 0

    def __post_init__(self) -> None:
        labels, scores = self.labels, self.scores
        if labels.dtype.kind not in 'iu' or scores.dtype.kind != 'f' or labels.shape != scores.shape:
            raise ValueError(
                f'a classification of labels {labels.dtype} {labels.shape} and scores {scores.dtype} {scores.shape}: '
                'expected as many whole numbers as floats'
            )
        if labels.ndim != 1 or not 1 <= len(labels) <= MOST or len(np.unique(labels)) < len(labels):
            raise ValueError(f'a classification of the labels {labels.tolist()}: expected 1 to {MOST} different ones')
        if not ((scores >= 0) & (scores <= 1)).all() or (np.diff(scores) > 0).any():
            raise ValueError(f'a classification of the scores {scores.tolist()}: expected 0 to 1, best first')
        if self.kind not in KINDS or labels.min() < 0 or (self.of and labels.max() >= self.of):
            raise ValueError(f'a {self.kind} classification of the labels {labels.tolist()} of {self.of} classes')

    @classmethod
    def of_all(cls, probabilities: np.ndarray, kind: str = 'softmax') -> Classification:
        """The best of (C,) probabilities of all classes; of equal ones the first."""
        labels = np.argsort(-probabilities, kind='stable')[:MOST].astype(np.int64)
        return cls(labels, probabilities[labels].astype(np.float32), kind, len(probabilities))

    def __len__(self) -> int:
        """How many classes are kept."""
        return len(self.labels)

    def __repr__(self) -> str:
        """One line: numbers and probabilities."""
        told = ', '.join(f'#{label} {percent(score)}' for label, score in zip(self.labels, self.scores))
        return f'<Classification: {told}>'

    @property
    def title(self) -> tuple[str, ...]:
        """What is shown, for a label: ``top 5``, ``of 1000 classes``."""
        of = (f'of {self.of} classes',) if self.of > len(self) else ()
        # Of one that adds up to more than 100 % readers should know why.
        return (f'top {len(self)}', *of, *(('each by itself (sigmoid)',) if self.kind == 'sigmoid' else ()))

    def ranking(self, classes: tuple[str, ...]) -> list[tuple[str, str]]:
        """The name of each class, as :func:`short_name` tells it, and its probability: ``('tench', '93.2%')``."""
        return [(short_name(int(label), classes), percent(score)) for label, score in zip(self.labels, self.scores)]

    def brief(self, classes: tuple[str, ...], count: int | None = 1) -> str:
        """The best so many classes in a line of text, ``tench 93.2%``; what is long is cut, and told by its number."""
        told = []
        for label, (name, share) in [*zip(self.labels, self.ranking(classes))][:count]:
            told.append(f'{name if len(name) <= _LONGEST else f"{name[:_LONGEST].rstrip()}… #{label}"} {share}')
        return ', '.join(told)


def percent(share: float) -> str:
    """A probability in percent, with a decimal; what is rounded to nothing, or to everything, says so."""
    share = float(share)
    if 0 < share < 0.0005:
        return '<0.1%'
    if 0.9995 <= share < 1:
        return '>99.9%'
    return f'{share:.1%}'


def short_name(label: int, classes: tuple[str, ...]) -> str:
    """The name of a class, of several synonyms (``tench, Tinca tinca``) the first where no other class begins so.

    Where two classes have the same name, as ImageNet's two cranes, their numbers tell them apart: ``crane #134``.
    """
    if not 0 <= label < len(classes):
        return f'class {label}'
    name = _one_line(classes[label])
    first = _first(name)
    firsts, names = _counted(classes)
    if first and firsts[first] == 1:
        return first
    return name if name and names[name] == 1 else f'{name} #{label}'.strip()


def _first(name: str) -> str:
    return name.split(',')[0].strip()


def _one_line(name: str) -> str:
    return ' '.join(name.split())


@lru_cache(maxsize=16)
def _counted(classes: tuple[str, ...]) -> tuple[Counter[str], Counter[str]]:
    """How many classes begin with each first synonym, and how many have each name."""
    names = [_one_line(name) for name in classes]
    return Counter(map(_first, names)), Counter(names)
