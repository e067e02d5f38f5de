"""Under autocast only the network runs in half precision: boxes are made of its raw output as in full precision.

Each dense head gets feature maps of its own kind. What it puts out is handed to its decoding once as float32 and once
as bfloat16 of the same values, under autocast: what differs then was lost in priors or decoding.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from featmap.models.openmmlab.build import import_scopes, scope_of
from featmap.models.openmmlab.config import load_config
from featmap.models.openmmlab.detector import Detector
from featmap.models.openmmlab.precision import FullPrecision
from featmap.sources import Source
from tests.conftest import CHECKPOINT, CONFIG, IMAGE

HEIGHT, WIDTH = 256, 512
P3_TO_P5, P3_TO_P7 = (8, 16, 32), (8, 16, 32, 64, 128)
SMALL = {'score_thr': 0.0, 'nms_pre': 150}


class Head(NamedTuple):
    """A dense head by its config, with the channels and strides of what it is fed with."""

    config: str
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    name: str = 'bbox_head'
    test_cfg: dict[str, Any] = SMALL


HEADS = [
    Head('mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py', (64, 128, 256), P3_TO_P5),
    Head('mmyolo::yolov6/yolov6_n_syncbn_fast_8xb32-300e_coco.py', (32, 64, 128), P3_TO_P5),
    Head('mmyolo::yolov7/yolov7_tiny_syncbn_fast_8x16b-300e_coco.py', (128, 256, 512), P3_TO_P5),
    Head('mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py', (64, 128, 256), P3_TO_P5),
    Head('mmyolo::yolox/yolox_tiny_fast_8xb8-300e_coco.py', (96, 96, 96), P3_TO_P5),
    Head('mmyolo::ppyoloe/ppyoloe_s_fast_8xb32-300e_coco.py', (96, 192, 384), P3_TO_P5),
    Head('mmyolo::rtmdet/rtmdet_tiny_syncbn_fast_8xb32-300e_coco.py', (96, 96, 96), P3_TO_P5),
    Head('mmyolo::rtmdet/rtmdet-ins_s_syncbn_fast_8xb32-300e_coco.py', (128, 128, 128), P3_TO_P5),
    Head('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', (96, 96, 96), P3_TO_P5),
    Head('mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py', (96, 96, 96), P3_TO_P5),
    Head('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', (96, 96, 96), P3_TO_P5),
    Head('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', (256,) * 5, P3_TO_P7),
    Head('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', (256,) * 5, (4, 8, 16, 32, 64), 'rpn_head',
         {'nms_pre': 150, 'max_per_img': 150}),
    Head('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', (256,) * 5, P3_TO_P7),
    Head('mmdet::tood/tood_r50_fpn_1x_coco.py', (256,) * 5, P3_TO_P7),
    Head('mmdet::centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py', (64,), (4,), test_cfg={}),
    Head('mmdet::dyhead/atss_r50_fpn_dyhead_1x_coco.py', (256,) * 5, P3_TO_P7),
    Head('mmdet::ssd/ssd300_coco.py', (512, 1024, 512, 256, 256, 256), (8, 16, 32, 64, 100, 300),
         test_cfg={'nms_pre': 150}),
    Head('mmdet::yolo/yolov3_d53_8xb8-320-273e_coco.py', (512, 256, 128), (32, 16, 8)),
]  # fmt: skip


def build(head: Head) -> tuple[nn.Module, str]:
    """The head alone, with random weights, and its scope."""
    from mmengine.registry import MODELS

    config = load_config(head.config)
    import_scopes(config)
    cfg, scope = config.model, scope_of(config)
    test_cfg = cfg.test_cfg.rpn if head.name == 'rpn_head' else cfg.test_cfg
    test_cfg.update(head.test_cfg)
    with DefaultScope.overwrite_default_scope(scope):
        torch.manual_seed(0)
        module = MODELS.build(dict(cfg[head.name], test_cfg=test_cfg, train_cfg=None))
        module.init_weights()
    if hasattr(module, 'loss_cls') is False:
        module.loss_cls = None  # as featmap does for SSD, see build_model
    return module.eval(), scope


def half(value: Any) -> Any:
    """Every tensor in bfloat16."""
    if isinstance(value, Tensor):
        return value.bfloat16() if value.is_floating_point() else value
    return type(value)(half(each) for each in value) if isinstance(value, (tuple, list)) else value


def single(value: Any) -> Any:
    """The same numbers, those of bfloat16, in float32."""
    if isinstance(value, Tensor):
        return value.float()
    return type(value)(single(each) for each in value) if isinstance(value, (tuple, list)) else value


@pytest.mark.parametrize('head', HEADS, ids=lambda head: re.split(r'[/.]', head.config)[1])
def test_boxes_are_decoded_as_in_full_precision(head: Head) -> None:
    from mmdet.structures import DetDataSample

    module, scope = build(head)
    meta = {
        'img_shape': (HEIGHT, WIDTH), 'ori_shape': (HEIGHT, WIDTH), 'batch_input_shape': (HEIGHT, WIDTH),
        'scale_factor': (1.0, 1.0), 'border': (0, HEIGHT, 0, WIDTH),
    }  # fmt: skip
    random = torch.Generator().manual_seed(1)
    features = tuple(
        torch.randn(1, channels, -(-HEIGHT // stride), -(-WIDTH // stride), generator=random)
        for channels, stride in zip(head.channels, head.strides)
    )
    raw: list[Any] = []

    def predict(amp: bool) -> InstanceData:
        raw_again = module.register_forward_hook(lambda *_: half(raw[0]) if amp else single(raw[0]))
        try:
            with DefaultScope.overwrite_default_scope(scope), torch.autocast('cpu', torch.bfloat16, enabled=amp):
                return module.predict(features, [DetDataSample(metainfo=meta)], rescale=True)[0]
        finally:
            raw_again.remove()

    with torch.no_grad():
        raw.append(half(module(features)))
        expected = predict(amp=False)
        if hasattr(module, 'featmap_sizes'):
            module.featmap_sizes = [torch.Size([0, 0])] * len(head.strides)  # or priors are those of the first run
        with FullPrecision(module).active():
            found = predict(amp=True)

    assert len(found) == len(expected) > 0
    assert found.bboxes.dtype == torch.float32
    assert (found.labels == expected.labels).all()
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-6)


def test_the_shipped_detector_finds_the_same_under_autocast() -> None:
    image = Source(str(IMAGE), IMAGE.name).read()
    full, amp = (Detector(CONFIG, CHECKPOINT, device='cpu', amp=on) for on in (False, True))
    expected, found = (each.predict(each.prepare([image]))[0] for each in (full, amp))
    assert len(found) == len(expected) == 19
    nearest = [np.abs(found.boxes - box).max(axis=1).argmin() for box in expected.boxes]
    assert sorted(nearest) == list(range(19))
    assert (found.labels[nearest] == expected.labels).all()
    # The network's own rounding remains: 2 pixels in an image of 1024.
    assert np.abs(found.boxes[nearest] - expected.boxes).max() < 3
    assert np.abs(found.scores[nearest] - expected.scores).max() < 0.05


def test_only_the_decoding_leaves_autocast_and_the_model_is_left_as_it_was() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cls = nn.Linear(4, 4)
            self.reg_branches = nn.ModuleList([nn.Linear(4, 4)] * 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.cls(x), self.reg_branches[0](x)

        def predict_by_feat(self, scores: list[Tensor], scale: float = 1.0) -> tuple[torch.dtype, bool, float]:
            return scores[0].dtype, (scores[0] @ scores[0].T).dtype is torch.bfloat16, scale

    model = Branches()
    model.predict_by_feat = own = model.predict_by_feat  # one that stands on the instance stays there
    precision = FullPrecision(model)
    x = torch.randn(2, 4, dtype=torch.bfloat16)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        with precision.active():
            scores, coordinates = model(x)
            assert (scores.dtype, coordinates.dtype) == (torch.bfloat16, torch.float32)
            torch.testing.assert_close(coordinates, nn.functional.linear(
                x.float(), model.reg_branches[0].weight.float(), model.reg_branches[0].bias
            ).float(), rtol=1e-2, atol=1e-2)  # fmt: skip
            assert model.predict_by_feat([scores], scale=2.0) == (torch.float32, False, 2.0)
        assert model(x)[1].dtype == torch.bfloat16
        assert model.predict_by_feat([scores]) == (torch.bfloat16, True, 1.0)
    assert model.predict_by_feat is own
    assert 'forward' not in vars(model.reg_branches[0])
    with pytest.raises(ZeroDivisionError), precision.active():
        raise ZeroDivisionError
    assert model.predict_by_feat is own
