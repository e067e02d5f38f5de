"""What a model's forward returned, as what was found: best classes, boxes, segments, in original pixels.

Nothing here knows an architecture: outputs are told by the names and shapes that libraries agree on, and what could as
well be something else is read only where class names or the source of the model say what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from featmap.errors import ConfigError
from featmap.geometry import ImageGeometry
from featmap.models.outputs.boxes import boxes_of, instances_in, queries_in
from featmap.models.outputs.classes import class_scores, classification_of, read_classification
from featmap.models.outputs.segments import class_planes, segments_of
from featmap.structures import Detections
from featmap.wording import option as written

__all__ = ['TASKS', 'OutputReader', 'read_classification']

TASKS = ('', 'classification', 'detection', 'segmentation')
"""What a source may say of its model; the first where it does not know."""
_NOT_DRAWN = ('keypoints', 'pred_masks')


@dataclass(frozen=True)
class OutputReader:
    """Reads what the forward of one model returns.

    Args:
        classes: The classes' names; empty where they are not known.
        palette: Their RGB colours, or none.
        score_thr: Boxes below it are left out.
        task: What the model is made for, see :data:`TASKS`.
        scores: ``softmax`` or ``sigmoid``: what makes probabilities of the class scores. Empty where that is not
            known: softmax then for a classifier; for object queries as many classes as there are say it.
        count: How many classes object queries tell apart; 0 for as many as there are names.
        asked: Whether the names are a caller's own, who says by them that the model tells classes apart: another number
            of scores is an error then, and not features.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    score_thr: float = 0.3
    task: str = ''
    scores: str = ''
    count: int = 0
    asked: bool = False

    def read(self, output: Any, geometries: Sequence[ImageGeometry]) -> tuple[Detections, ...] | None:
        """What was found in each image of a batch; None where the output is of no known kind.

        Args:
            output: What the forward returned.
            geometries: How each image lies in the network input, in whose pixels the model answers.

        Raises:
            ConfigError: where a classifier, or what is asked to be one, has another number of classes than there are
                names.
        """
        count = len(geometries)
        for read in (self._boxes, self._segments, self._classification):
            found = read(output, geometries)
            if found is not None:
                undrawn = tuple(name.removeprefix('pred_') for name in _NOT_DRAWN if _has(output, name, count))
                return tuple(replace(each, undrawn=(*each.undrawn, *undrawn)) for each in found)
        return None

    @property
    def _nothing(self) -> Detections:
        return Detections(classes=self.classes, palette=self.palette, kind='')

    def boxes_in(
        self, output: Any, geometries: Sequence[ImageGeometry], floor: float | None = None
    ) -> list[Mapping[str, Tensor]] | None:
        """Boxes in pixels of the network input, ``scores`` and maybe ``labels`` and ``masks``, a mapping an image.

        Args:
            output: What the forward returned.
            geometries: As for :meth:`read`.
            floor: Of object queries every class of a higher score; None for the best.
        """
        given = instances_in(output, len(geometries))
        if given is not None:
            return given
        shapes = [geometry.input_shape for geometry in geometries]
        return queries_in(output, shapes, self.count or len(self.classes), self.scores, floor)  # type: ignore[return-value]

    def planes_in(self, output: Any, count: int) -> Tensor | None:
        """The (N, K, h, w) scores of each class at each place, of N images."""
        sure = self.task == 'segmentation' or (self.asked and isinstance(output, Tensor))
        planes = class_planes(output, count, len(self.classes), sure)
        if planes is not None and self.asked and planes.shape[1] > 1:  # a single plane is of something against nothing
            self._check(planes.shape[1])
        return planes

    def scores_in(self, output: Any, count: int) -> Tensor | None:
        """The (N, K) scores of each class of N whole images."""
        scores = class_scores(output, len(self.classes), self.task == 'classification' or self.asked)
        if scores is None or len(scores) != count:
            return None
        self._check(scores.shape[1])
        return scores

    def _boxes(self, output: Any, geometries: Sequence[ImageGeometry]) -> list[Detections] | None:
        given = self.boxes_in(output, geometries)
        if given is None:
            return None
        return [boxes_of(each, place, self._nothing, self.score_thr) for each, place in zip(given, geometries)]

    def _segments(self, output: Any, geometries: Sequence[ImageGeometry]) -> list[Detections] | None:
        planes = self.planes_in(output, len(geometries))
        if planes is None:
            return None
        found = []
        for each, place in zip(planes, geometries):
            segments = segments_of(each, place, self.classes)
            undrawn = () if segments is not None else ('semantic result that is not finite',)
            found.append(replace(self._nothing, segments=segments, undrawn=undrawn))
        return found

    def _classification(self, output: Any, geometries: Sequence[ImageGeometry]) -> list[Detections] | None:
        scores = self.scores_in(output, len(geometries))
        if scores is None:
            return None
        found = []
        for each in scores:
            best = classification_of(each, self.scores or 'softmax')
            undrawn = () if best is not None else ('class scores that are not finite',)
            found.append(replace(self._nothing, classification=best, undrawn=undrawn))
        return found

    def _check(self, count: int) -> None:
        if self.classes and len(self.classes) != count:
            raise ConfigError(
                f'{len(self.classes)} class names for a model that tells {count} classes apart: expected as many; '
                f'{written("classes")} takes a file of names'
            )


def _has(output: Any, name: str, count: int) -> bool:
    given = instances_in(output, count)
    places = [output] if given is None else given
    return any(name in place if hasattr(place, 'keys') else getattr(place, name, None) is not None for place in places)
