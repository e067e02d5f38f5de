"""The words that fit whatever a model answers: ``top`` and ``class:dog``; and the classes of a whole image."""

from __future__ import annotations

import torch
from torch import Tensor

from featmap.answers import Answers
from featmap.errors import TargetError
from featmap.registry import TARGETS
from featmap.targets import boxes, regions
from featmap.targets.base import Scene, Target, written_spec
from featmap.targets.chosen import Chosen, probability
from featmap.targets.names import class_name, class_number
from featmap.targets.spec import TargetSpec
from featmap.wording import option as written


@TARGETS.register_module(name='top')
class Top(Target):
    """``top``: the best detection, the predicted class, the class of the largest region."""

    kinds = ('boxes', 'classes', 'segments')

    def choose(self, spec: TargetSpec, scene: Scene) -> list[Chosen]:
        """One."""
        return _by_kind(spec, scene)


@TARGETS.register_module(name='class')
class Class(Target):
    """``class:dog``, ``class:16`` or ``class:dog-class:cat``."""

    kinds = ('boxes', 'classes', 'segments')

    def choose(self, spec: TargetSpec, scene: Scene) -> list[Chosen]:
        """One: a class's detections, its logit, or its logits over a region."""
        return _by_kind(spec, scene)


def _by_kind(spec: TargetSpec, scene: Scene) -> list[Chosen]:
    kind = scene.answers.kind
    if kind != 'segments' and (spec.at is not None or spec.mask is not None):
        said = 'at' if spec.at is not None else 'explain_mask'
        found = 'detections' if kind == 'boxes' else 'classes of the whole image'
        raise TargetError(f'{written(said)} says where in a segmentation, and this model gives {found}')
    if kind == 'boxes':
        return boxes.best(spec, scene) if spec.name == 'top' else boxes.of_class(spec, scene)
    if spec.part != 'score':
        raise TargetError(f'{written("explain_part", spec.part)} is about detections, which this model does not give')
    return regions.of_region(spec, scene) if kind == 'segments' else of_image(spec, scene)


def of_image(spec: TargetSpec, scene: Scene) -> list[Chosen]:
    """The logit of a class of the whole image, or the difference of two."""
    answers = scene.answers
    logits = _logits(answers, spec)
    label = int(logits.detach().argmax())
    if spec.name == 'class':
        label = class_number(spec.text, answers.classes, len(logits))
    name = class_name(label, answers.classes)
    other = class_number(spec.minus, answers.classes, len(logits)) if spec.minus else None
    if other is None:
        first = _as_class(name, label, answers)
    elif other == label:
        raise TargetError(f'{written_spec(spec)} is one class twice')
    else:
        first = f'{name} rather than {class_name(other, answers.classes)}'

    def again(later: Answers) -> Tensor:
        own = _logits(later, spec)
        return own[label] if other is None else own[label] - own[other]

    def measured(later: Answers) -> Tensor:
        return probability(_logits(later, spec), label, other, later.activation)

    score = float(measured(answers).detach())
    return [Chosen(again(answers), first, boxes.score_text(score), score, measured, class_index=label, again=again)]


def _as_class(name: str, label: int, answers: Answers) -> str:
    return name if answers.classes else f'class {label}'


def _logits(answers: Answers, spec: TargetSpec) -> Tensor:
    if answers.logits is None or not torch.is_tensor(answers.logits):
        raise TargetError(f'{written_spec(spec)}: the model gives no class scores')
    return answers.logits
