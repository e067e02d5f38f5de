"""Building a model: devices, weights that need no download, class names, packages that are missing."""

from __future__ import annotations

import copy
import logging
import socket
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import DATASETS, MODELS
from torch import nn

from featmap.errors import ConfigError, FeatMapError, MissingPackageError
from featmap.models.device import pick_device
from featmap.models.openmmlab.build import build_model, class_names, class_palette, import_scopes, scope_of
from featmap.models.openmmlab.config import load_config

YOLOV5 = 'mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py'


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """No connection can be opened, and each try is counted."""
    tried = mock.Mock(side_effect=OSError('no network in this test'))
    monkeypatch.setattr(socket, 'create_connection', tried)
    monkeypatch.setattr(socket.socket, 'connect', tried)
    monkeypatch.setattr(socket, 'getaddrinfo', tried)
    return tried


@pytest.fixture
def register() -> Iterator[Any]:
    """Registers a model class under its own name."""
    names = []

    def add(kind: type) -> type:
        MODELS.register_module(module=kind)
        names.append(kind.__name__)
        return kind

    yield add
    for name in names:
        del MODELS.module_dict[name]


class TestDevice:
    def test_the_cpu_where_there_is_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
        assert pick_device(None) == torch.device('cpu')
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
        assert pick_device(None) == torch.device('cuda:0')

    def test_as_asked_for(self) -> None:
        assert pick_device('cpu') == torch.device('cpu')

    @pytest.mark.parametrize(
        ('device', 'available', 'count', 'expected'),
        [
            ('cuda:7', False, 0, "there is no device cuda:7: PyTorch .* sees 0 CUDA devices here; use device='cpu'"),
            ('cuda', False, 1, 'there is no device cuda: PyTorch .* sees 0 CUDA devices'),
            ('cuda:2', True, 2, 'there is no device cuda:2: PyTorch .* sees 2 CUDA devices'),
            ('gpu', False, 0, "the device 'gpu' cannot be used: .*; use cpu or cuda:0"),
            ('', False, 0, "the device '' cannot be used: .*; use cpu or cuda:0"),
            ('cpu:x', False, 0, "the device 'cpu:x' cannot be used"),
            ('meta', False, 0, "the device 'meta' cannot be used"),
            ('fpga', False, 0, "the device 'fpga' cannot be used"),
        ],
    )
    def test_refused(
        self, device: str, available: bool, count: int, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: available)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
        with pytest.raises(ConfigError, match=expected) as caught:
            pick_device(device)
        assert '\n' not in str(caught.value)


class TestRandomWeights:
    def test_the_same_each_time_whatever_was_drawn_before(self) -> None:
        cfg = load_config(YOLOV5)
        torch.manual_seed(1)
        first = build_model(cfg, random_weights=True).state_dict()
        torch.manual_seed(2)
        torch.rand(10)
        expected = torch.random.get_rng_state()
        second = build_model(cfg, random_weights=True).state_dict()
        assert torch.equal(torch.random.get_rng_state(), expected)
        assert list(first) == list(second)
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert first['backbone.stem.conv.weight'].std() > 0

    def test_a_data_preprocessor_beside_the_model(self, register: Any) -> None:
        @register
        class Fed(nn.Module):
            def __init__(self, data_preprocessor: dict[str, Any] | None = None) -> None:
                super().__init__()
                self.given = data_preprocessor

            def init_weights(self) -> None:
                pass

        for inside in ({}, {'data_preprocessor': {'mean': [3]}}):
            config = Config({'model': {'type': 'Fed', **inside}, 'data_preprocessor': {'mean': [9]}})
            assert build_model(config).given == {'mean': [3 if inside else 9]}
            assert config.model == {'type': 'Fed', **inside}

    def test_initialised_as_for_training(self) -> None:
        cfg = load_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py')
        bias = build_model(cfg, random_weights=True).state_dict()['bbox_head.retina_cls.bias']
        assert bias.tolist() == pytest.approx([-4.59511985] * 720)  # a score of 0.01

    def test_ready_for_inference(self) -> None:
        model = build_model(load_config(YOLOV5))
        assert not any(module.training for module in model.modules())
        assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
        assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())

    def test_neither_config_nor_logging_are_changed(self) -> None:
        cfg = load_config(YOLOV5)
        before, level = copy.deepcopy(cfg.to_dict()), logging.root.manager.disable
        build_model(cfg, random_weights=True)
        assert cfg.to_dict() == before
        assert logging.root.manager.disable == level


class TestNoDownload:
    @pytest.mark.parametrize(
        'config',
        [
            'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',  # torchvision://
            'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',  # Pretrained, with a prefix
            'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',  # open-mmlab://
            'mmdet::pvt/retinanet_pvtv2-b0_fpn_1x_coco.py',  # a checkpoint without a type
            'mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py',
            'mmdet::detectors/cascade-rcnn_r50-rfp_1x_coco.py',  # a second backbone with 'pretrained'
            'mmdet::lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py',  # a teacher
        ],
    )
    @pytest.mark.parametrize('random_weights', [True, False])
    def test_of_backbones(self, config: str, random_weights: bool, offline: mock.Mock) -> None:
        assert isinstance(build_model(load_config(config), random_weights), nn.Module)
        offline.assert_not_called()

    def test_of_lists_the_rest_is_kept(self, register: Any, offline: mock.Mock) -> None:
        @register
        class Part(BaseModule):
            def __init__(self, init_cfg: Any) -> None:
                super().__init__(init_cfg)
                self.conv = nn.Conv2d(1, 1, 1)

        @register
        class Whole(BaseModel):
            def __init__(self, part: dict[str, Any]) -> None:
                super().__init__()
                self.part = MODELS.build(part)

            def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor') -> None:
                raise NotImplementedError

        constant = {'type': 'Constant', 'layer': 'Conv2d', 'val': 7, 'bias': 3}
        download = {'type': 'Pretrained', 'checkpoint': 'https://example.invalid/x.pth'}
        part = {'type': 'Part', 'init_cfg': [download, constant]}
        model = build_model(Config({'model': {'type': 'Whole', 'part': part}}), random_weights=True)
        assert model.part.conv.weight.item() == 7  # type: ignore[union-attr, operator]
        offline.assert_not_called()


class TestNotToBeBuilt:
    def test_a_package_that_is_not_installed(self) -> None:
        cfg = Config({'default_scope': 'mmrotate', 'model': {'type': 'RotatedRTMDet'}})
        with pytest.raises(
            MissingPackageError, match=r"scope 'mmrotate'.*needs 'mmrotate', which is not installed.*pip"
        ):
            build_model(cfg)

    def test_a_package_that_one_part_names(self) -> None:
        backbone = {'type': 'mmpretrain.ConvNeXt', 'arch': 'tiny'}
        cfg = load_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py')
        cfg.model.backbone = backbone
        with pytest.raises(MissingPackageError, match=r"needs 'mmpretrain'.*pip install mmpretrain"):
            build_model(cfg)

    def test_a_scope_that_there_is_nowhere(self) -> None:
        with pytest.raises(MissingPackageError, match='mmnonsense'):
            import_scopes(Config({'default_scope': 'mmnonsense', 'model': {}}))

    @pytest.mark.parametrize(
        ('model', 'reason'),
        [
            ({'type': 'RetinaNett'}, 'KeyError: .*RetinaNett is not in the'),
            ({'type': 'RetinaNet', 'nonsense': 1}, 'TypeError: .*nonsense'),
            ({'type': 'RetinaNet', 'backbone': {'type': 'ResNet', 'depth': 19}}, 'KeyError: .*19'),
        ],
    )
    def test_a_config_that_is_wrong(self, model: dict[str, Any], reason: str) -> None:
        cfg = load_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py')
        cfg.merge_from_dict({'model': model})
        with pytest.raises(FeatMapError, match=f'the model cannot be built: {reason}') as caught:
            build_model(cfg)
        assert '\n' not in str(caught.value)

    def test_a_detector_whose_train_returns_nothing(self, register: Any) -> None:
        @register
        class Silent(BaseModel):
            def train(self, mode: bool = True) -> None:  # type: ignore[override]
                super().train(mode)

            def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor') -> None:
                raise NotImplementedError

        model = build_model(Config({'model': {'type': 'Silent'}}))
        assert isinstance(model, Silent)
        assert not model.training


def test_the_synchronised_norm_of_mmcv_needs_no_process_group() -> None:
    norm = {'type': 'MMSyncBN', 'requires_grad': True, 'stats_mode': 'N'}
    options = {'model.neck.norm_cfg': norm, 'model.bbox_head.norm_cfg': norm}
    config = load_config('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', options)
    model = build_model(config, random_weights=True)
    norms = [name for name, module in model.named_modules() if type(module) is nn.BatchNorm2d]
    assert {'neck.lateral_convs.0.bn', 'bbox_head.cls_convs.0.bn'} <= set(norms)
    assert config.model.neck.norm_cfg.type == 'MMSyncBN'


def test_a_teacher_is_found_among_the_packaged_configs_and_not_downloaded(offline: mock.Mock) -> None:
    config = load_config('mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py')
    model = build_model(config)
    assert type(model.teacher_model).__name__ == 'GFL'
    assert config.model.teacher_config == 'configs/gfl/gfl_r101_fpn_ms-2x_coco.py'
    offline.assert_not_called()


def test_ssd_predicts_without_a_loss() -> None:
    assert build_model(load_config('mmdet::ssd/ssd300_coco.py')).bbox_head.loss_cls is None  # type: ignore[union-attr]


def test_the_scope_is_mmdet_where_none_is_named() -> None:
    assert scope_of(Config({})) == 'mmdet'
    assert scope_of(Config({'default_scope': None})) == 'mmdet'
    assert scope_of(Config({'default_scope': 'mmyolo'})) == 'mmyolo'


class TestClassNames:
    @staticmethod
    def config(scope: str = 'mmdet', **dataset: Any) -> Config:
        cfg = Config({'default_scope': scope, 'model': {}, 'test_dataloader': {'dataset': dataset}})
        import_scopes(cfg)
        return cfg

    @pytest.mark.parametrize(
        'meta',
        [
            {'dataset_meta': {'classes': ('a', 'b')}},
            {'dataset_meta': {'CLASSES': ['a', 'b'], 'PALETTE': []}},
            {'CLASSES': ('a', 'b')},
            {'classes': ['a', 'b']},
        ],
    )
    def test_the_checkpoints_come_first(self, meta: dict[str, Any]) -> None:
        cfg = self.config(type='CocoDataset', metainfo={'classes': ('c',)}, pipeline=[])
        assert class_names(cfg, meta) == ('a', 'b')

    @pytest.mark.parametrize('meta', [{}, {'dataset_meta': None}, {'dataset_meta': {}}, {'classes': ()}])
    def test_then_those_of_the_config(self, meta: dict[str, Any]) -> None:
        cfg = self.config(type='CocoDataset', metainfo={'classes': ['c', 'd']}, pipeline=[])
        assert class_names(cfg, meta) == ('c', 'd')

    @pytest.mark.parametrize(
        ('scope', 'kind', 'count', 'first'),
        [
            ('mmdet', 'CocoDataset', 80, 'person'),
            ('mmdet', 'mmdet.CocoDataset', 80, 'person'),
            ('mmdet', 'VOCDataset', 20, 'aeroplane'),
            ('mmyolo', 'YOLOv5CocoDataset', 80, 'person'),
            ('mmyolo', 'mmdet.VOCDataset', 20, 'aeroplane'),
        ],
    )
    def test_then_those_of_the_dataset(self, scope: str, kind: str, count: int, first: str) -> None:
        names = class_names(self.config(scope, type=kind, pipeline=[]), {})
        assert (len(names), names[0]) == (count, first)

    def test_of_a_nested_dataset(self) -> None:
        inner = {'type': 'CocoDataset', 'metainfo': {'classes': ('x',)}, 'pipeline': []}
        assert class_names(self.config(type='RepeatDataset', times=1, dataset=inner), {}) == ('x',)
        assert class_names(self.config(type='ConcatDataset', datasets=[inner, {}]), {}) == ('x',)

    def test_a_single_class_that_forgot_its_comma(self) -> None:
        cfg = self.config(type='CocoDataset', metainfo={'classes': ('cat')}, pipeline=[])
        assert class_names(cfg, {}) == ('cat',)

    def test_none_are_known(self) -> None:
        assert class_names(Config({'model': {}}), {}) == ()
        assert class_names(Config({'model': {}, 'test_dataloader': None}), {}) == ()
        assert class_names(self.config(type='NoSuchDataset', pipeline=[]), {}) == ()
        assert 'NoSuchDataset' not in DATASETS.module_dict

    def test_the_palette_of_the_same_classes(self) -> None:
        own = {'classes': ('a', 'b'), 'palette': [(1, 2, 3), [4, 5, 6]]}
        cfg = self.config(type='CocoDataset', metainfo=own, pipeline=[])
        assert class_palette(cfg, {}) == ((1, 2, 3), (4, 5, 6))
        # The checkpoint has none for the same classes, none at all, or another for its own classes.
        assert class_palette(cfg, {'dataset_meta': {'CLASSES': ['a', 'b'], 'PALETTE': 'random'}}) == (
            (1, 2, 3),
            (4, 5, 6),
        )
        assert class_palette(cfg, {'classes': ('c',)}) == ()
        assert class_palette(cfg, {'CLASSES': ('c',), 'PALETTE': [(7, 8, 9)]}) == ((7, 8, 9),)

    def test_the_palette_of_a_dataset(self) -> None:
        coco = self.config('mmyolo', type='YOLOv5CocoDataset', pipeline=[])
        assert class_palette(coco, {})[:2] == ((220, 20, 60), (119, 11, 32))
        assert len(class_palette(coco, {})) == 80
        assert class_palette(self.config(type='CocoDataset', metainfo={'classes': ('x',)}, pipeline=[]), {}) == ()
        assert class_palette(Config({'model': {}}), {}) == ()

    @pytest.mark.parametrize(
        'palette', [[(1, 2, 3)], [(1, 2, 3), (1, 2)], [(1, 2, 3), (1, 2, 300)], 'coco', [1, 2], None]
    )
    def test_a_palette_that_is_none(self, palette: Any) -> None:
        meta = {'dataset_meta': {'classes': ('a', 'b'), 'palette': palette}}
        assert class_palette(Config({'model': {}}), meta) == ()
