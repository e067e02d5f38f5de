"""Ground truth of images, in the classes of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from featmap.errors import OptionError, SourceError
from featmap.ground_truth.labels import ImageLabels
from featmap.matching import Match, match
from featmap.structures import Detections, GroundTruth
from featmap.wording import option as written


class TruthSource:
    """Ground truth of images, in the classes of a model.

    Args:
        labels: Gives the labels of the image at a location, or raises SourceError.
        origin: What it was read from, for messages.
        classes: The model's class names.
    """

    def __init__(self, labels: Callable[[str], ImageLabels], origin: str, classes: Sequence[str] = ()) -> None:
        self._labels = labels
        self.use(classes)
        self.origin = origin
        self.unknown: dict[str, int] = {}
        """Classes that the model does not have, and how many of their boxes were left out up to now."""

    def use(self, classes: Sequence[str]) -> None:
        """Put what follows into these classes."""
        self._numbers = {_plain(name): number for number, name in reversed(list(enumerate(classes)))}
        self._numbers |= {name: number for number, name in enumerate(classes)}
        self._count = len(classes)

    def of(self, location: str, shape: tuple[int, int]) -> GroundTruth:
        """The ground truth of the image of (height, width) ``shape`` at a path or URL.

        Raises:
            SourceError: there is none for it, it cannot be read, or it is of an image of another size.
        """
        found = self._labels(location)
        height, width = shape
        if found.size is not None and found.size != (width, height):
            turned = '; it was labelled before it was turned upright' if found.size == (height, width) else ''
            raise SourceError(
                f'the ground truth in {self.origin!r} is for an image of {found.size[0]}x{found.size[1]}, but '
                f'{location!r} has {width}x{height}{turned}'
            )
        known = [(label, self._number(label.kind)) for label in found.labels]
        for label, number in known:
            if number is None:
                name = str(label.kind) if isinstance(label.kind, str) else f'number {label.kind}'
                self.unknown[name] = self.unknown.get(name, 0) + 1
        kept = [(label, number) for label, number in known if number is not None]
        boxes = np.array([label.box for label, _ in kept], np.float64).reshape(-1, 4)
        limits = np.array([width, height, width, height], np.float64)
        boxes = boxes * limits if found.relative else boxes
        return GroundTruth(
            np.clip(boxes, 0, limits).astype(np.float32),
            np.array([number for _, number in kept], np.int64),
            np.array([label.crowd for label, _ in kept], bool),
            np.array([label.ignored for label, _ in kept], bool),
            len(known) - len(kept),
        )

    def matched(self, detections: Detections | None, location: str, shape: tuple[int, int]) -> Match:
        """Which of an image's detections are true, and what of its ground truth they found; see :meth:`of`.

        Raises:
            OptionError: where a model does not give boxes with classes.
        """
        if detections is None or detections.kind not in ('detection', 'instance'):
            has = 'an output of no known kind' if detections is None else detections.count
            raise OptionError(f'{written("gt")} needs boxes with classes, and this model has {has}')
        return match(detections, self.of(location, shape))

    @property
    def note(self) -> str:
        """One line on what was left out; empty where nothing was."""
        if not self.unknown:
            return ''
        names = ', '.join(list(self.unknown)[:8]) + (', …' if len(self.unknown) > 8 else '')
        count = sum(self.unknown.values())
        boxes = '1 box of the ground truth is' if count == 1 else f'{count} boxes of the ground truth are'
        classes = 'a class' if len(self.unknown) == 1 else 'classes'
        return f'{boxes} of {classes} that the model does not have: {names}'

    def _number(self, kind: str | int) -> int | None:
        if isinstance(kind, int):
            return kind if kind < self._count else None
        return self._numbers.get(kind, self._numbers.get(_plain(kind)))


def _plain(name: str) -> str:
    return ' '.join(name.casefold().replace('_', ' ').replace('-', ' ').split())
