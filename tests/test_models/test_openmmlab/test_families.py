"""Every detector family end to end: a packaged config with random weights, its maps, boxes and ops.

The networks keep their structure; only the input, the number of queries and the boxes before suppression are
smaller than in the configs.
"""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from featmap.asked import Asked
from featmap.errors import TargetError
from featmap.gradients import GradientRecorder
from featmap.inferencer import FeatMapInferencer
from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.targets import Scene, Tracer, choose, parse_target, traced_layers
from featmap.targets.tracked import Tracked
from tests.conftest import hooks

HEIGHT, WIDTH = 96, 160
RESIZE = 'test_dataloader.dataset.pipeline.1.scale'
LETTERBOX = 'test_dataloader.dataset.pipeline.2.scale'
NMS, ROI, DCN, DCN_V2 = 'nms', 'roi_align_forward', 'deform_conv_forward', 'modulated_deform_conv_forward'

YOLO = {RESIZE: (160, 160), LETTERBOX: (160, 160), 'model.test_cfg.nms_pre': 200}
ONE_STAGE = {RESIZE: (256, 160), 'model.test_cfg.score_thr': 1e-3, 'model.test_cfg.nms_pre': 100}
TWO_STAGE = {
    RESIZE: (256, 160),
    'model.test_cfg.rpn.nms_pre': 30,
    'model.test_cfg.rpn.max_per_img': 10,
    'model.test_cfg.rcnn.score_thr': 1e-3,
}
P2_TO_P5, P3_TO_P5, P3_TO_P7 = (4, 8, 16, 32), (8, 16, 32), (8, 16, 32, 64, 128)
YOLO_STRIDES = {'backbone': P3_TO_P5, 'neck': P3_TO_P5}


class Family(NamedTuple):
    """A config, what is changed in it, and what must come of a 160x96 image."""

    config: str
    options: dict[str, Any]
    score_thr: float
    input_shape: tuple[int, int]
    strides: dict[str, tuple[int, ...]]
    ops: set[str]


FAMILIES = [
    Family('mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py',
           YOLO | {'model.test_cfg.score_thr': 1e-5}, 1e-5, (160, 160), YOLO_STRIDES, {NMS}),
    Family('mmyolo::yolov6/yolov6_n_syncbn_fast_8xb32-300e_coco.py',
           YOLO, 5e-3, (160, 160), YOLO_STRIDES, {NMS}),
    Family('mmyolo::yolov7/yolov7_tiny_syncbn_fast_8x16b-300e_coco.py',
           YOLO, 5e-3, (160, 160), YOLO_STRIDES, {NMS}),
    Family('mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py',
           YOLO | {'model.test_cfg.score_thr': 1e-5}, 1e-5, (160, 160), YOLO_STRIDES, {NMS}),
    Family('mmyolo::yolox/yolox_tiny_fast_8xb8-300e_coco.py',
           {RESIZE: (160, 160), 'model.test_cfg.nms_pre': 200, 'model.test_cfg.score_thr': 1e-5}, 1e-5,
           (160, 160), YOLO_STRIDES, {NMS}),
    Family('mmyolo::ppyoloe/ppyoloe_s_fast_8xb32-300e_coco.py',
           {'test_dataloader.dataset.pipeline.1.width': 160, 'test_dataloader.dataset.pipeline.1.height': 160,
            'model.test_cfg.nms_pre': 200, 'model.test_cfg.score_thr': 1e-3}, 5e-3,
           (160, 160), YOLO_STRIDES, {NMS}),
    Family('mmyolo::rtmdet/rtmdet_tiny_syncbn_fast_8xb32-300e_coco.py',
           YOLO, 5e-3, (160, 160), YOLO_STRIDES, {NMS}),
    Family('mmyolo::rtmdet/rtmdet-ins_s_syncbn_fast_8xb32-300e_coco.py',
           YOLO | {'model.test_cfg.score_thr': 1e-3}, 5e-3, (160, 160), YOLO_STRIDES, {NMS}),
    Family('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
           ONE_STAGE | {RESIZE: (192, 192), 'test_dataloader.dataset.pipeline.2.size': (192, 192),
                        'model.bbox_head.exp_on_reg': True}, 5e-3,
           (192, 192), YOLO_STRIDES, {NMS}),
    Family('mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
           ONE_STAGE | {RESIZE: (192, 192), 'test_dataloader.dataset.pipeline.2.size': (192, 192)}, 5e-3,
           (192, 192), YOLO_STRIDES, {NMS}),
    Family('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
           {RESIZE: (192, 192), 'model.test_cfg.score_thr': 1e-5}, 1e-5,
           (192, 192), YOLO_STRIDES, {NMS}),
    Family('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
           ONE_STAGE, 5e-3, (160, 256), {'backbone': P2_TO_P5, 'neck': P3_TO_P7}, {NMS}),
    Family('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
           TWO_STAGE, 5e-3, (160, 256), {'backbone': P2_TO_P5, 'neck': (4, 8, 16, 32, 64)}, {NMS, ROI}),
    Family('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
           TWO_STAGE, 5e-3, (160, 256), {'backbone': P2_TO_P5, 'neck': (4, 8, 16, 32, 64)}, {NMS, ROI}),
    Family('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
           ONE_STAGE, 5e-3, (160, 256), {'backbone': P2_TO_P5, 'neck': P3_TO_P7}, {NMS}),
    Family('mmdet::tood/tood_r50_fpn_1x_coco.py',
           ONE_STAGE, 5e-3, (160, 256), {'backbone': P2_TO_P5, 'neck': P3_TO_P7}, {NMS, DCN}),
    Family('mmdet::dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',
           TWO_STAGE, 5e-3, (160, 256), {'backbone': P2_TO_P5, 'neck': (4, 8, 16, 32, 64)}, {NMS, ROI, DCN}),
    Family('mmdet::dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py',
           TWO_STAGE, 5e-3, (160, 256), {'backbone': P2_TO_P5, 'neck': (4, 8, 16, 32, 64)}, {NMS, ROI, DCN_V2}),
    Family('mmdet::centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py',
           {}, 5e-2, (128, 192), {'backbone': P2_TO_P5, 'neck': (4,)}, {DCN_V2}),
    Family('mmdet::dyhead/atss_r50_fpn_dyhead_1x_coco.py',
           ONE_STAGE, 5e-3, (160, 256), {'backbone': P2_TO_P5, 'neck': P3_TO_P7}, {NMS, DCN_V2}),
    Family('mmdet::cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py',
           {'model.backbone.stage_blocks': [1, 1, 1, 1, 1, 1], 'model.test_cfg.score_thr': 0.0,
            'model.test_cfg.corner_topk': 40, 'model.test_cfg.distance_threshold': 1e4,
            'model.test_cfg.nms': {'type': 'nms', 'iou_threshold': 0.5, '_delete_': True}}, 0.0,
           (127, 255), {'backbone': (4, 4)}, {NMS}),
    Family('mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
           TWO_STAGE, 5e-3, (160, 256),
           {'backbone': P2_TO_P5, 'neck': (4, 8, 16, 32, 64), 'backbone.patch_embed': (4,),
            'backbone.stages.1': (16, 8), 'backbone.stages.1.blocks.0': (8,)}, {NMS, ROI}),
    Family('mmdet::pvt/retinanet_pvt-t_fpn_1x_coco.py',
           ONE_STAGE, 5e-3, (160, 256),
           {'backbone': P2_TO_P5, 'neck': P3_TO_P7, 'backbone.layers.1.0': (8,)}, {NMS}),
    Family('mmdet::ssd/ssd300_coco.py',
           {'model.test_cfg.nms_pre': 20}, 5e-3,
           (300, 300), {'backbone': (8, 16), 'neck': (8, 16, 32, 64, 64, 64)}, {NMS}),
    Family('mmdet::yolo/yolov3_d53_8xb8-320-273e_coco.py',
           {RESIZE: (256, 160)}, 5e-2,
           (160, 256), {'backbone': P3_TO_P5, 'neck': (32, 16, 8)}, {NMS}),
    Family('mmdet::detr/detr_r50_8xb2-150e_coco.py',
           {RESIZE: (250, 150), 'model.num_queries': 20, 'model.test_cfg.max_per_img': 20}, 5e-3,
           (150, 250), {'backbone': (32,), 'neck': (32,), 'encoder': (32,)}, set()),
    # At this size the tokens of all levels are also as many as a grid of 7-pixel patches and 5 tokens more.
    Family('mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
           {RESIZE: (344, 207), 'model.num_queries': 20, 'model.test_cfg.max_per_img': 20}, 5e-3,
           (206, 344), {'backbone': P3_TO_P5, 'neck': (8, 16, 32, 64), 'encoder': (8, 16, 32, 64)}, set()),
    Family('mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
           {RESIZE: (250, 150), 'model.num_queries': 20, 'model.test_cfg.max_per_img': 20}, 5e-3,
           (150, 250), {'backbone': P3_TO_P5, 'neck': (8, 16, 32, 64), 'encoder': (8, 16, 32, 64)}, set()),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def ops_called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the compiled ops, or of their stand-ins, that are called."""
    ensure_ops()
    import mmcv.ops  # noqa: F401  the ops are looked up in the extension when they are called

    called: set[str] = set()
    extension = sys.modules['mmcv._ext']

    def spy(name: str, op: Any) -> Any:
        return lambda *args, **kwargs: called.add(name) or op(*args, **kwargs)

    for name in (NMS, ROI, DCN, DCN_V2):
        monkeypatch.setattr(extension, name, spy(name, getattr(extension, name)))
    return called


@pytest.mark.parametrize('family', FAMILIES, ids=lambda family: re.split(r'[/.]', family.config)[1])
def test_family(family: Family, ops_called: set[str]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    inferencer = FeatMapInferencer(
        family.config,
        target_layers=tuple(family.strides),
        cfg_options=family.options,
        score_thr=family.score_thr,
        labels=False,
        device='cpu',
    )
    before = hooks(inferencer.model)
    result = inferencer(image)

    layers = [layer for layer, strides in family.strides.items() for _ in strides]
    strides = [(stride, stride) for strides in family.strides.values() for stride in strides]
    assert [item.layer for item in result.maps] == layers
    assert [item.stride for item in result.maps] == strides
    assert all(item.stride_known for item in result.maps)
    for item in result.maps:
        assert item.geometry.image_shape == (HEIGHT, WIDTH)
        assert item.geometry.input_shape == family.input_shape
        assert item.values.shape == (1, *item.shape[1:])
        assert item.values.dtype == np.float32
        assert np.isfinite(item.values).all()
    assert any(np.ptp(item.content) > 0 for item in result.maps)

    columns = int(np.ceil(np.sqrt(1 + len(layers))))
    rows = -(-(1 + len(layers)) // columns)
    assert result.image.shape == (rows * (HEIGHT + 2) + 2, columns * (WIDTH + 2) + 2, 3)
    assert len(result.rendering.panels) == 1 + len(layers)

    found = result.predictions
    assert len(found) > 0
    assert found.boxes.shape == (len(found), 4)
    assert found.boxes.min() >= 0
    assert (found.boxes <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
    assert (found.boxes[:, 2:] >= found.boxes[:, :2] - 1e-3).all()
    assert found.scores.min() >= np.float32(family.score_thr)
    assert len(found.classes) == 80
    assert set(found.labels) <= set(range(80))

    assert hooks(inferencer.model) == before == 0
    assert ops_called == family.ops
    check_traces(inferencer.network, image)


def check_traces(network: Any, image: np.ndarray) -> None:
    """Each of some detections comes from one raw prediction, which has its score, and its box."""
    layers, model = network.raw_layers(), network.model
    found = network.predict(network.prepare([image], contiguous=True))[0]
    batch = network.prepare([image], contiguous=True)
    recorder = GradientRecorder(model, traced_layers(model, layers))
    with torch.enable_grad():
        answers = network.respond(batch, recorder)[0]
    tracer = Tracer(layers, recorder.kept, batch.input_shape)
    scene = Scene(answers, batch.geometries[0], tracer, network.score_thr)
    assert len(answers.shown) == len(found)
    np.testing.assert_allclose(answers.detections.scores, found.scores, atol=1e-4)
    # Of equal scores another may come first; of random weights many are.
    order, expected = (
        np.lexsort((*each.boxes.round(-1).T, -each.scores.round(3))) for each in (answers.detections, found)
    )
    np.testing.assert_allclose(answers.detections.boxes[order], found.boxes[expected], atol=0.5)
    for rank in {0, len(found) // 2, len(found) - 1}:
        chosen = choose(parse_target(f'box:{rank}'), scene)[0]
        trace = chosen.trace
        assert trace is not None
        assert (trace.kind == 'dense') == bool(trace.cells)
        assert trace.kind != 'dense' or trace.feature
        np.testing.assert_allclose(chosen.box, answers.boxes[answers.shown[rank]].detach())
        if len(trace.cells) == 2:  # the mean score of two corners
            continue
        parts = {'class': 0.0, 'objectness': 0.0}
        for part in parts:
            with contextlib.suppress(TargetError):
                parts[part] = float(choose(parse_target(f'box:{rank}', part), scene)[0].scalar.detach().exp())
        whole = parts['class'] * (parts['objectness'] or 1)
        assert min(abs(chosen.score - each) for each in (whole, whole**0.5)) < 1e-4
        if trace.kind == 'dense':
            followed = Tracked(Asked(network, image, batch), [chosen])(batch.inputs)[0]
            assert abs(float(followed.detach().exp()) - whole) < 1e-4
        for side in choose(parse_target(f'box:{rank}', 'all'), scene)[0].parts[1:]:
            assert tracer.find(side.scalar, side.name).place == tracer.find(chosen.scalar, chosen.name).place
