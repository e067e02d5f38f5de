"""What of a detection is explained: its score, one of the factors of it, a side of its box."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from featmap.answers import Answers
from featmap.errors import TargetError
from featmap.meaning import TITLES, Meaning
from featmap.options.explain import SIDES
from featmap.targets.base import Scene
from featmap.targets.chosen import Chosen
from featmap.targets.raw import Found, Raw
from featmap.targets.tracer import Tracer, remedy
from featmap.wording import option as written

_OUTWARD = (-1.0, -1.0, 1.0, 1.0)  # what pushes a side out speaks for it
_EDGE = 1.0  # pixels from the image's edge at which a side counts as lying on it
_LEAST = 1e-30  # of a score whose log is taken


def score_of(answers: Answers, index: int) -> Tensor:
    """The log of a final score."""
    return answers.scores[index].clamp(min=_LEAST).log()


def in_parts(chosen: Chosen, number: int, part: str, scene: Scene, found: Found | None) -> Chosen:
    """A chosen detection with the part of it that is asked for.

    Args:
        chosen: The detection, with its score as the scalar.
        number: Which of the scene's boxes it is.
        part: See :data:`featmap.options.explain.PARTS`.
        scene: Where it was chosen.
        found: Its raw prediction; None where it was not traced.

    Raises:
        TargetError: where it has no such part, or where the part depends on nothing.
    """
    if part == 'score':
        return chosen
    if part in ('class', 'objectness'):
        if found is None or scene.tracer is None:
            raise TargetError(
                f'{written("explain_part", part)} needs the raw prediction of {chosen.name}, which is not known'
            )
        make = class_score if part == 'class' else objectness_score
        return chosen.with_part(part, make(found, scene.tracer))
    if part in SIDES:
        why = _blocked(chosen, number, part, scene)
        if why:
            raise TargetError(why)
        return chosen.with_part(part, side_of(scene.answers, number, part))
    sides = [side for side in SIDES if not _blocked(chosen, number, side, scene)]
    parts = (chosen, *(chosen.with_part(side, side_of(scene.answers, number, side)) for side in sides))
    left_out = [side for side in SIDES if side not in sides]
    note = (f'without {", ".join(left_out)}, on the edge of the image',) if left_out else ()
    return replace(chosen, part='all', parts=parts, notes=chosen.notes + note)


def log_score(found: Found, tracer: Tracer) -> Tensor:
    """The log of the class probability, and of the objectness, centerness or IoU that the score is multiplied with."""
    paths = [(raw.layer.name, raw.path) for raw in found.raws]
    quality = _quality(found, tracer, [raw for raw in tracer.at(found) if (raw.layer.name, raw.path) in paths])
    value = class_score(found, tracer)
    return value if quality is None else value + quality


def side_of(answers: Answers, number: int, side: str) -> Tensor:
    """The coordinate of a side, in pixels of the original, so that further out is more."""
    place = SIDES.index(side)
    return answers.boxes[number, place] * _OUTWARD[place]


def _blocked(chosen: Chosen, number: int, side: str, scene: Scene) -> str:
    """Why a side has no gradient; empty where it has one."""
    if not scene.gradients:
        return ''
    scalar = side_of(scene.answers, number, side)
    if scalar.requires_grad and (scene.tracer is None or not scene.tracer.known or scene.tracer.depends(scalar)):
        return ''
    height, width = scene.geometry.image_shape
    at, edge = abs(float(scalar.detach())), {'left': 0, 'top': 0, 'right': width, 'bottom': height}[side]
    if abs(at - edge) <= _EDGE:
        return (
            f'the {side} side of {chosen.name} lies on the edge of the image, where the model cuts boxes off: nothing '
            f'in the image holds it there; {written("explain_part", "score")} or another side can be explained'
        )
    return f'the {side} side of {chosen.name} has no gradient: the model detaches its boxes; {remedy()}'


def class_score(found: Found, tracer: Tracer) -> Tensor:
    """The log of the class probability; of several heads whose scores are averaged, of the mean of their logits."""
    if len(found.trace.cells) > 1:
        raise TargetError(f'{written("explain_part", "class")}: {found.trace} have one score, that of the class')
    rows: list[Tensor] = []
    place, meaning = found.channel, Meaning()
    for raw in found.raws:
        if not raw.meaning.classes:
            continue
        row = raw.row(found.place)
        meaning = _with_levels(raw, tracer)
        if raw.layer.kind == 'dense':
            anchor, place = divmod(found.channel, len(meaning.attributes))
            row = row[anchor * len(meaning.attributes) : (anchor + 1) * len(meaning.attributes)]
        rows.append(row)
    if not rows:
        why = next((raw.meaning.reason for raw in found.raws if raw.meaning.reason), 'the head has no class scores')
        raise TargetError(f'{written("explain_part", "class")}: {why}')
    row = torch.stack(rows).mean(dim=0)
    if meaning.activation == 'softmax':
        return row.log_softmax(dim=0)[place]
    return functional.logsigmoid(row[place]) if meaning.activation else row[place].clamp(min=_LEAST).log()


def objectness_score(found: Found, tracer: Tracer) -> Tensor:
    """The log of objectness, centerness or predicted IoU."""
    value = _quality(found, tracer, tracer.at(found))
    if value is not None:
        return value
    name = found.raws[0].layer.name
    raise TargetError(
        f'{written("explain_part", "objectness")}: {name} has none, and no centerness or IoU: expected '
        f'score, class, {", ".join(SIDES)} or all'
    )


def _quality(found: Found, tracer: Tracer, raws: Iterable[Raw]) -> Tensor | None:
    for raw in raws:
        meaning = _with_levels(raw, tracer)
        anchor = found.trace.anchor or 0
        places = [place for place in meaning.scores if meaning.attributes[place] in TITLES.values()]
        if not places:
            continue
        value = raw.row(found.place)[anchor * len(meaning.attributes) + places[0]]
        return functional.logsigmoid(value) if meaning.activation else value.clamp(min=_LEAST).log()
    return None


def _with_levels(raw: Raw, tracer: Tracer) -> Meaning:
    """The meaning of an output; some heads put out probabilities already, which all levels together show."""
    if not raw.meaning.activation:
        return raw.meaning
    return replace(raw.meaning, levels=tuple(tracer.levels(raw))).activated()
