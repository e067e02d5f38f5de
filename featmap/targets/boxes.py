"""Detections: one by rank, each in turn, the best, all of a class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from featmap.answers import Answers
from featmap.errors import TargetError
from featmap.registry import TARGETS
from featmap.targets.base import Scene, Target, written_spec
from featmap.targets.chosen import Chosen, OfBoxes
from featmap.targets.names import class_name, class_number
from featmap.targets.parts import in_parts, score_of
from featmap.targets.raw import Found
from featmap.targets.spec import TargetSpec
from featmap.wording import option as written


@TARGETS.register_module(name='box')
class Box(Target):
    """``box:0``: a detection by its number, in the order in which they are given."""

    def choose(self, spec: TargetSpec, scene: Scene) -> list[Chosen]:
        """One detection."""
        count = _count(spec, scene)
        if spec.index >= count:
            have = f'only box:0 to box:{count - 1}' if count > 1 else 'only box:0'
            raise TargetError(
                f'{written_spec(spec)}: the image has {have}; a lower {written("score_thr")} keeps more of them'
            )
        return [detection(spec.index, spec.part, scene)]


@TARGETS.register_module(name='boxes')
class Boxes(Target):
    """``boxes``: each detection by itself."""

    def choose(self, spec: TargetSpec, scene: Scene) -> list[Chosen]:
        """All detections, in the order in which they are given."""
        return [detection(index, spec.part, scene) for index in range(_count(spec, scene))]


def best(spec: TargetSpec, scene: Scene) -> list[Chosen]:
    """The detection of the highest score."""
    _count(spec, scene)
    scores = scene.answers.scores.detach()[scene.answers.shown]
    return [detection(int(scores.argmax()), spec.part, scene)]


def of_class(spec: TargetSpec, scene: Scene) -> list[Chosen]:
    """All detections of a class: the sum of what each of them stands for."""
    answers = scene.answers
    if spec.minus:
        raise TargetError(
            f'{written_spec(spec)}: one class rather than another is explained of a classifier or a segmentation; of '
            f'detections {written("explain", f"class:{spec.text}")}'
        )
    label = class_number(spec.text, answers.classes, len(answers.classes) or None)
    name = class_name(label, answers.classes)
    shown = answers.shown.tolist()
    ranks = [rank for rank, number in enumerate(shown) if int(answers.labels[number]) == label]
    if not ranks:
        raise TargetError(_none_of(label, name, spec, scene))
    if spec.part not in ('score', 'class', 'objectness'):
        raise TargetError(
            f'{written("explain_part", spec.part)} is about one box: {written("explain", f"box:{ranks[0]}")} is the '
            f'first {name}'
        )
    each = [detection(rank, spec.part, scene) for rank in ranks]
    boxes = _corners(answers, [shown[rank] for rank in ranks])
    return [
        Chosen(
            torch.stack([one.scalar for one in each]).sum(),
            f'class {name}' if name != f'class {label}' else name,
            f'{len(each)} detection{"s" * (len(each) != 1)}',
            max(one.score for one in each),
            OfBoxes(boxes, label),
            class_index=label,
            box=boxes[0] if len(each) == 1 else None,
            boxes=boxes,
            index=ranks[0] if len(each) == 1 else None,
            part=spec.part,
            traces=tuple(trace for one in each for trace in one.traces),
            founds=tuple(found for one in each for found in one.founds),
            notes=tuple(dict.fromkeys(note for one in each for note in one.notes)),
        )
    ]


def detection(rank: int, part: str, scene: Scene) -> Chosen:
    """A detection by its rank among those that are shown."""
    return prediction(int(scene.answers.shown[rank]), f'box {rank}', part, scene, rank)


def prediction(number: int, name: str, part: str, scene: Scene, rank: int | None = None) -> Chosen:
    """One of a scene's boxes, traced.

    Args:
        number: Which.
        name: What it is called.
        part: What of it.
        scene: The scene.
        rank: Which of the detections it is, if any.

    Raises:
        TargetError: where it cannot be traced to one raw prediction and a gradient is needed.
    """
    answers = scene.answers
    label = int(answers.labels[number])
    score, box = float(answers.scores[number].detach()), _corners(answers, [number])
    scalar = score_of(answers, number)
    found, notes = _traced(number, scalar, name, label, scene)
    chosen = Chosen(
        scalar,
        name,
        f'{class_name(label, answers.classes)} {score_text(score)}',
        score,
        OfBoxes(box, label),
        class_index=label,
        box=box[0],
        boxes=box,
        index=rank,
        traces=(found.trace,) if found else (),
        founds=(found,) if found else (),
        notes=notes,
    )
    return in_parts(chosen, number, part, scene, found)


def _traced(
    number: int, scalar: torch.Tensor, name: str, label: int, scene: Scene
) -> tuple[Found | None, tuple[str, ...]]:
    if not scalar.requires_grad:  # an error later, where gradients are needed
        return None, ()
    if scene.tracer is None or not scene.tracer.known:
        return None, ('not traced: it is not known which layer puts out raw predictions',)
    try:
        found = scene.tracer.find(scalar, name, label)
    except TargetError as error:
        if scene.gradients:
            raise
        return None, (f'not traced: {error}'.partition(';')[0],)
    count = scene.tracer.voted(scene.answers.boxes[number])
    averaged = count > max(len(found.trace.cells), 1)
    return found, (f'its box is an average of {count} raw predictions',) if averaged else ()


def _corners(answers: Answers, numbers: Sequence[int]) -> np.ndarray:
    return answers.boxes.detach()[list(numbers)].float().cpu().numpy()


def _count(spec: TargetSpec, scene: Scene) -> int:
    """How many detections are shown, at least one."""
    count = len(scene.answers.shown)
    if count:
        return count
    raise TargetError(f'{written_spec(spec)}: nothing is found above {scene.score_thr:g}{_best_of(scene, None)}')


def _none_of(label: int, name: str, spec: TargetSpec, scene: Scene) -> str:
    answers = scene.answers
    there = Counter(class_name(int(answers.labels[number]), answers.classes) for number in answers.shown.tolist())
    listed = ', '.join(f'{each} ×{count}' for each, count in there.most_common(5))
    found = f'but {listed}' if listed else 'and nothing else'
    return f'{written_spec(spec)}: no {name} is found above {scene.score_thr:g}, {found}{_best_of(scene, label)}'


def _best_of(scene: Scene, label: int | None) -> str:
    """The best score there is, and the threshold that keeps it."""
    answers = scene.raw() if scene.raw else scene.answers
    known = torch.ones_like(answers.labels, dtype=torch.bool) if label is None else answers.labels == label
    if not bool(known.any()):
        return '; not even the raw predictions have one' if scene.raw else ''
    scores = torch.where(known, answers.scores.detach(), -torch.ones_like(answers.scores))
    number = int(scores.argmax())
    score = float(scores[number])
    name = class_name(int(answers.labels[number]), answers.classes)
    return f'; the best there is, {name}, has {score:.3g}: {_way_out(score, scene)}'


def _way_out(score: float, scene: Scene) -> str:
    """How a raw prediction of this score is seen."""
    explains = f'{written("explain_box")} explains it where it lies'
    if score <= 0:
        return 'nothing would show it'
    if scene.own_score_thr is not None and score < scene.own_score_thr:
        return f'the model itself drops what is below {scene.own_score_thr:g}, {explains}'
    if score >= scene.score_thr:
        return f'the model suppressed it, {explains}'
    return f'{written("score_thr", _rounded_down(score))} shows it'


def score_text(score: float) -> str:
    """As labels have it: two decimals, or a digit of what is smaller than that shows."""
    return f'{score:.2f}' if score >= 0.01 else f'{score:.1g}'


def _rounded_down(score: float) -> float:
    """To two digits."""
    digits = 1 - math.floor(math.log10(score))
    return round(math.floor(score * 10**digits) / 10**digits, digits)
