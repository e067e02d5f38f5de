"""Detectors whose results are more than boxes, end to end: packaged configs with random weights."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from featmap.inferencer import FeatMapInferencer

HEIGHT, WIDTH = 96, 160
RESIZE = 'test_dataloader.dataset.pipeline.1.scale'
SMALL = {RESIZE: (256, 160)}
TWO_STAGE = SMALL | {
    'model.test_cfg.rpn.nms_pre': 30,
    'model.test_cfg.rpn.max_per_img': 10,
    'model.test_cfg.rcnn.score_thr': 1e-3,
    'model.test_cfg.rcnn.max_per_img': 7,
}
ONE_STAGE = {'model.test_cfg.score_thr': 1e-3, 'model.test_cfg.nms_pre': 20, 'model.test_cfg.max_per_img': 7}
INS = ('mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
       ONE_STAGE | {RESIZE: (192, 192), 'test_dataloader.dataset.pipeline.2.size': (192, 192)})  # fmt: skip
INS_YOLO = ('mmyolo::rtmdet/rtmdet-ins_s_syncbn_fast_8xb32-300e_coco.py',
            ONE_STAGE | {RESIZE: (160, 160), 'test_dataloader.dataset.pipeline.2.scale': (160, 160)})  # fmt: skip
SEGMENTER = SMALL | {
    'model.test_cfg.max_per_image': 5,
    'model.test_cfg.object_mask_thr': 0,
    'model.test_cfg.iou_thr': 0,
}
SOLO = ONE_STAGE | SMALL | {
    'model.mask_head.num_classes': 3, 'model.mask_head.num_grids': [6, 5, 4, 3, 2], 'model.test_cfg.filter_thr': 1e-4,
}  # fmt: skip


class Family(NamedTuple):
    """A config, what is changed in it, and what must come of a 160x96 image."""

    config: str
    options: dict[str, Any]
    says: str
    boxed: bool = True
    classes: int = 80


FAMILIES = [
    Family('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', TWO_STAGE, r'7 instances'),
    Family(*INS, r'7 instances'),
    Family(*INS_YOLO, r'7 instances'),
    Family('mmdet::solov2/solov2_r50_fpn_1x_coco.py', SOLO, r'7 instances', boxed=False),
    Family('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', SEGMENTER, r'5 instances'),
    Family('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
           SEGMENTER | {'model.test_cfg.max_per_image': 400},  # of which things are instances
           r'\d+ segments? of \d+ class(es)? · \d+ instances?', classes=133),
    Family('mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py', TWO_STAGE,
           r'\d+ segments? of \d+ class(es)?', classes=133),
    Family('mmdet::rpn/rpn_r50_fpn_1x_coco.py', SMALL | {'model.test_cfg.rpn.max_per_img': 6}, r'6 proposals',
           classes=1),
]  # fmt: skip


def build(config: str, options: dict[str, Any], **more: Any) -> FeatMapInferencer:
    return FeatMapInferencer(
        config, target_layers=('backbone',), cfg_options=options, device='cpu', **{'score_thr': 1e-4, **more}
    )


@pytest.mark.parametrize('family', FAMILIES, ids=lambda family: re.split(r'[/.]', family.config)[1])
def test_family(family: Family) -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    result = build(family.config, family.options)(image)
    found = result.predictions
    assert re.fullmatch(family.says, found.count), found.count
    assert result.rendering.panels[0].label.endswith(f' · {found.count}')
    assert len(found.classes) == family.classes
    assert len(found.palette) == (0 if family.classes == 1 else family.classes)
    assert found.boxed == family.boxed
    assert found.boxes.shape == (len(found), 4)
    if 'instance' in family.says:
        assert len(found.masks) == len(found) > 0
        assert found.masks.shape == (HEIGHT, WIDTH)
        assert any(found.masks.whole(index).any() for index in range(len(found)))
    if 'segment' in family.says:
        assert found.segments.shape == (HEIGHT, WIDTH)
        assert found.segments.kind == 'panoptic'
        assert set(found.segments.labels) <= set(range(133))
    if not family.boxed:
        assert (found.boxes == found.masks.windows).all()
    first, panel = result.rendering.panels[0], result.rendering.image
    drawn = panel[first.y : first.y + HEIGHT, first.x : first.x + WIDTH]
    assert (drawn != image).any()


@pytest.mark.parametrize('shape', [(96, 160), (160, 96), (75, 150)])
@pytest.mark.parametrize(
    ('given', 'method'), [(INS, '_mask_predict_by_feat_single'), (INS_YOLO, '_mask_predict_by_feat')]
)
def test_a_mask_lies_where_the_network_saw_it(given, method, shape, monkeypatch) -> None:
    """The mask branch answers where the network's input is bright, so each mask must cover the bright square."""
    image = np.zeros((*shape, 3), np.uint8)
    top, left = shape[0] // 2, shape[1] // 3
    image[top : top + 32, left : left + 24] = 255
    vis = build(*given)
    brightness: list[torch.Tensor] = []
    vis.model.register_forward_pre_hook(lambda module, args: brightness.append(args[0].mean(dim=1, keepdim=True)))

    def bright_cells(self: Any, features: torch.Tensor, kernels: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.adaptive_avg_pool2d(brightness[-1], features.shape[-2:])[0]
        return (cells - (cells.amax() + cells.amin()) / 2).expand(len(kernels), -1, -1)

    monkeypatch.setattr(type(vis.model.bbox_head), method, bright_cells)
    masks = vis(image).predictions.masks
    assert len(masks) == 7
    half = 8 / vis.network.prepare([image]).geometries[0].scale[0] / 2  # of a cell, in pixels of the image
    assert np.abs(masks.windows - [left, top, left + 24, top + 32]).max() <= half + 1
