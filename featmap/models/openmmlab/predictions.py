"""What a model's data sample says it found, in original pixels, and the name of what cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from featmap.masks import Masks, Segments
from featmap.models.openmmlab.image_place import ImagePlace
from featmap.models.outputs.classes import classification_of
from featmap.structures import Detections

_INSTANCE_OFFSET = 1000  # of mmdet's panoptic results: class + 1000 · instance
_NOT_DRAWN = ('keypoints',)


@dataclass(frozen=True)
class Reader:
    """Reads the results of one model.

    Args:
        classes: The classes' names.
        palette: Their RGB colours, or none.
        score_thr: Instances below it are left out.
        proposals: Whether the boxes are those of a region proposal network, which knows no classes.
        multi_label: Whether a classifier scores each class by itself.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    score_thr: float = 0.3
    proposals: bool = False
    multi_label: bool = False

    @classmethod
    def of(
        cls, model: nn.Module, classes: tuple[str, ...], palette: tuple[tuple[int, int, int], ...], score_thr: float
    ) -> Reader:
        """The reader for a model."""
        if any(kind.__name__ == 'RPN' for kind in type(model).__mro__):
            return cls(('object',), (), score_thr, proposals=True)
        head = type(getattr(model, 'head', None))
        return cls(classes, palette, score_thr, multi_label=any('MultiLabel' in kind.__name__ for kind in head.__mro__))

    def read(self, sample: Any, place: ImagePlace) -> Detections:
        """What a data sample holds: the best classes, instances from the threshold up, a panoptic or semantic result.

        Boxes end at the image's edges; those that are not finite are left out.
        """
        undrawn: list[str] = []
        found = Detections(classes=self.classes, palette=self.palette, kind='')
        for key, value in sample.items():
            if key == 'pred_instances':
                found = self._instances(value, place, found, undrawn)
            elif key in ('pred_panoptic_seg', 'pred_sem_seg'):
                kind = 'panoptic' if key == 'pred_panoptic_seg' else 'semantic'
                segments = self._segments(value, place, kind)
                if segments is None:
                    undrawn.append(f'{kind} result of another size')
                elif found.segments is None or kind == 'panoptic':  # which tells more
                    found = replace(found, segments=segments)
            elif key == 'pred_score' and value.ndim == 1 and value.numel():
                kind = 'sigmoid' if self.multi_label else 'softmax'
                found = replace(found, classification=classification_of(value, kind))
            elif key == 'pred_label' and 'pred_score' in sample:
                continue  # the best of the scores
            elif key.startswith('pred_'):
                undrawn.append(key[len('pred_') :].replace('_', ' '))
        return replace(found, undrawn=tuple(undrawn))

    def _instances(self, given: Any, place: ImagePlace, found: Detections, undrawn: list[str]) -> Detections:
        boxes, scores, masks = given.get('bboxes'), given.get('scores'), given.get('masks')
        boxes = getattr(boxes, 'tensor', boxes)
        undrawn += [name for name in _NOT_DRAWN if name in given]
        if boxes is not None and boxes.shape[-1] != 4:
            undrawn.append('rotated boxes' if boxes.shape[-1] == 5 else f'boxes of {boxes.shape[-1]} numbers')
            boxes = None
        if masks is not None and tuple(masks.shape[-2:]) != place.answer_shape:
            undrawn.append('masks of another size')
            masks = None
        if scores is None and (boxes is not None or masks is not None):
            undrawn.append('boxes without scores')
        if scores is None or (boxes is None and masks is None):
            return found
        keep = scores >= self.score_thr
        if boxes is not None:
            keep = keep & boxes.isfinite().all(dim=-1)
        labels = given.get('labels')
        labels = torch.zeros_like(scores, dtype=torch.long) if labels is None else labels
        # SOLO sets boxes of zeros beside its masks.
        boxed = boxes is not None and (masks is None or not len(boxes) or bool(boxes.any()))
        kept, cut = keep.nonzero().flatten().tolist(), None
        if masks is not None:
            # One after another: together they may take more memory than the network.
            cut = Masks.of((_plane(masks[index], place).astype(bool) for index in kept), place.geometry.image_shape)
        if boxed:
            edges = place.boxes(boxes[keep].float().cpu().numpy())
        else:
            assert cut is not None
            edges = cut.windows.astype(np.float32)
        kind = 'proposal' if self.proposals else 'detection' if cut is None else 'instance'
        return replace(
            found,
            boxes=edges,
            scores=scores[keep].float().cpu().numpy(),
            labels=labels[keep].long().cpu().numpy(),
            masks=cut,
            kind=kind,
            boxed=boxed,
        )

    def _segments(self, given: Any, place: ImagePlace, kind: str) -> Segments | None:
        ids = given.get('sem_seg', given.get('data'))  # as mmdet and as mmseg call it
        if ids is None or tuple(ids.shape[-2:]) != place.answer_shape or ids.numel() != ids.shape[-1] * ids.shape[-2]:
            return None
        known = len(self.classes) or 255
        nothing = [label for label, name in enumerate(self.classes) if name.strip('_ ').lower() == 'background']

        def classes_of(numbers: np.ndarray) -> np.ndarray:
            labels = numbers % _INSTANCE_OFFSET if kind == 'panoptic' else numbers
            return np.where((numbers >= 0) & (labels < known) & ~np.isin(labels, nothing), labels, -1)

        ids = ids.reshape(ids.shape[-2:])  # of a single class mmseg's are floats
        ids = ids.int() if ids.is_floating_point() else ids
        return Segments.of(_plane(ids, place, void=-1), classes_of, kind)


def _plane(given: Any, place: ImagePlace, void: int = 0) -> np.ndarray:
    """A plane (h, w) of a head on the original image, (H, W), on the host."""
    array = given.cpu().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)
    return place.plane(array, void)
