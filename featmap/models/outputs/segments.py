"""Semantic segmentation, from class planes of any resolution to the original image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from featmap.geometry import ImageGeometry
from featmap.masks import Segments
from featmap.models.outputs.classes import field, slack_of, undone

_AT_ONCE = 16  # planes: 1000 classes of a large input would take gigabytes


def class_planes(output: Any, count: int, classes: int, is_segmenter: bool) -> Tensor | None:
    """The (N, K, h, w) scores of each class at each place, joined to the graph; None where the output holds none.

    ``logits`` of four dimensions, as transformers' segmenters return, are. So are a tensor, or ``out`` as torchvision's
    return, where there are K names or the model is known to be a segmenter: feature maps have the same form. Of mask
    queries (MaskFormer, Mask2Former) each class's plane is the sum of the masks' probabilities, times how likely each
    mask is of that class.

    Args:
        output: What the forward returned.
        count: N.
        classes: How many class names are known.
        is_segmenter: Whether the model is known to be one.
    """
    names, masks = field(output, 'class_queries_logits'), field(output, 'masks_queries_logits')
    if names is not None and masks is not None and names.ndim == 3 and masks.ndim == 4:
        if len(masks) != count or names.shape[:2] != masks.shape[:2]:
            return None
        chances = names.float().softmax(dim=-1)[..., :-1]  # the last is "no object"
        return torch.einsum('nqk,nqhw->nkhw', chances, masks.float().sigmoid())
    logits = field(output, 'logits')
    planes = logits if logits is not None else output if isinstance(output, Tensor) else field(output, 'out')
    if planes is None or planes.ndim != 4 or len(planes) != count or not planes.is_floating_point():
        return None
    if planes.shape[2:] == (1, 1) or not planes.numel():
        return None
    return planes if logits is not None or is_segmenter or planes.shape[1] == classes else None


def segments_of(planes: Tensor, geometry: ImageGeometry, classes: tuple[str, ...] = ()) -> Segments | None:
    """The class with the highest score at each pixel of the original; None where scores are not finite.

    Scores are interpolated to the network input before they are compared. A single plane is of one class against
    none: it is where its probability is above a half. A background is nothing, and is not coloured.

    Args:
        planes: (K, h, w) scores, which cover the network input.
        geometry: How the image lies in it; what it does not show of the image belongs to nothing.
        classes: The classes' names.
    """
    planes = planes.detach()
    if not bool(planes.isfinite().all()):
        return None
    if len(planes) == 1:
        least = 0.5 if _are_chances(planes) else 0
        labels = (_resized(planes, geometry.input_shape)[0] > least).long() - 1
    else:
        labels = _winner(planes, geometry.input_shape)
    backgrounds = [label for label, name in enumerate(classes) if name.strip('_ ').lower() == 'background']

    def classes_of(numbers: np.ndarray) -> np.ndarray:
        return np.where(np.isin(numbers, backgrounds), -1, numbers)

    small = labels.to(torch.int32).cpu().numpy()
    return Segments.of(geometry.planes_to_image(small, void=-1), classes_of, 'semantic')


def plane_logits(planes: Tensor, shares: bool = False) -> tuple[Tensor, str]:
    """What (K, h, w) scores are before an activation, in float32 and joined to the graph, and that activation.

    Args:
        planes: Logits, which are left as they are, or probabilities: with a sum of 1 at each place, or in a single
            plane all from 0 to 1.
        shares: Whether they are what mask queries have in each class: none below 0, whatever the sum. Of their logs a
            softmax makes the same shares.
    """
    values, kind = planes.float(), 'sigmoid' if len(planes) == 1 else 'softmax'
    given = planes.detach()
    if len(planes) > 1 and not shares:
        sums = given.float().sum(dim=0)
        shares = bool((given >= 0).all()) and bool(((sums - 1).abs() <= slack_of(given)).all())
    return (undone(values, kind) if shares or (len(planes) == 1 and _are_chances(given)) else values), kind


def has_mask_queries(output: Any) -> bool:
    """Whether planes are made of mask queries."""
    return field(output, 'masks_queries_logits') is not None


def _are_chances(plane: Tensor) -> bool:
    """Whether a single plane is one of probabilities already."""
    return bool(((plane >= 0) & (plane <= 1)).all())


def _winner(planes: Tensor, shape: tuple[int, int]) -> Tensor:
    """The number of the highest plane at each place, of equal ones the first: (H, W)."""
    best, labels = _resized(planes[:_AT_ONCE], shape).max(dim=0)
    for first in range(_AT_ONCE, len(planes), _AT_ONCE):
        value, index = _resized(planes[first : first + _AT_ONCE], shape).max(dim=0)
        labels = torch.where(value > best, index + first, labels)
        best = torch.maximum(value, best)
    return labels


def _resized(planes: Tensor, shape: tuple[int, int]) -> Tensor:
    planes = planes.float()
    if planes.shape[1:] == shape:
        return planes
    return interpolate(planes[None], size=shape, mode='bilinear', align_corners=False)[0]
