"""The test pipeline: fed with arrays, as MMDetection feeds it with files; and what it tells of the image's place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, DefaultScope

from featmap.errors import ConfigError, FeatMapWarning, SourceError
from featmap.geometry import ImageGeometry
from featmap.models.openmmlab.build import import_scopes, scope_of
from featmap.models.openmmlab.config import load_config
from featmap.models.openmmlab.detector import Detector
from featmap.models.openmmlab.pipeline import LoadArray, TestPipeline, dataset_config, type_name
from featmap.models.openmmlab.pipeline import test_pipeline_config as steps_of

LOAD, PACK = {'type': 'LoadImageFromFile', 'backend_args': None}, {'type': 'PackDetInputs'}
RESIZE = {'type': 'Resize', 'scale': (64, 64), 'keep_ratio': True}
ANNOTATIONS = {'type': 'LoadAnnotations', 'with_bbox': True}
META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
IMAGE = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)

YOLOV5 = 'mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'


def config(*steps: Any, scope: str = 'mmdet', **more: Any) -> Config:
    return Config({'default_scope': scope, 'test_dataloader': {'dataset': {'pipeline': list(steps)}}, **more})


def pipeline(*steps: Any, scope: str = 'mmdet') -> TestPipeline:
    cfg = config(*steps, scope=scope)
    import_scopes(cfg)
    with DefaultScope.overwrite_default_scope(scope):
        return TestPipeline(cfg)


def kinds(cfg: Config) -> list[str]:
    return [type_name(step) for step in steps_of(cfg)]


@pytest.fixture
def transform() -> Iterator[Any]:
    """Registers a function of the results as a transform."""
    names = []

    def register(function: Any) -> dict[str, str]:
        def make() -> Any:
            return function

        TRANSFORMS.register_module(name=function.__name__, module=make)
        names.append(function.__name__)
        return {'type': function.__name__}

    yield register
    for name in names:
        del TRANSFORMS.module_dict[name]


class TestSteps:
    def test_arrays_in_place_of_files_and_no_annotations(self) -> None:
        steps = steps_of(config(LOAD, RESIZE, ANNOTATIONS, {'type': 'mmdet.LoadPanopticAnnotations'}, PACK))
        assert [step['type'] for step in steps] == [LoadArray, 'Resize', 'PackDetInputs']
        assert steps[0] == {'type': LoadArray, 'to_float32': False}
        assert steps[1] == RESIZE

    @pytest.mark.parametrize('loader', ['LoadImageFromFile', 'mmdet.LoadImageFromNDArray', 'mmcv.LoadImageFromWebcam'])
    def test_float_images_stay_so(self, loader: str) -> None:
        steps = steps_of(config({'type': loader, 'to_float32': True}, PACK))
        assert steps[0] == {'type': LoadArray, 'to_float32': True}

    def test_what_the_geometry_reads_is_added_once(self) -> None:
        needed = {'ori_shape', 'img_shape', 'scale_factor', 'pad_param', 'border', 'flip', 'flip_direction'}
        for given in ({}, {'meta_keys': META_KEYS}, {'meta_keys': [*META_KEYS, 'pad_param', 'mine']}):
            keys = steps_of(config(LOAD, {**PACK, **given}))[-1]['meta_keys']
            assert len(keys) == len(set(keys))
            assert needed | set(given.get('meta_keys', ())) <= set(keys)

    def test_the_config_is_not_changed(self) -> None:
        cfg = config({**LOAD, 'to_float32': True}, RESIZE, ANNOTATIONS, {**PACK, 'meta_keys': META_KEYS})
        before = copy.deepcopy(cfg.to_dict())
        steps_of(cfg)[1]['scale'] = None
        assert cfg.to_dict() == before

    @pytest.mark.parametrize(
        ('step', 'name'),
        [({'type': 'Pad'}, 'Pad'), ({'type': 'mmdet.Pad'}, 'Pad'), ({'type': TestPipeline}, 'TestPipeline')],
    )
    def test_type_name(self, step: dict[str, Any], name: str) -> None:
        assert type_name(step) == name


class TestWhereItStands:
    STEPS = (LOAD, PACK)

    @pytest.mark.parametrize(
        'dataset',
        [
            {'pipeline': STEPS},
            {'type': 'RepeatDataset', 'dataset': {'pipeline': STEPS}},
            {'type': 'ClassBalancedDataset', 'dataset': {'type': 'RepeatDataset', 'dataset': {'pipeline': STEPS}}},
            {'type': 'ConcatDataset', 'datasets': [{'pipeline': STEPS}, {'pipeline': (LOAD, RESIZE, PACK)}]},
            {'type': 'ConcatDataset', 'datasets': [{'type': 'RepeatDataset', 'dataset': {'pipeline': STEPS}}]},
        ],
    )
    def test_nested_datasets(self, dataset: dict[str, Any]) -> None:
        for loader in ({'dataset': dataset}, [{'dataset': dataset}, {'dataset': {}}]):
            assert kinds(Config({'test_dataloader': loader})) == ['LoadArray', 'PackDetInputs']

    @pytest.mark.parametrize('loader', [None, {}, {'dataset': {}}, {'dataset': None}, {'dataset': {'dataset': {}}}])
    def test_the_plain_test_pipeline_where_the_loader_has_none(self, loader: Any) -> None:
        cfg = Config({'test_dataloader': loader, 'test_pipeline': [LOAD, RESIZE, PACK]})
        assert kinds(cfg) == ['LoadArray', 'Resize', 'PackDetInputs']

    def test_the_loader_wins(self) -> None:
        assert kinds(config(LOAD, PACK, test_pipeline=[LOAD, RESIZE, PACK])) == [
            'LoadArray',
            'PackDetInputs',
        ]

    @pytest.mark.parametrize(
        'cfg',
        [{}, {'test_dataloader': None}, {'test_dataloader': {'dataset': {'datasets': []}}}, {'test_pipeline': []}],
    )
    def test_none_at_all(self, cfg: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=r'no test pipeline: expected test_dataloader\.dataset\.pipeline'):
            steps_of(Config(cfg))

    def test_test_time_augmentation_is_refused(self) -> None:
        tta = {'type': 'TestTimeAug', 'transforms': [[RESIZE], [PACK]]}
        with pytest.raises(ConfigError, match=r'ends with TestTimeAug: expected PackDetInputs, .*plain test pipeline'):
            steps_of(config(LOAD, tta))

    def test_data_sets_of_arrays_load_nothing_and_hand_out_rgb(self) -> None:
        pack = {'type': 'PackInputs'}
        steps = steps_of(Config({'test_dataloader': {'dataset': {'type': 'CIFAR10', 'pipeline': [pack]}}}))
        assert [type_name(step) for step in steps] == ['LoadArray', 'PackInputs']
        assert LoadArray(rgb=True)(TestPipeline.begin(IMAGE))['img'].tolist() == IMAGE.tolist()
        assert LoadArray()(TestPipeline.begin(IMAGE))['img'].tolist() == IMAGE[..., ::-1].tolist()
        with pytest.raises(ConfigError, match='starts with PackInputs: expected LoadImageFromFile'):
            steps_of(Config({'test_dataloader': {'dataset': {'type': 'ImageNet', 'pipeline': [pack]}}}))

    @pytest.mark.parametrize(('backbone', 'size'), [({}, 224), ({'img_size': 518}, 518), ({'img_size': (98, 126)}, 98)])
    def test_a_backbone_alone_is_fed_as_classifiers_are(self, backbone: dict[str, Any], size: int) -> None:
        with pytest.warns(FeatMapWarning, match=f'its middle is cut out, {size}x{size}'):
            steps = steps_of(Config({'model': {'type': 'ImageClassifier', 'backbone': backbone, 'head': None}}))
        assert [type_name(step) for step in steps] == ['LoadArray', 'ResizeEdge', 'CenterCrop', 'PackInputs']
        assert (steps[1]['scale'], steps[2]['crop_size']) == (size, size)
        with pytest.raises(ConfigError, match='no test pipeline'):
            steps_of(Config({'model': {'type': 'ImageClassifier', 'head': {'type': 'LinearClsHead'}}}))

    def test_a_pipeline_that_loads_no_image_is_refused(self) -> None:
        with pytest.raises(ConfigError, match='starts with Resize: expected LoadImageFromFile'):
            steps_of(config(RESIZE, PACK))
        with pytest.raises(ConfigError, match='ends with Resize: expected PackDetInputs'):
            steps_of(config(LOAD, RESIZE))


class TestSameInputAsFromAFile:
    """The network is given exactly what MMDetection's own inference gives it for the same picture."""

    @staticmethod
    def from_file(cfg: Config, model: Any, path: Path) -> torch.Tensor:
        """As ``mmdet.apis.inference_detector`` does it."""
        from mmcv.transforms import Compose

        steps = [step for step in dataset_config(cfg)['pipeline'] if 'LoadAnnotations' not in step['type']]
        with DefaultScope.overwrite_default_scope(scope_of(cfg)):
            data = Compose(copy.deepcopy(steps))({'img_path': str(path), 'img_id': 0})
        data = {key: [value] for key, value in data.items()}
        return model.data_preprocessor(data, False)['inputs']

    @pytest.mark.parametrize('name', [YOLOV5, RETINANET, 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'])
    def test_pixel_by_pixel(self, name: str, tmp_path: Path) -> None:
        cfg = load_config(name)
        detector = Detector(cfg, device='cpu')
        red = np.zeros_like(IMAGE)
        red[..., 0] = 255
        for number, image in enumerate((red, IMAGE)):
            path = tmp_path / f'{number}.png'
            cv2.imwrite(str(path), image[..., ::-1])
            inputs = detector.prepare([image]).inputs
            assert torch.equal(inputs, self.from_file(cfg, detector.model, path))
            assert not torch.equal(inputs, detector.prepare([image[..., ::-1]]).inputs)

    def test_red_is_the_first_channel_of_a_network_that_takes_rgb(self) -> None:
        detector = Detector(YOLOV5, device='cpu')
        red = np.zeros((640, 640, 3), np.uint8)
        red[..., 0] = 255
        assert detector.prepare([red]).inputs[0].amax(dim=(1, 2)).tolist() == pytest.approx([1, 0, 0])


class TestWhatIsTold:
    def geometry(self, run: TestPipeline, image: np.ndarray = IMAGE) -> ImageGeometry:
        packed = run(image)
        return ImageGeometry.from_metainfo(packed['data_samples'].metainfo, tuple(packed['inputs'].shape[-2:]))

    def test_pad_param_reaches_the_geometry_though_the_config_forgot_it(self) -> None:
        letter = {'type': 'LetterResize', 'scale': (100, 100)}
        run = pipeline(LOAD, letter, {'type': 'mmdet.PackDetInputs', 'meta_keys': META_KEYS}, scope='mmyolo')
        assert self.geometry(run) == ImageGeometry((30, 50), (100, 100), (2.0, 2.0), (0, 20))

    def test_border_reaches_the_geometry(self) -> None:
        pad = {
            'type': 'RandomCenterCropPad', 'ratios': None, 'border': None, 'crop_size': None, 'test_mode': True,
            'test_pad_mode': ['size_divisor', 64], 'mean': [0, 0, 0], 'std': [1, 1, 1], 'to_rgb': True,
        }  # fmt: skip
        run = pipeline({**LOAD, 'to_float32': True}, pad, {**PACK, 'meta_keys': META_KEYS})
        assert self.geometry(run) == ImageGeometry((30, 50), (64, 64), (1.0, 1.0), (7, 17))

    def test_flip_reaches_the_geometry(self) -> None:
        flip = {'type': 'RandomFlip', 'prob': 1.0, 'direction': 'vertical'}
        pad = {'type': 'Pad', 'size': (64, 64)}
        run = pipeline(LOAD, RESIZE, flip, pad, {**PACK, 'meta_keys': META_KEYS})
        assert self.geometry(run) == ImageGeometry((30, 50), (64, 64), (1.28, 38 / 30), (0, 0), (False, True))

    def test_padding_that_is_told_is_taken(self, transform: Any) -> None:
        def pad_and_tell(results: dict[str, Any]) -> dict[str, Any]:
            padded = np.pad(results['img'], ((3, 5), (7, 2), (0, 0)))
            return {**results, 'img': padded, 'img_shape': padded.shape[:2], 'pad_param': (3, 5, 7, 2)}

        assert self.geometry(pipeline(LOAD, transform(pad_and_tell), PACK)) == ImageGeometry(
            (30, 50), (38, 59), (1.0, 1.0), (7, 3)
        )

    def test_the_callers_image_is_not_written_to(self, transform: Any) -> None:
        def blacken(results: dict[str, Any]) -> dict[str, Any]:
            results['img'][:] = 0
            return results

        image = IMAGE.copy()
        packed = pipeline(LOAD, transform(blacken), PACK)(image)
        assert not packed['inputs'].any()
        np.testing.assert_array_equal(image, IMAGE)


@pytest.mark.parametrize('shape', [(1, 2000), (2000, 1)])
def test_an_image_that_resizing_reduces_to_nothing(shape: tuple[int, int]) -> None:
    detector = Detector(YOLOV5, device='cpu')
    with pytest.raises(SourceError, match=f'cannot take an image of {shape[1]}x{shape[0]}: '):
        detector.prepare([np.zeros((*shape, 3), np.uint8)])
