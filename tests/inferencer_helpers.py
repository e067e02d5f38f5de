"""A small detector without weights, and an inferencer for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.config import Config

from featmap.inferencer import FeatMapInferencer
from featmap.models.openmmlab.config import load_config
from featmap.results import Result

YOLOV5 = 'mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py'
SMALL = {
    'test_dataloader.dataset.pipeline.1.scale': (160, 160),
    'test_dataloader.dataset.pipeline.2.scale': (160, 160),
    'model.test_cfg.nms_pre': 100,
    'model.test_cfg.score_thr': 1e-6,
}
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)


def build(config: Any = YOLOV5, **options: Any) -> FeatMapInferencer:
    options.setdefault('cfg_options', SMALL if isinstance(config, str) else None)
    if options.get('boxes', True):
        options.setdefault('score_thr', 1e-6)
    return FeatMapInferencer(config, **{'device': 'cpu', **options})


def with_featmap(**settings: Any) -> Config:
    """The small config with a ``featmap`` dict."""
    cfg = load_config(YOLOV5, SMALL)
    cfg.featmap = settings
    return cfg


def names(result: Result) -> list[str]:
    return [item.name for item in result.maps]
