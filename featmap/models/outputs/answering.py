"""What a forward returned, as answers that stay joined to the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from featmap.answers import Answers, boxes_to_image
from featmap.geometry import ImageGeometry
from featmap.gradients import replaced
from featmap.models.outputs import OutputReader
from featmap.models.outputs.boxes import shown_in
from featmap.models.outputs.classes import logits_of
from featmap.models.outputs.segments import has_mask_queries, plane_logits


def answers_in(
    output: Any, geometries: Sequence[ImageGeometry], reader: OutputReader, raw: float | None = None
) -> tuple[Answers, ...]:
    """The answers of each image of a batch: the same that the reader finds in it for drawing.

    Args:
        output: What the forward returned.
        geometries: How each image lies in the network input, in whose pixels the model answers.
        reader: What reads the output.
        raw: The score above which all predictions are wanted, which are not drawn; None for the final answer.
    """
    count = len(geometries)
    with torch.no_grad():
        found = None if raw is not None else reader.read(output, geometries)
    about = [
        {
            'output': _alone(output, index, count),
            'classes': reader.classes,
            'detections': None if found is None else found[index],
        }
        for index in range(count)
    ]
    boxes = reader.boxes_in(output, geometries, raw)
    if boxes is not None:
        thr = None if raw is not None else reader.score_thr
        return tuple(_boxes(*each, thr) for each in zip(boxes, geometries, about))
    planes = reader.planes_in(output, count)
    if planes is not None:
        return tuple(_segments(*each, has_mask_queries(output)) for each in zip(planes, about))
    scores = reader.scores_in(output, count)
    if scores is not None:
        return tuple(_classes(*each, reader.scores or 'softmax') for each in zip(scores, about))
    return tuple(Answers(**each) for each in about)


def _boxes(
    given: Mapping[str, Tensor], geometry: ImageGeometry, about: Mapping[str, Any], score_thr: float | None
) -> Answers:
    boxes, scores, labels = given['boxes'].float(), given['scores'].float(), given.get('labels')
    kept = [] if score_thr is None else shown_in(given, geometry, score_thr)[0].tolist()
    return Answers(
        'boxes',
        boxes_to_image(boxes, geometry),
        scores,
        torch.zeros_like(scores, dtype=torch.long) if labels is None else labels.long(),
        torch.tensor(kept, dtype=torch.long, device=scores.device),
        **about,
    )


def _segments(planes: Tensor, about: Mapping[str, Any], shares: bool) -> Answers:
    logits, activation = plane_logits(planes, shares)
    return Answers('segments', planes=logits, activation=activation, **about)


def _classes(scores: Tensor, about: Mapping[str, Any], kind: str) -> Answers:
    logits, activation = logits_of(scores, kind)
    return Answers('classes', logits=logits, activation=activation, **about)


def _alone(output: Any, index: int, count: int) -> Any:
    """What the forward returned of one image, as it would have returned it of that image alone."""
    if count == 1:
        return output
    if isinstance(output, list) and len(output) == count:  # a mapping an image
        return output[index : index + 1]
    return replaced(output, lambda _, value: value[index : index + 1] if value.ndim and len(value) == count else value)
