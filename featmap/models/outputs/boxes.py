"""Boxes and instance masks, from the network input back to the original image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featmap.geometry import ImageGeometry
from featmap.masks import Masks
from featmap.models.differentiable import sigmoid
from featmap.models.outputs.classes import field
from featmap.structures import Detections

_BELONGS = 0.5  # from this probability up a pixel belongs to a mask


def instances_in(output: Any, count: int) -> list[Mapping[str, Tensor]] | None:
    """One dict of ``boxes``, ``scores`` and more an image, as torchvision's detectors return; None for another output.

    Their scripted forms return a pair, of losses and of these.
    """
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], Mapping):
        output = output[1]
    if not isinstance(output, (list, tuple)) or len(output) != count or not count:
        return None
    for each in output:
        if not isinstance(each, Mapping) or not all(isinstance(each.get(key), Tensor) for key in ('boxes', 'scores')):
            return None
        if each['boxes'].ndim != 2 or each['boxes'].shape[1] != 4:
            return None
        beside = [each['scores'], *(each[key] for key in ('labels',) if key in each)]
        if any(getattr(value, 'shape', None) != each['boxes'].shape[:1] for value in beside):
            return None
    return list(output)


def queries_in(
    output: Any, shapes: Sequence[tuple[int, int]], classes: int, scores: str = '', floor: float | None = None
) -> list[dict[str, Tensor]] | None:
    """One dict of ``boxes`` in input pixels, ``scores`` and ``labels`` an image, of object queries.

    Those of the DETR family: ``logits`` (N, Q, C) and ``pred_boxes`` (N, Q, 4), centre and size as shares of the
    input. With softmax the last class is "no object", and a query has one box. With sigmoid each class of a query is
    by itself, and the Q best of all are taken, as Deformable DETR and RT-DETR do. All stays joined to the graph.

    Args:
        output: What the forward returned.
        shapes: Height and width of the input of each image.
        classes: How many there are, where that is known: one less than C for softmax, C for sigmoid.
        scores: ``softmax`` or ``sigmoid``; empty to go by the number of classes.
        floor: Every class of every query of a higher score, in place of the best; None for the best.

    Returns:
        None for another output, and where it cannot be told which of the two it is.
    """
    logits, boxes = field(output, 'logits'), field(output, 'pred_boxes')
    if logits is None or boxes is None or logits.ndim != 3 or boxes.shape != (*logits.shape[:2], 4):
        return None
    if len(logits) != len(shapes):
        return None
    kind = scores or {logits.shape[2] - 1: 'softmax', logits.shape[2]: 'sigmoid'}.get(classes, '')
    if not kind:
        return None
    found = []
    for each, places, (height, width) in zip(logits.float(), boxes.float(), shapes):
        chances = each.softmax(dim=-1)[:, :-1] if kind == 'softmax' else sigmoid(each)
        if floor is not None:
            rows, labels = (chances > floor).nonzero(as_tuple=True)
            best, places = chances[rows, labels], places[rows]
        elif kind == 'softmax':
            best, labels = chances.max(dim=-1)
        else:
            best, index = chances.flatten().topk(len(each))
            labels = index % each.shape[1]
            places = places[torch.div(index, each.shape[1], rounding_mode='floor')]
        middle, half = places[:, :2], places[:, 2:] / 2
        corners = torch.cat([middle - half, middle + half], dim=1)
        found.append({'boxes': corners * corners.new_tensor([width, height] * 2), 'scores': best, 'labels': labels})
    return found


def shown_in(given: Mapping[str, Tensor], geometry: ImageGeometry, score_thr: float) -> tuple[np.ndarray, np.ndarray]:
    """Which boxes are shown, (K,), and all M of them, cut at the edges of the image; see :func:`boxes_of`."""
    scores = given['scores'].detach().float().cpu().numpy()
    boxes = given['boxes'].detach().float().cpu().numpy()
    height, width = geometry.image_shape
    finite = np.isfinite(boxes).all(axis=1)
    ends = np.array([width, height, width, height], np.float32)
    edges = np.clip(geometry.boxes_to_image(np.where(finite[:, None], boxes, 0)), 0, ends)
    inside = (edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1])
    return np.flatnonzero((scores >= score_thr) & finite & inside), edges


def boxes_of(given: Mapping[str, Tensor], geometry: ImageGeometry, nothing: Detections, score_thr: float) -> Detections:
    """The boxes of one image from a threshold up, in its own pixels and cut at its edges; and their masks.

    Boxes that are not finite, or lie beside the image altogether, are left out.

    Args:
        given: ``boxes`` (M, 4) x1 y1 x2 y2 and ``scores`` (M,), maybe ``labels`` (M,), and ``masks`` (M, 1, h, w) or
            (M, h, w) of probabilities: all in pixels of the network input.
        geometry: How the image lies in it.
        nothing: Classes and colours.
        score_thr: The least score.
    """
    scores = given['scores'].detach().float().cpu().numpy()
    kept, edges = shown_in(given, geometry, score_thr)
    labels = given.get('labels')
    numbers = np.zeros(len(scores), np.int64) if labels is None else labels.detach().cpu().numpy().astype(np.int64)
    found = replace(nothing, boxes=edges[kept], scores=scores[kept], labels=numbers[kept], kind='detection')
    masks = given.get('masks')
    if masks is None:
        return found
    size = len(scores) * geometry.input_shape[0] * geometry.input_shape[1]
    if tuple(masks.shape[-2:]) != geometry.input_shape or masks.numel() != size:
        return replace(found, undrawn=('masks of another size',))
    # One after another: together they may take more memory than the network.
    cut = Masks.of((_mask(masks[index], geometry) for index in kept.tolist()), geometry.image_shape)
    return replace(found, masks=cut, kind='instance')


def _mask(mask: Tensor, geometry: ImageGeometry) -> np.ndarray:
    plane = mask.detach().reshape(mask.shape[-2:])
    belongs = plane >= _BELONGS if plane.is_floating_point() else plane > 0
    return geometry.planes_to_image(belongs.cpu().numpy())
