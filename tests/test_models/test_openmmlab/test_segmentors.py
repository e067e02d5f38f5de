"""Segmentors as mmseg has them: planes of scores that it cuts and scales, windows, names and colours of classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor, nn
from torch.nn.functional import interpolate

from featmap import FeatMapInferencer
from featmap.errors import ConfigError, FeatMapWarning, OptionError
from featmap.geometry import ImageGeometry
from featmap.gradients import GradientRecorder
from featmap.models.openmmlab.detector import Detector
from featmap.models.openmmlab.segmentors import SegmentorPlace, whole_images, window_of

# Three classes by colour: red, green, blue.
NAMES, PALETTE = ('background', 'grass', 'sky'), [[0, 0, 0], [0, 200, 0], [0, 0, 250]]
SHAPE = (37, 61)


class Padding(nn.Module):
    """To RGB, and zeros below and to the right up to a multiple of 16, as mmseg's preprocessor tells it."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        image = data['inputs'][0].flip(0).float() / 255
        height, width = image.shape[1:]
        down, right = -height % 16, -width % 16
        data['data_samples'][0].set_metainfo({'padding_size': [0, right, 0, down]})
        return {'inputs': nn.functional.pad(image, (0, right, 0, down))[None], 'data_samples': data['data_samples']}


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(3, 3, 1, bias=False)
        self.num_classes = 3
        with torch.no_grad():
            self.conv_seg.weight.copy_(torch.eye(3)[:, :, None, None] * 9)

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas: list[dict[str, Any]]) -> Tensor:
        return interpolate(seg_logits, size=batch_img_metas[0]['pad_shape'], mode='bilinear')


class TinySegmentor(nn.Module):
    """Says which colour a place has, by windows where it is to; its backbone halves the resolution."""

    def __init__(self, test_cfg: Any = None, most: int = 0) -> None:
        super().__init__()
        self.data_preprocessor = Padding()
        self.backbone = nn.AvgPool2d(2)
        self.decode_head = Head()
        self.out_channels, self.test_cfg, self.most = 3, test_cfg, most

    def init_weights(self) -> None:
        pass

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict[str, Any]]) -> Tensor:
        if self.most and inputs.shape[-1] > self.most:
            raise RuntimeError('The size of tensor a must match the size of tensor b')
        return self.decode_head.predict_by_feat(self.decode_head.conv_seg(self.backbone(inputs)), batch_img_metas)

    def forward(self, inputs: Tensor, data_samples: list[Any], mode: str = 'predict') -> list[Any]:
        metas = [sample.metainfo for sample in data_samples]
        if self.test_cfg.get('mode') == 'slide':
            (height, width), metas[0]['pad_shape'] = self.test_cfg['crop_size'], self.test_cfg['crop_size']
            rows = [
                torch.cat([self.encode_decode(part, metas) for part in row.split(width, 3)], 3)
                for row in inputs.split(height, 2)
            ]
            return self.postprocess_result(torch.cat(rows, 2), data_samples)
        return self.postprocess_result(self.encode_decode(inputs, metas), data_samples)

    def postprocess_result(self, scores: Tensor, data_samples: list[Any]) -> list[Any]:
        height, width = scores.shape[2:]
        for plane, sample in zip(scores, data_samples):
            left, right, top, bottom = sample.metainfo.get('img_padding_size', sample.metainfo['padding_size'])
            plane = plane[None, :, top : height - bottom, left : width - right]
            plane = plane.flip(3) if sample.metainfo.get('flip') else plane
            plane = interpolate(plane, size=sample.metainfo['ori_shape'], mode='bilinear')[0]
            sample.set_field(PixelData(data=plane.argmax(0, keepdim=True)), 'pred_sem_seg')
            sample.set_field(PixelData(data=plane), 'seg_logits')
        return data_samples


class PackTiny:
    def __init__(self, meta_keys: tuple[str, ...] = ()) -> None:
        self.meta_keys = meta_keys

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        known = {key: results[key] for key in self.meta_keys if key in results}
        image = torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1)))
        return {'inputs': image, 'data_samples': BaseDataElement(metainfo=known)}


class TinyScenes:
    METAINFO: ClassVar[dict[str, Any]] = {'classes': NAMES, 'palette': PALETTE}


def shift(results: dict[str, Any]) -> dict[str, Any]:
    """Pads on all sides, and keeps it to itself."""
    return {**results, 'img': np.pad(results['img'], ((3, 8), (6, 13), (0, 0)))}


def crop(results: dict[str, Any]) -> dict[str, Any]:
    image = results['img'][4:-5, 10:-11]
    return {**results, 'img': image, 'img_shape': image.shape[:2]}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    known = [(MODELS, TinySegmentor), (TRANSFORMS, PackTiny), (DATASETS, TinyScenes)]
    functions = {'TinyShift': shift, 'TinyCrop': crop}
    for registry, kind in known:
        registry.register_module(module=kind)
    for name, function in functions.items():
        TRANSFORMS.register_module(name=name, module=lambda function=function: function)
    yield
    for registry, kind in known:
        del registry.module_dict[kind.__name__]
    for name in functions:
        del TRANSFORMS.module_dict[name]


def config(*steps: str | dict[str, Any], model: Any = None, **test_cfg: Any) -> Config:
    pipeline = [
        {'type': 'LoadImageFromFile'},
        *(step if isinstance(step, dict) else {'type': step} for step in steps),
        {'type': 'LoadAnnotations'},
        {'type': 'PackTiny'},
    ]
    return Config(
        {
            'default_scope': 'mmdet',
            'model': {'type': 'TinySegmentor', 'test_cfg': {'mode': 'whole', **test_cfg}, **(model or {})},
            'test_dataloader': {'dataset': {'type': 'TinyScenes', 'pipeline': pipeline}},
        }
    )


def scene() -> np.ndarray:
    """Green left of column 24, blue from there on; red above row 10."""
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[:, :24, 1] = image[:, 24:, 2] = 255
    image[:10] = (255, 0, 0)
    return image


def labels(found: Any) -> np.ndarray:
    """The class of each pixel, -1 for none."""
    return np.concatenate([[-1], found.segments.labels])[found.segments.numbers]


TRUTH = np.where(np.arange(61)[None] < 24, 1, 2) * np.ones((37, 1), int)
TRUTH[:10] = -1  # background is nothing
FLIP = {'type': 'mmdet.RandomFlip', 'prob': 1.0}
RESIZE = {'type': 'Resize', 'scale': (122, 74), 'keep_ratio': True}


@pytest.mark.parametrize('steps', [(), (RESIZE,), ('TinyShift',), (FLIP,), (RESIZE, FLIP), ('TinyShift', FLIP)])
def test_each_pixel_has_its_class_wherever_the_image_lies(steps: tuple[Any, ...]) -> None:
    detector = Detector(config(*steps), device='cpu')
    batch = detector.prepare([scene()])
    assert batch.inputs.shape[2] % 16 == batch.inputs.shape[3] % 16 == 0
    (found,) = detector.predict(batch)
    assert (found.classes, found.palette) == (NAMES, tuple(map(tuple, PALETTE)))
    assert (found.count, found.undrawn) == ('2 classes', ())
    wrong = labels(found) != TRUTH
    assert not wrong[12:, :23].any()
    assert not wrong[12:, 26:].any()
    assert not wrong[:8].any()


def test_what_is_cut_off_has_no_class() -> None:
    detector = Detector(config('TinyCrop'), device='cpu')
    found = labels(detector.predict(detector.prepare([scene()]))[0])
    assert (found[4:-5, 10:-11] != TRUTH[4:-5, 10:-11]).mean() < 0.1
    assert (found[:, :10] == -1).all()
    assert (found[:, -11:] == -1).all()
    assert (found[-5:] == -1).all()


def test_scores_of_a_large_image_stay_as_large_as_the_input() -> None:
    geometry = ImageGeometry((4000, 6000), (512, 768), (0.128, 0.128))
    assert SegmentorPlace.of(geometry, 150).answer_shape == (512, 768)
    assert SegmentorPlace.of(geometry, 2).answer_shape == (4000, 6000)


SLIDE = {'mode': 'slide', 'crop_size': (16, 16), 'stride': (16, 16)}


class TestWindows:
    def test_the_network_is_given_the_whole_image_and_says_so(self) -> None:
        with pytest.warns(FeatMapWarning, match="mode='slide', windows of 16x16: the network is given whole images"):
            draw = FeatMapInferencer(config(RESIZE, **SLIDE), None, device='cpu', target_layers=['backbone'])
        result = draw(scene())
        (features,) = result.maps
        assert (features.calls, features.values.shape) == (1, (1, 40, 64))
        assert (labels(result.predictions)[12:, 26:] == 2).all()
        assert draw.network.model.test_cfg['mode'] == 'slide'

    def test_one_that_takes_windows_only(self) -> None:
        with pytest.warns(FeatMapWarning, match='slide'):
            detector = Detector(config(RESIZE, model={'most': 16}, **SLIDE), device='cpu')
        with pytest.raises(ConfigError, match=r'AvgPool2d cannot take an input of 128x80: .*windows of 16x16: let'):
            detector.predict(detector.prepare([scene()]))

    def test_a_size_that_it_cannot_take(self) -> None:
        detector = Detector(config(RESIZE, model={'most': 16}), device='cpu')
        with pytest.raises(ConfigError, match=r'128x80: RuntimeError: The size of .*test_cfg.size_divisor=32'):
            detector.predict(detector.prepare([scene()]))

    def test_the_mode_comes_back_after_an_error(self) -> None:
        model = TinySegmentor(dict(SLIDE))
        assert window_of(model) == (16, 16)
        runs = ExitStack()
        runs.enter_context(whole_images(model))
        assert window_of(model) is None
        assert not runs.__exit__(KeyError, KeyError(), None)
        assert window_of(model) == (16, 16)
        assert window_of(nn.Identity()) is None


class TestClassMaps:
    def draw(self, name: str) -> Any:
        draw = FeatMapInferencer(
            config(), None, device='cpu', target_layers=['decode_head.conv_seg'], channels=[name], boxes=False
        )
        return draw(scene()).maps[0]

    def test_the_plane_of_a_class_by_its_name(self) -> None:
        drawn = self.draw('grass')
        scores = torch.tensor([0.0, 9, 0]).softmax(0)
        assert drawn.values[0, 10, 5] == pytest.approx(float(scores[1]), abs=1e-4)
        assert drawn.values[0, 10, 20] == pytest.approx(float(scores[0]), abs=1e-4)

    def test_one_that_there_is_not(self) -> None:
        with pytest.raises(OptionError, match='grass'):
            self.draw('gras')


@pytest.mark.parametrize('steps', [(), ('TinyShift', FLIP)])
def test_answers_are_planes_over_the_whole_input(steps: tuple[Any, ...]) -> None:
    detector = Detector(config(*steps), device='cpu')
    recorder = GradientRecorder(detector.model, ['backbone'])
    batch = detector.prepare([scene()])
    with torch.enable_grad():
        (answers,) = detector.respond(batch, recorder)
    assert (answers.kind, answers.activation) == ('segments', 'softmax')
    assert answers.planes.shape == (3, *batch.input_shape)
    found = detector.predict(detector.prepare([scene()]))[0]
    assert np.array_equal(labels(answers.detections), labels(found))
    # The network's colours are its scores, times nine.
    expected = interpolate(detector.model.backbone(batch.inputs), size=batch.input_shape, mode='bilinear')[0] * 9
    torch.testing.assert_close(answers.planes.detach(), expected)
    gradient = recorder.gradients(answers.planes[1].sum())[0]['']
    assert float(gradient[0, 1].sum()) == pytest.approx(9 * batch.input_shape[0] * batch.input_shape[1])
    assert not gradient[0, [0, 2]].any()
    assert 'postprocess_result' not in vars(detector.model)
    (raw,) = detector.respond(detector.prepare([scene()]), raw=0.001)
    assert raw.detections is None
    torch.testing.assert_close(raw.planes, answers.planes.detach())
