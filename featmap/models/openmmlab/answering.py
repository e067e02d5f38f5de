"""What a data sample says the model found, as tensors that stay joined to the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featmap.answers import Answers, boxes_to_image
from featmap.models.openmmlab.image_place import ImagePlace
from featmap.models.openmmlab.predictions import Reader
from featmap.models.outputs.classes import logits_of
from featmap.models.outputs.segments import plane_logits


def answers_of(
    sample: Any, place: ImagePlace, reader: Reader, raw: bool = False, class_scores: Tensor | None = None
) -> Answers:
    """The answers in a data sample.

    Args:
        sample: What the model returned for one image.
        place: Where the image lies in the network input.
        reader: What reads the same sample for drawing.
        raw: Whether these are raw predictions, which are not drawn.
        class_scores: (K,) of the whole image or (K, h, w) over the network input, as the network put them out.
    """
    given = sample.get('pred_instances')
    boxes, scores = (None, None) if given is None else (given.get('bboxes'), given.get('scores'))
    boxes = getattr(boxes, 'tensor', boxes)
    detections = None if raw else reader.read(sample.detach(), place)
    about = {'output': sample, 'classes': reader.classes, 'detections': detections}
    if boxes is None or scores is None or boxes.shape[-1] != 4:
        return _of_classes(sample, class_scores, reader, about)
    labels = given.get('labels')
    finite = boxes.detach().isfinite().all(dim=-1)
    shown = finite[:0] if raw else finite & (scores.detach() >= reader.score_thr)
    return Answers(
        'boxes',
        _on_image(boxes.float(), place),
        scores.float(),
        torch.zeros_like(scores, dtype=torch.long) if labels is None else labels.long(),
        shown.nonzero().flatten(),
        **about,
    )


def _of_classes(sample: Any, scores: Tensor | None, reader: Reader, about: dict[str, Any]) -> Answers:
    """Answers about the whole image, or about each place of it; else of no known kind."""
    if scores is not None and scores.ndim == 3:
        planes, activation = plane_logits(scores)
        return Answers('segments', planes=planes, activation=activation, **about)
    kind = 'sigmoid' if reader.multi_label else 'softmax'
    if scores is not None and scores.ndim == 1:
        return Answers('classes', logits=scores.float(), activation=kind, **about)
    chances = sample.get('pred_score')  # where a head makes them in a way of its own
    if isinstance(chances, Tensor) and chances.ndim == 1 and chances.numel():
        logits, activation = logits_of(chances, kind)
        return Answers('classes', logits=logits, activation=activation, **about)
    return Answers(**about)


def _on_image(boxes: Tensor, place: ImagePlace) -> Tensor:
    """As :meth:`ImagePlace.boxes`, on the graph, and not cut at the image's edges."""
    geometry = place.geometry
    if not place.told:
        return boxes_to_image(boxes, geometry)
    if not any(geometry.flip):
        return boxes
    height, width = geometry.image_shape
    left, top, right, bottom = boxes.unbind(dim=1)
    left, right = (width - right, width - left) if geometry.flip[0] else (left, right)
    top, bottom = (height - bottom, height - top) if geometry.flip[1] else (top, bottom)
    return torch.stack([left, top, right, bottom], dim=1)
