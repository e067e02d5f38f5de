"""What a data sample says the model found, as tensors that stay joined to the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featmap.answers import Answers, boxes_to_image
from featmap.models.openmmlab.image_place import ImagePlace
from featmap.models.openmmlab.predictions import Reader


def answers_of(sample: Any, place: ImagePlace, reader: Reader, raw: bool = False) -> Answers:
    """The answers in a data sample.

    Args:
        sample: What the model returned for one image.
        place: Where the image lies in the network input.
        reader: What reads the same sample for drawing.
        raw: Whether these are raw predictions, which are not drawn.
    """
    given = sample.get('pred_instances')
    boxes, scores = (None, None) if given is None else (given.get('bboxes'), given.get('scores'))
    boxes = getattr(boxes, 'tensor', boxes)
    detections = None if raw else reader.read(sample.detach(), place)
    about = {'output': sample, 'classes': reader.classes, 'detections': detections}
    if boxes is None or scores is None or boxes.shape[-1] != 4:
        return Answers(**about)
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
