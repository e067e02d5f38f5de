"""Segmentations: a class's logits over the region where it is predicted, over a mask, or at a pixel."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

from featmap.answers import Answers
from featmap.errors import TargetError
from featmap.geometry import ImageGeometry, check_query, position_of
from featmap.reading import read_image
from featmap.targets.base import Scene, written_spec
from featmap.targets.chosen import Chosen, probability
from featmap.targets.names import class_name, class_number
from featmap.targets.spec import TargetSpec
from featmap.wording import option as written

_BRIGHT = 127  # grey levels above which a pixel of a mask's image belongs to it


def of_region(spec: TargetSpec, scene: Scene) -> list[Chosen]:
    """The mean over a region of a class's logits, or of the difference of two classes'."""
    answers, planes = scene.answers, _planes(scene.answers, spec)
    shape = (int(planes.shape[-2]), int(planes.shape[-1]))
    predicted = _predicted(answers, scene.geometry)
    region = _asked_region(spec, scene.geometry)
    if spec.name == 'class':
        label = class_number(spec.text, answers.classes, len(planes))
    else:
        label = _commonest(predicted, region, answers)
    other = class_number(spec.minus, answers.classes, len(planes)) if spec.minus else None
    if other == label:
        raise TargetError(f'{written_spec(spec)} is one class twice')
    name = class_name(label, answers.classes)
    if region is None:
        region = predicted == label
        if not region.any():
            there = [class_name(int(each), answers.classes) for each in np.unique(predicted) if each >= 0]
            raise TargetError(
                f'{written_spec(spec)}: {name} is predicted nowhere in the image, only {", ".join(there[:8])}; '
                f'{written("at")} X,Y or {written("explain_mask")} explains it elsewhere'
            )
    weights = _weights(region, scene.geometry, shape).to(planes.device)
    if not bool(weights.any()):
        raise TargetError(f'{written_spec(spec)}: the network was not shown that part of the image')

    def again(later: Answers) -> Tensor:
        own = _planes(later, spec)
        logits = own[label] if other is None else own[label] - own[other]
        return (logits.float() * weights).sum() / weights.sum()

    def measured(later: Answers) -> Tensor:
        return (probability(_planes(later, spec), label, other, later.activation) * weights).sum() / weights.sum()

    score = float(measured(answers).detach())
    rather = f' rather than {class_name(other, answers.classes)}' if other is not None else ''
    return [
        Chosen(
            again(answers),
            name + rather,
            f'{_place(spec)} {score:.2f}',
            score,
            measured,
            class_index=label,
            region=region,
            again=again,
        )
    ]


def _planes(answers: Answers, spec: TargetSpec) -> Tensor:
    if answers.planes is None:
        raise TargetError(f'{written_spec(spec)}: the model gives no class scores for each pixel')
    return answers.planes


def _place(spec: TargetSpec) -> str:
    if spec.at is not None:
        return f'at {spec.at[0]:g},{spec.at[1]:g}'
    return 'in its region' if spec.mask is None else 'in the mask'


def _cells(geometry: ImageGeometry, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The row of the planes for each row of the original, (H,), and the column for each column, (W,)."""
    (height, width), (rows, columns) = geometry.image_shape, geometry.input_shape
    u, _ = geometry.to_input(np.arange(width) + 0.5, np.zeros(width))  # type: ignore[arg-type]
    _, v = geometry.to_input(np.zeros(height), np.arange(height) + 0.5)  # type: ignore[arg-type]
    down = np.floor(np.asarray(v) * shape[0] / rows).astype(np.int64)
    across = np.floor(np.asarray(u) * shape[1] / columns).astype(np.int64)
    return down.clip(0, shape[0] - 1), across.clip(0, shape[1] - 1)


def _weights(region: np.ndarray, geometry: ImageGeometry, shape: tuple[int, int]) -> Tensor:
    """How many pixels of a region, (H, W), lie in each cell of planes: (h, w) float32."""
    x1, y1, x2, y2 = geometry.visible
    (rows, columns), (down, across) = np.nonzero(region), _cells(geometry, shape)
    seen = (columns + 1 > x1) & (columns < x2) & (rows + 1 > y1) & (rows < y2)
    flat = down[rows[seen]] * shape[1] + across[columns[seen]]
    return torch.from_numpy(np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float32))


def _predicted(answers: Answers, geometry: ImageGeometry) -> np.ndarray:
    """The predicted class of each pixel of the original, (H, W); below 0 for none."""
    segments = answers.detections.segments if answers.detections is not None else None
    if segments is not None and segments.shape == geometry.image_shape:
        return np.array([-1, *segments.labels])[segments.numbers]
    assert answers.planes is not None
    planes = answers.planes.detach()
    best = planes.argmax(dim=0) if len(planes) > 1 else torch.where(planes[0] > 0, 0, -1)
    down, across = _cells(geometry, (int(planes.shape[-2]), int(planes.shape[-1])))
    return best.cpu().numpy()[np.ix_(down, across)]


def _commonest(predicted: np.ndarray, region: np.ndarray | None, answers: Answers) -> int:
    """The class that most of a region is predicted to be, or most of the image."""
    labels = predicted if region is None else predicted[region]
    labels = labels[labels >= 0]
    if labels.size:
        return int(np.bincount(labels).argmax())
    where = 'in the image' if region is None else 'there'
    example = class_name(0, answers.classes)
    raise TargetError(f'no class is predicted {where}: {written("explain", f"class:{example}")} says which is meant')


def _asked_region(spec: TargetSpec, geometry: ImageGeometry) -> np.ndarray | None:
    """The region that was asked for, (H, W) bool; None where it is what the model predicts."""
    if spec.at is not None:
        check_query(geometry, spec.at)
        x, y = position_of(spec.at)
        region = np.zeros(geometry.image_shape, bool)
        region[int(y), int(x)] = True
        return region
    if spec.mask is None:
        return None
    is_file = isinstance(spec.mask, (str, os.PathLike))
    mask = read_image(spec.mask).max(axis=2) if is_file else np.asarray(spec.mask)
    name = str(spec.mask) if is_file else 'the array'
    if mask.shape != geometry.image_shape:
        height, width = geometry.image_shape
        shape = '×'.join(map(str, mask.shape[::-1]))
        raise TargetError(
            f'{written("explain_mask")}: {name} is of {shape} pixels, expected {width}×{height} as the image'
        )
    region = mask if mask.dtype == bool else mask > (_BRIGHT if is_file or mask.max(initial=0) > 1 else 0)
    if not region.any():
        raise TargetError(f'{written("explain_mask")}: {name} is empty, expected pixels that are white')
    return region
