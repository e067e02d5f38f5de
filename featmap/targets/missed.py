"""An object that the model missed: the raw prediction that fits best, and why it is not among the detections."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from featmap.answers import Answers
from featmap.errors import TargetError
from featmap.registry import TARGETS
from featmap.targets.base import Scene, Target, written_spec
from featmap.targets.boxes import prediction, score_text
from featmap.targets.chosen import Chosen, box_iou, fit
from featmap.targets.names import class_name, class_number
from featmap.targets.spec import TargetSpec

_NEAR = 0.2
"""The IoU that a prediction of an object has at least."""
_SAME = 0.5  # pixels, and 1e-4 of the score: the same prediction in another forward
_SAME_SCORE = 1e-4
_OVER = 0.3  # the IoU above which a detection may have suppressed another; thresholds lie above


@dataclass(frozen=True)
class _Fit:
    """The raw prediction that fits best: which it is, and how well it does."""

    number: int
    label: int
    score: float
    iou: float
    rank: int
    of: int


@TARGETS.register_module(name='missed')
class Missed(Target):
    """``--explain-box X1,Y1,X2,Y2``: of all raw predictions the one of the best IoU × class score."""

    def choose(self, spec: TargetSpec, scene: Scene) -> list[Chosen]:
        """One raw prediction, with notes on what became of it."""
        assert spec.box is not None
        _check_inside(spec, scene)
        answers, box = scene.answers, np.asarray(spec.box, np.float32)
        label = class_number(spec.text, answers.classes, len(answers.classes) or None) if spec.text else None
        best = _best(answers, box, label, spec)
        name = f'missed {class_name(best.label, answers.classes)}'
        chosen = prediction(best.number, name, spec.part, scene)
        notes = (
            f'score {best.score:.3g}, rank {best.rank} of {best.of} raw predictions of its class',
            f'IoU {best.iou:.2f} with the box that was asked about',
            *_fate(best, box, scene),
        )
        return [replace(chosen, what=score_text(best.score), notes=notes + chosen.notes)]


def _check_inside(spec: TargetSpec, scene: Scene) -> None:
    assert spec.box is not None
    (height, width), (x1, y1, x2, y2) = scene.geometry.image_shape, spec.box
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        raise TargetError(f'{written_spec(spec)} lies outside of the image of {width}×{height} pixels')


def _best(answers: Answers, box: np.ndarray, label: int | None, spec: TargetSpec) -> _Fit:
    fits = fit(_without_graph(answers), box, label)
    kind = class_name(label, answers.classes) or 'any class'
    if not len(fits) or float(fits.max()) <= 0:
        raise TargetError(
            f'{written_spec(spec)}: no raw prediction of {kind} overlaps it at all{_instead(answers, box, label)}'
        )
    number = int(fits.argmax())
    found, score = int(answers.labels[number]), float(answers.scores[number].detach())
    scores = answers.scores.detach()[answers.labels == found]
    overlap = float(_overlaps(answers, box)[number])
    return _Fit(number, found, score, overlap, 1 + int((scores > score).sum()), len(scores))


def _instead(answers: Answers, box: np.ndarray, label: int | None) -> str:
    """What else is predicted there."""
    fits = fit(_without_graph(answers), box, None)
    if label is None or not len(fits) or float(fits.max()) <= 0:
        return ''
    number = int(fits.argmax())
    name = class_name(int(answers.labels[number]), answers.classes)
    iou = float(_overlaps(answers, box)[number])
    return f'; the best of another, {name}, has {score_text(float(answers.scores[number].detach()))}, IoU {iou:.2f}'


def _fate(best: _Fit, box: np.ndarray, scene: Scene) -> tuple[str, ...]:
    """What beat or suppressed a raw prediction."""
    raw, final = scene.answers, scene.final
    notes = []
    if best.iou <= _NEAR:
        near = _best_iou(raw, box, best.label) > _NEAR
        kind = class_name(best.label, raw.classes)
        notes.append('' if near else f'no prediction of {kind} overlaps more than {_NEAR}')
    if best.score < scene.score_thr:
        notes.append(f'score {best.score:.3g} < {scene.score_thr:g}')
    elif final is not None:
        notes.append(_suppressed(best, raw, final))
    notes.append(_beaten(best, raw))
    return tuple(note for note in notes if note)


def _suppressed(best: _Fit, raw: Answers, final: Answers) -> str:
    own = raw.boxes.detach()[best.number]
    shown = final.shown
    boxes, scores, labels = final.boxes.detach()[shown], final.scores.detach()[shown], final.labels[shown]
    if not len(boxes):
        return 'not among the detections'
    same = ((boxes - own).abs().amax(dim=1) < _SAME) & ((scores - best.score).abs() < _SAME_SCORE)
    same &= labels == best.label
    if bool(same.any()):
        return f'not missed: it is box {int(same.nonzero()[0])}'
    overlaps = box_iou(own, boxes)
    better = (scores >= best.score) & (overlaps > _OVER)
    for group in (better & (labels == best.label), better):
        if bool(group.any()):
            rank = int(torch.where(group, overlaps, torch.zeros_like(overlaps)).argmax())
            name = '' if int(labels[rank]) == best.label else f' ({class_name(int(labels[rank]), final.classes)})'
            return f'suppressed by box {rank}{name}, IoU {float(overlaps[rank]):.2f}'
    return 'not among the detections, though none overlaps: the model keeps so many'


def _beaten(best: _Fit, raw: Answers) -> str:
    """The other class that the model sees there rather."""
    at = (box_iou(raw.boxes.detach()[best.number], raw.boxes.detach()) > 0.5) & (raw.labels != best.label)
    scores = torch.where(at, raw.scores.detach(), torch.zeros_like(raw.scores))
    if not len(scores) or float(scores.max()) <= best.score:
        return ''
    number = int(scores.argmax())
    return f'{class_name(int(raw.labels[number]), raw.classes)} {float(scores[number]):.2f} there'


def _without_graph(answers: Answers) -> Answers:
    return replace(answers, boxes=answers.boxes.detach(), scores=answers.scores.detach())


def _overlaps(answers: Answers, box: np.ndarray) -> Tensor:
    boxes = answers.boxes.detach()
    return box_iou(torch.as_tensor(box, dtype=boxes.dtype, device=boxes.device), boxes)


def _best_iou(answers: Answers, box: np.ndarray, label: int) -> float:
    overlaps = _overlaps(answers, box)[answers.labels == label]
    return float(overlaps.max()) if len(overlaps) else 0.0
