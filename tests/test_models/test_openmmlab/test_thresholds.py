"""A higher threshold inside the head draws the same boxes, to the last bit."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

from featmap.models.openmmlab import detector as detector_module
from featmap.models.openmmlab.detector import Detector
from featmap.models.openmmlab.thresholds import own_score_threshold, raised_score_threshold

RESIZE = 'test_dataloader.dataset.pipeline.1.scale'
LETTERBOX = 'test_dataloader.dataset.pipeline.2.scale'
MANY = {'model.test_cfg.max_per_img': 3000}
YOLO = {RESIZE: (96, 96), LETTERBOX: (96, 96), **MANY}
R_CNN = {
    RESIZE: (128, 96),
    'model.test_cfg.rpn.nms_pre': 300,
    'model.test_cfg.rpn.max_per_img': 200,
    'model.test_cfg.rcnn.max_per_img': 3000,
}
THRESHOLD = 0.3
IMAGE = np.random.default_rng(5).integers(0, 256, (96, 160, 3), dtype=np.uint8)


CASES = {
    # Config, options, and from where to where the boxes that the head puts out reach: offsets or distances.
    'yolov5': ('mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py', YOLO, (-1.0, 1.0)),
    'yolov8': ('mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py', YOLO, (0.5, 3.0)),
    'rtmdet': ('mmyolo::rtmdet/rtmdet_tiny_syncbn_fast_8xb32-300e_coco.py', YOLO, (0.5, 3.0)),
    'yolox': ('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', {RESIZE: (96, 96)}, (-0.5, 1.5)),
    'retinanet': ('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', {RESIZE: (128, 96), **MANY}, (-0.5, 0.5)),
    'fcos': ('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', {RESIZE: (128, 96), **MANY}, (4.0, 40.0)),
    'faster-rcnn': ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', R_CNN, (-0.5, 0.5)),
}


def head_of(model: nn.Module) -> Any:
    """The module that holds ``test_cfg``."""
    return getattr(model, 'roi_head', None) or model.bbox_head


def with_lively_head(detector: Detector, reach: tuple[float, float]) -> Detector:
    """Let the head answer with noise, the same each time: scores from 0 to 1 and boxes that overlap."""

    def answer(module: nn.Module, inputs: Any, outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        noise = torch.Generator().manual_seed(1)

        def scores(like: torch.Tensor) -> torch.Tensor:
            return torch.empty(like.shape).normal_(-4, 1.6, generator=noise)

        def boxes(like: torch.Tensor) -> torch.Tensor:
            return torch.empty(like.shape).uniform_(*reach, generator=noise)

        def factors(like: torch.Tensor) -> torch.Tensor:
            return torch.empty(like.shape).normal_(2, 2, generator=noise)

        made = []
        for part, make in zip(outputs, (scores, boxes, factors)):
            made.append([make(level) for level in part] if isinstance(part, (list, tuple)) else make(part))
        return tuple(made)

    head = head_of(detector.model)
    getattr(head, 'bbox_head', head).register_forward_hook(answer)
    return detector


@pytest.mark.parametrize('case', CASES)
def test_the_drawn_boxes_are_the_same(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, options, reach = CASES[case]
    raised = with_lively_head(Detector(config, device='cpu', cfg_options=options, score_thr=THRESHOLD), reach)
    seen = []
    head = head_of(raised.model)
    getattr(head, 'bbox_head', head).register_forward_hook(lambda *_: seen.append(head.test_cfg.score_thr))
    found = raised.predict(raised.prepare([IMAGE]))[0]
    assert seen == [pytest.approx(THRESHOLD)] * len(seen) != []
    assert head_of(raised.model).test_cfg.score_thr < 0.06

    monkeypatch.setattr(detector_module, 'raised_score_threshold', lambda model, score_thr: nullcontext())
    plain = with_lively_head(Detector(config, device='cpu', cfg_options=options, score_thr=THRESHOLD), reach)
    batch = plain.prepare([IMAGE])
    expected = plain.predict(batch)[0]
    all_scores = plain.model(batch.inputs, batch.data_samples, mode='predict')[0].pred_instances.scores
    assert len(expected) >= 5
    assert all_scores.min() < THRESHOLD / 2
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.boxes, expected.boxes)


class Head(nn.Module):
    """Stands for the head of the same name in mmdet or mmyolo."""

    def __init__(self, **test_cfg: Any) -> None:
        super().__init__()
        self.test_cfg = ConfigDict(test_cfg) if test_cfg else None


def model_with(package: str, name: str, attribute: str = 'bbox_head', **test_cfg: Any) -> nn.Module:
    model = nn.Module()
    head = type(name, (Head,), {'__module__': f'{package}.models.dense_heads.some_head'})(**test_cfg)
    model.add_module(attribute, head)
    return model


NMS = {'type': 'nms', 'iou_threshold': 0.5}


@pytest.mark.parametrize(
    ('package', 'name', 'test_cfg'),
    [
        pytest.param('mmdet', 'PAAHead', {'nms': NMS, 'score_thr': 0.05}, id='weak-boxes-vote-in-paa'),
        pytest.param('mmyolo', 'YOLOv5InsHead', {'nms': NMS, 'score_thr': 0.05}, id='not-known-to-be-exact'),
        pytest.param('mine', 'RetinaHead', {'nms': NMS, 'score_thr': 0.05}, id='a-head-of-the-users'),
        pytest.param('mmdet', 'RetinaHead', {'nms': {'type': 'soft_nms'}, 'score_thr': 0.05}, id='soft-nms'),
        pytest.param('mmdet', 'RetinaHead', {'nms': NMS, 'score_thr': 0.5}, id='higher-already'),
        pytest.param('mmdet', 'RetinaHead', {'nms': NMS}, id='no-threshold'),
        pytest.param('mmdet', 'RetinaHead', {'score_thr': 0.05}, id='no-nms'),
        pytest.param('mmdet', 'RetinaHead', {}, id='no-test-cfg'),
    ],
)
def test_left_alone(package: str, name: str, test_cfg: dict[str, Any]) -> None:
    model = model_with(package, name, **test_cfg)
    with raised_score_threshold(model, 0.3) as raised:
        assert not raised
        assert (model.bbox_head.test_cfg or {}) == test_cfg  # type: ignore[union-attr]
    assert (model.bbox_head.test_cfg or {}) == test_cfg  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ('package', 'name', 'attribute'),
    [('mmdet', 'RetinaHead', 'bbox_head'), ('mmyolo', 'YOLOv8Head', 'bbox_head'),
     ('mmdet', 'StandardRoIHead', 'roi_head')],
)  # fmt: skip
def test_raised(package: str, name: str, attribute: str) -> None:
    model = model_with(package, name, attribute, nms=NMS, score_thr=0.05)
    with raised_score_threshold(model, 0.3) as raised:
        threshold = getattr(model, attribute).test_cfg.score_thr
    assert raised
    assert getattr(model, attribute).test_cfg.score_thr == 0.05
    # Heads keep what is above their threshold; drawn is what is at 0.3 as well.
    assert torch.tensor(0.3) > threshold
    assert torch.tensor(0.3).nextafter(torch.tensor(0.0)) <= threshold


def test_put_back_after_an_error() -> None:
    model = model_with('mmdet', 'RetinaHead', nms=NMS, score_thr=0.05)
    with pytest.raises(KeyError), raised_score_threshold(model, 0.3):
        raise KeyError
    assert model.bbox_head.test_cfg.score_thr == 0.05  # type: ignore[union-attr]


def test_no_head_at_all() -> None:
    with raised_score_threshold(nn.Linear(1, 1), 0.3) as raised:
        assert not raised
    assert own_score_threshold(nn.Linear(1, 1)) is None


def test_the_heads_own_threshold_is_known() -> None:
    assert own_score_threshold(model_with('mine', 'SomeHead', score_thr=0.05)) == 0.05
    assert own_score_threshold(model_with('mine', 'SomeHead', 'roi_head', rcnn={'score_thr': 0.01})) == 0.01
    assert own_score_threshold(model_with('mine', 'SomeHead', nms=NMS)) is None
