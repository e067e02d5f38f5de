"""Let a head drop early what will not be drawn: most of post-processing is spent on boxes of low score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch import nn

# Heads whose boxes above a threshold do not depend on boxes below it: they rank by the very score that they filter by,
# or by it times a factor up to 1, suppress greedily, and let no weaker box move a stronger one (as PAA's voting does).
_EXACT = {
    'mmdet': {
        'ATSSHead', 'FCOSHead', 'GFLHead', 'RetinaHead', 'RTMDetHead', 'RTMDetInsHead', 'RTMDetInsSepBNHead',
        'RTMDetSepBNHead', 'SSDHead', 'StandardRoIHead', 'TOODHead', 'YOLOV3Head', 'YOLOXHead',
    },
    'mmyolo': {
        'PPYOLOEHead', 'RTMDetHead', 'RTMDetInsSepBNHead', 'YOLOv5Head', 'YOLOv6Head', 'YOLOv7Head', 'YOLOv8Head',
        'YOLOXHead',
    },
}  # fmt: skip


def own_score_threshold(model: nn.Module) -> float | None:
    """The score under which the model's head drops boxes by its own config, where that says so."""
    for name in ('bbox_head', 'roi_head'):
        cfg = getattr(getattr(model, name, None), 'test_cfg', None)
        found = (cfg.get('rcnn') or cfg).get('score_thr') if cfg else None
        if found is not None:
            return float(found)
    return None


@contextmanager
def raised_score_threshold(model: nn.Module, score_thr: float) -> Iterator[bool]:
    """Within, a head's ``score_thr`` is as high as leaves the boxes from ``score_thr`` up as they are.

    Yields:
        Whether it was raised.
    """
    for name in ('bbox_head', 'roi_head'):
        head = getattr(model, name, None)
        package = type(head).__module__.partition('.')[0]
        cfg = getattr(head, 'test_cfg', None)
        if not cfg or type(head).__name__ not in _EXACT.get(package, ()):
            continue
        # Heads drop a score that equals their threshold; it is to be drawn.
        below = float(np.nextafter(np.float32(score_thr), np.float32(0)))
        own = cfg.get('score_thr')
        if cfg.get('nms', {}).get('type') == 'nms' and own is not None and own < below:
            cfg.score_thr = below
            try:
                yield True
            finally:
                cfg.score_thr = own
            return
    yield False
