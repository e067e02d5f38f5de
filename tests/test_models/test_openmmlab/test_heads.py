"""What heads say of their outputs, against what the heads themselves make of them: the scores of their detections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from featmap.meaning import TITLES
from featmap.models.openmmlab.build import build_model
from featmap.models.openmmlab.config import load_config
from featmap.models.openmmlab.heads import HeadMeaning, Meanings
from featmap.models.openmmlab.mmcv_ops import ensure_ops

CLASSES = ('cat', 'dog', 'traffic light')
SHAPES = ((8, 12), (4, 6), (2, 3), (1, 2), (1, 1))
TEST = ConfigDict(nms_pre=10_000, min_bbox_size=-1, score_thr=0.0, max_per_img=10_000, multi_label=True,
                  nms=ConfigDict(type='nms', iou_threshold=1.0))  # fmt: skip
P3_TO_P7 = ['P3', 'P4', 'P5', 'P6', 'P7']
FOCAL = {'type': 'FocalLoss', 'use_sigmoid': True}
ANCHORS = {'type': 'AnchorGenerator', 'ratios': [0.5, 1.0], 'octave_base_scale': 4, 'scales_per_octave': 2,
           'strides': [8, 16, 32, 64, 128]}  # fmt: skip
ONE_ANCHOR = {**ANCHORS, 'ratios': [1.0], 'scales_per_octave': 1}
SMALL = {'in_channels': 8, 'feat_channels': 8, 'stacked_convs': 1}
POINTS = {**SMALL, 'bbox_coder': {'type': 'DistancePointBBoxCoder'}}


def mmyolo(kind: str, **options: Any) -> dict[str, Any]:
    module = {'type': f'mmyolo.{kind}Module', 'in_channels': [8, 8, 8], 'num_classes': 3, **options.pop('module', {})}
    return {'type': f'mmyolo.{kind}', 'head_module': module, **options}


SIZES = [[(10, 13), (16, 30)], [(30, 61), (62, 45)], [(116, 90), (156, 198)]]
# The head, kinds of its outputs in order, levels, anchors of each, what makes scores, what these are multiplied with.
HEADS: dict[str, tuple[dict[str, Any], list[str], list[str], int | list[int], str, str]] = {
    'RetinaNet': ({'type': 'RetinaHead', **SMALL, 'anchor_generator': ANCHORS, 'loss_cls': FOCAL},
                  ['cls', 'box'], P3_TO_P7, 4, 'sigmoid', ''),
    'RetinaNet with a softmax': ({'type': 'RetinaHead', **SMALL, 'anchor_generator': ANCHORS,
                                  'loss_cls': {'type': 'CrossEntropyLoss', 'use_sigmoid': False}},
                                 ['cls', 'box'], P3_TO_P7, 4, 'softmax', ''),
    'FCOS': ({'type': 'FCOSHead', **SMALL, 'norm_cfg': None}, ['cls', 'box', 'ctr'], ['P2', *P3_TO_P7[:4]], 1,
             'sigmoid', 'ctr'),
    'ATSS': ({'type': 'ATSSHead', **SMALL, 'anchor_generator': ONE_ANCHOR, 'norm_cfg': None, 'loss_cls': FOCAL},
             ['cls', 'box', 'ctr'], P3_TO_P7, 1, 'sigmoid', 'ctr'),
    'GFL': ({'type': 'GFLHead', **SMALL, 'anchor_generator': ONE_ANCHOR, 'norm_cfg': None, 'reg_max': 4,
             'loss_cls': {'type': 'QualityFocalLoss', 'use_sigmoid': True}}, ['cls', 'box'], P3_TO_P7, 1,
            'sigmoid', ''),
    'AutoAssign': ({'type': 'AutoAssignHead', **SMALL, 'norm_cfg': None, 'loss_bbox': {'type': 'GIoULoss'}},
                   ['cls', 'box', 'obj'], ['P2', *P3_TO_P7[:4]], 1, 'sigmoid', 'obj'),
    'DDOD': ({'type': 'DDODHead', **SMALL, 'anchor_generator': ONE_ANCHOR, 'norm_cfg': None, 'loss_cls': FOCAL,
              'use_dcn': False, 'loss_iou': {'type': 'CrossEntropyLoss', 'use_sigmoid': True}},
             ['cls', 'box', 'iou'], P3_TO_P7, 1, 'sigmoid', 'iou'),
    'YOLOX': ({'type': 'YOLOXHead', **SMALL, 'strides': (8, 16, 32)}, ['cls', 'box', 'obj'], P3_TO_P7[:3], 1,
              'sigmoid', 'obj'),
    'RTMDet': ({'type': 'RTMDetHead', **SMALL, 'norm_cfg': {'type': 'BN'}, 'with_objectness': False,
                'anchor_generator': {'type': 'MlvlPointGenerator', 'offset': 0, 'strides': [8, 16, 32]},
                'loss_cls': {'type': 'QualityFocalLoss', 'use_sigmoid': True},
                'bbox_coder': {'type': 'DistancePointBBoxCoder'}}, ['cls', 'box'], P3_TO_P7[:3], 1, 'sigmoid', ''),
    'SSD': ({'type': 'SSDHead', 'in_channels': (8, 8, 8), 'anchor_generator': {
        'type': 'SSDAnchorGenerator', 'input_size': 96, 'min_sizes': [20, 40, 60], 'max_sizes': [40, 60, 80],
        'strides': [8, 16, 100], 'ratios': [[2], [2, 3], [2]]}}, ['cls', 'box'], ['P3', 'P4', 'level 2'], [4, 6, 4],
        'softmax', ''),
    'YOLOv5': (mmyolo('YOLOv5Head', module={'num_base_priors': 2}, prior_generator={
        'type': 'mmdet.YOLOAnchorGenerator', 'base_sizes': SIZES, 'strides': [8, 16, 32]}),
               ['cls', 'box', 'obj'], P3_TO_P7[:3], 2, 'sigmoid', 'obj'),
    'YOLOv8': (mmyolo('YOLOv8Head'), ['cls', 'box'], P3_TO_P7[:3], 1, 'sigmoid', ''),
}  # fmt: skip


def build(cfg: dict[str, Any]) -> nn.Module:
    ensure_ops()
    import mmyolo.models  # noqa: F401  it imports mmdet's too

    torch.manual_seed(0)
    known = {} if 'head_module' in cfg else {'num_classes': len(CLASSES)}
    with DefaultScope.overwrite_default_scope('mmyolo' if 'head_module' in cfg else 'mmdet'):
        head = MODELS.build(ConfigDict({**known, 'test_cfg': TEST, **cfg}))
    head.eval()
    if not hasattr(head, 'loss_cls'):
        head.loss_cls = None  # SSDHead forgets it, and looks for it
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)  # heads start with all scores alike
    return head


@pytest.mark.parametrize('name', HEADS)
def test_outputs_are_what_the_head_makes_detections_of(name):
    cfg, kinds, levels, anchors, activation, factor = HEADS[name]
    head = build(cfg)
    each = anchors if isinstance(anchors, list) else [anchors] * len(levels)
    torch.manual_seed(1)
    features = tuple(torch.randn(1, 8, *shape) for shape in SHAPES[: len(levels)])
    metas = [{'img_shape': (64, 96), 'ori_shape': (64, 96), 'scale_factor': (1.0, 1.0), 'batch_input_shape': (64, 96),
              'pad_shape': (64, 96)}]  # fmt: skip
    with torch.no_grad():
        output = head(features)
        with DefaultScope.overwrite_default_scope('mmdet'):
            found = head.predict_by_feat(*output, batch_img_metas=metas, rescale=False, cfg=TEST)[0]
    meaning = HeadMeaning(head, CLASSES)
    best = dict.fromkeys(CLASSES, 0.0)
    for number, kind in enumerate(kinds):
        for level, label in enumerate(levels):
            tensor, path = output[number][level], f'[{number}][{level}]'
            item = meaning.beside(meaning.of(path, tensor.shape[1]), output, path)
            assert (item.label, item.anchors, item.reason) == (f'{kind} {label}', each[level], '')
            if kind == 'cls':
                assert (item.names, item.activation, item.factor_kind) == (CLASSES, activation, factor)
                for one in CLASSES:
                    plane, text = item.plane(tensor[0], f'{one}:score')
                    assert plane.shape == tensor.shape[2:]
                    best[one] = max(best[one], float(plane.max()))
                    assert text.startswith(f'{one} · score = cls{f" × {factor}" if factor else ""}')
                overall = torch.stack([item.plane(tensor[0], f'{one}:score')[0] for one in CLASSES]).amax(0)
                torch.testing.assert_close(item.plane(tensor[0], 'score')[0], overall)
            elif kind == 'box':
                assert item.names == ()
                assert item.describe(5 if each[level] > 1 else 1).startswith('box 1')
            else:
                plane, text = item.plane(tensor[0], TITLES[kind])
                torch.testing.assert_close(plane, tensor[0].sigmoid().amax(0))
                assert text == 'sigmoid' + (f', max of {each[level]} anchors' if each[level] > 1 else '')
    np.testing.assert_allclose(max(best.values()), found.scores.max(), rtol=1e-5)
    for index, one in enumerate(CLASSES):
        if name != 'YOLOX':  # which gives each place its best class only
            np.testing.assert_allclose(best[one], found.scores[found.labels == index].max(), rtol=1e-5)


def test_yolov3_has_all_of_an_anchor_in_one_output():
    head = build({'type': 'YOLOV3Head', 'in_channels': (8, 8, 8), 'out_channels': (8, 8, 8)})
    item = HeadMeaning(head, CLASSES).of('[0][2]', 24)
    assert (item.label, item.anchors, item.names) == ('pred P3', 3, (*CLASSES, 'objectness'))
    assert [item.describe(channel) for channel in (0, 4, 5, 15)] == [
        'box 0, anchor 0', 'objectness, anchor 0', 'cat, anchor 0', 'traffic light, anchor 1']  # fmt: skip
    with torch.no_grad():
        maps = head(tuple(torch.randn(1, 8, *shape) for shape in SHAPES[:3]))[0][2][0]
    anchored = maps.unflatten(0, (3, 8)).sigmoid()
    torch.testing.assert_close(item.plane(maps, 'dog')[0], anchored[:, 6].amax(0))
    plane, text = item.plane(maps, 'dog:score')
    torch.testing.assert_close(plane, (anchored[:, 6] * anchored[:, 4]).amax(0))
    assert text == 'dog · score = cls × obj, max of 3 anchors'
    assert 'its 25 channels are not 3 anchors' in HeadMeaning(head, CLASSES).of('[0][2]', 25).reason


def test_scores_that_are_probabilities_already_are_left_alone():
    head = build({'type': 'CenterNetHead', 'in_channels': 8, 'feat_channels': 8})
    with torch.no_grad():
        output = head((torch.randn(1, 8, 4, 6),))
    meaning, heat = HeadMeaning(head, CLASSES), output[0][0][0]
    item = meaning.beside(meaning.of('[0][0]', 3), output, '[0][0]').activated()
    assert (item.label, item.activation) == ('center_heatmap', '')
    plane, text = item.plane(heat, 'dog')
    torch.testing.assert_close(plane, heat[1])
    assert text == 'dog · probability'
    # Where another level shows that they are logits, this one's are, though they happen to lie between 0 and 1.
    logits = ([output[0][0], output[0][0] - 1], *output[1:])
    assert meaning.beside(meaning.of('[0][0]', 3), logits, '[0][0]').activated().activation == 'sigmoid'


def test_what_is_not_known_is_not_claimed():
    head = build(HEADS['RetinaNet'][0])
    meaning = HeadMeaning(head, CLASSES)
    item = meaning.of('[0][0]', 13)
    assert (item.label, item.names) == ('cls P3', ())
    assert item.reason == 'its 13 channels are not 4 anchors × 3 classes'
    assert 'not known' in meaning.of('[7][0]', 12).reason
    assert 'not known' in meaning.of('', 12).reason
    numbered = HeadMeaning(head, ('one', 'two'))
    assert numbered.classes == ('class 0', 'class 1', 'class 2')
    assert HeadMeaning(head, ('dog', 'cat', 'dog')).classes == ('dog', 'cat', 'dog (2)')


def test_a_proposal_network_tells_objects_only():
    cfg = load_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', {'model.backbone.depth': 18,
                      'model.neck.in_channels': [64, 128, 256, 512]})  # fmt: skip
    model = build_model(cfg, random_weights=True)
    meanings = Meanings(model, [f'c{n}' for n in range(80)])
    scores = meanings.of(model.rpn_head, ([torch.zeros(1, 3, 2, 2)] * 2, []), '[0][1]', 3)
    assert (scores.label, scores.names, scores.anchors) == ('cls P3', ('object',), 3)
    assert meanings.head(model.neck) is None
    assert 'no output of a detection head' in meanings.of(model.neck, (), '[0]', 256).reason


def test_a_head_module_of_mmyolo_stands_for_its_head():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bbox_head = build(HEADS['YOLOv5'][0])

    model = Model()
    meanings = Meanings(model, CLASSES)
    assert meanings.head(model.bbox_head.head_module) is meanings.head(model.bbox_head)
    assert meanings.head(model.bbox_head.head_module.convs_pred) is None


def test_heads_of_queries_are_known():
    class Queries(nn.Module):
        num_classes = 2

        def predict_by_feat(self, layer_cls_scores, layer_bbox_preds, batch_img_metas):
            """Not called."""

    assert HeadMeaning(Queries(), ('a', 'b')).by_query
    assert not HeadMeaning(build(HEADS['FCOS'][0]), CLASSES).by_query
