"""Every cell is drawn over the content it was computed from, for every way of resizing and padding.

Real test pipelines and data preprocessors feed a network whose layers are the mean of their input over cells of 8 to
64 pixels. Its maps, put back onto the image, must show the image: dots under themselves, ramps as the same ramps.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F

from featmap.inferencer import FeatMapInferencer
from featmap.layouts import maps_of
from featmap.models.openmmlab.detector import Detector
from featmap.recorder import ActivationRecorder

STRIDES = (8, 16, 32, 64)


class Pools(nn.Module):
    """(N, 3, H, W) to the mean over cells of each stride; the last cells may be cut off."""

    def __init__(self, dtype: str = 'float32', channels: int = 3) -> None:
        super().__init__()
        self.dtype = getattr(torch, dtype)
        self.channels = channels
        self.made: list[weakref.ref] = []

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = x.repeat(1, self.channels // 3, 1, 1)
        outs = tuple(F.avg_pool2d(x, s, ceil_mode=True, count_include_pad=False).to(self.dtype) for s in STRIDES)
        self.made = [weakref.ref(out) for out in outs]
        return outs


class After(nn.Module):
    """Looks whether what ``Pools`` made is still there once the network has gone on."""

    alive: int | None = None

    def forward(self, before: Pools) -> None:
        gc.collect()
        self.alive = sum(ref() is not None for ref in before.made)


@MODELS.register_module(force=True)
class StridePooled(BaseModel):
    """A detector without detections."""

    def __init__(self, data_preprocessor: dict[str, Any], **pools: Any) -> None:
        super().__init__(data_preprocessor)
        self.backbone = Pools(**pools)
        self.neck = After()

    def forward(self, inputs: torch.Tensor, data_samples: list[Any], mode: str = 'tensor') -> list[Any]:
        self.backbone(inputs)
        self.neck(self.backbone)
        return data_samples


def config(scope: str, steps: list[dict[str, Any]], preprocessor: dict[str, Any] | None = None, **pools: Any) -> Config:
    load = {'type': 'LoadImageFromFile', 'to_float32': any(s['type'] == 'RandomCenterCropPad' for s in steps)}
    annotations, pack = {'type': 'mmdet.LoadAnnotations', 'with_bbox': True}, {'type': 'mmdet.PackDetInputs'}
    preprocessor = {'type': 'mmdet.DetDataPreprocessor', 'bgr_to_rgb': True, **(preprocessor or {})}
    return Config(
        {
            'default_scope': scope,
            'model': {'type': 'StridePooled', 'data_preprocessor': preprocessor, **pools},
            'test_dataloader': {'dataset': {'type': 'CocoDataset', 'pipeline': [load, *steps, annotations, pack]}},
        }
    )


def letter(**more: Any) -> dict[str, Any]:
    return {'type': 'LetterResize', 'scale': (640, 640), 'pad_val': {'img': 114}, **more}


def resize(scale: tuple[int, int], keep_ratio: bool = True) -> dict[str, Any]:
    return {'type': 'Resize', 'scale': scale, 'keep_ratio': keep_ratio}


def flip(direction: str) -> dict[str, Any]:
    return {'type': 'RandomFlip', 'prob': 1.0, 'direction': direction}


def center_pad(mode: str, extent: int, more: int) -> dict[str, Any]:
    return {
        'type': 'RandomCenterCropPad', 'ratios': None, 'border': None, 'crop_size': None, 'test_mode': True,
        'test_pad_mode': [mode, extent], 'test_pad_add_pix': more, 'mean': [0, 0, 0], 'std': [1, 1, 1], 'to_rgb': True,
    }  # fmt: skip


KEEP_RATIO = {'type': 'YOLOv5KeepRatioResize', 'scale': (640, 640)}
SQUARE = {'type': 'Pad', 'pad_to_square': True, 'pad_val': {'img': (114.0, 114.0, 114.0)}}
TO_640 = {'type': 'Pad', 'size': (640, 640), 'pad_val': {'img': (114, 114, 114)}}
BY_32 = {'pad_size_divisor': 32}

SCHEMES = {
    'yolov5-letterbox': config('mmyolo', [KEEP_RATIO, letter(allow_scale_up=False)]),
    'letterbox-not-scaled-up': config('mmyolo', [letter(allow_scale_up=False)]),
    'letterbox-scaled-up': config('mmyolo', [letter()]),
    'letterbox-mini-pad': config('mmyolo', [letter(use_mini_pad=True)]),
    'letterbox-stretched': config('mmyolo', [letter(stretch_only=True)]),
    'letterbox-half-pads': config('mmyolo', [letter(half_pad_param=True)]),
    'letterbox-not-square': config('mmyolo', [letter(scale=(704, 320))]),
    'letterbox-then-batch-padding': config('mmyolo', [letter(scale=(600, 600))], BY_32),
    'yolox-pad-to-square': config('mmdet', [resize((416, 416)), SQUARE]),
    'rtmdet-pad-to-size': config('mmdet', [resize((640, 640)), TO_640]),
    'retinanet-divisor-32': config('mmdet', [resize((1333, 800))], BY_32),
    'detr-no-padding': config('mmdet', [resize((1333, 800))]),
    'ssd-anisotropic': config('mmdet', [resize((512, 320), keep_ratio=False)]),
    'ppyoloe-fixed-shape': config('mmyolo', [{'type': 'mmdet.FixShapeResize', 'width': 640, 'height': 640}]),
    'flip-horizontal': config('mmdet', [resize((640, 640)), flip('horizontal'), TO_640]),
    'flip-vertical': config('mmdet', [resize((640, 640)), flip('vertical'), TO_640]),
    'flip-diagonal': config('mmdet', [resize((1333, 800)), flip('diagonal')], BY_32),
    'flip-letterbox': config('mmyolo', [{**flip('horizontal'), 'type': 'mmdet.RandomFlip'}, letter()]),
    'centernet-centred': config('mmdet', [center_pad('logical_or', 31, 1)]),
    'cornernet-centred': config('mmdet', [center_pad('logical_or', 127, 0)]),
    'flip-centred': config('mmdet', [flip('horizontal'), center_pad('size_divisor', 256, 0)]),
}
SIZES = {'wide': (200, 1920), 'tall': (1280, 150), 'plain': (375, 500), 'tiny': (14, 20)}


@pytest.fixture(params=SCHEMES, scope='module')
def inferencer(request: pytest.FixtureRequest) -> FeatMapInferencer:
    return build(SCHEMES[request.param])


def build(scheme: Config, **options: Any) -> FeatMapInferencer:
    settings = {'target_layers': ['backbone'], 'channel_reduction': 'squeeze_mean', 'boxes': False, **options}
    return FeatMapInferencer(scheme, device='cpu', **settings)


def put_back(inferencer: FeatMapInferencer, image: np.ndarray) -> dict[int, np.ndarray]:
    """Each stride's map, warped onto the image as the visualizer does it."""
    maps, _ = inferencer.compute(image)
    assert len(maps) == len(STRIDES)
    return {s: item.geometry.warp(item.values, item.stride)[0] for s, item in zip(STRIDES, maps)}


def cell_size(inferencer: FeatMapInferencer, image: np.ndarray, stride: int) -> tuple[float, float]:
    """Width and height of a cell in original pixels."""
    sx, sy = inferencer.network.prepare([image]).geometries[0].scale
    return stride / sx, stride / sy


def grey(plane: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(plane).astype(np.uint8)[..., None], 3, axis=2)


def ramp(height: int, width: int, axis: int) -> np.ndarray:
    """A float picture that rises from 20 to 235 along an axis."""
    extent = (height, width)[axis]
    values = 20 + 215 * (np.arange(extent) + 0.5) / extent
    return np.broadcast_to(values if axis else values[:, None], (height, width))


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture of blobs: (H, W, 3) uint8."""
    noise = np.random.default_rng(seed).uniform(0, 255, (5, 6, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def miss(heat: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """How far, along x and y, the brightest part of a picture is from a place."""
    rows, columns = np.nonzero(heat >= heat.max() - 1e-3 * np.ptp(heat) - 1e-6)
    nearest = np.argmin(np.hypot(columns + 0.5 - x, rows + 0.5 - y))
    return abs(columns[nearest] + 0.5 - x), abs(rows[nearest] + 0.5 - y)


@pytest.mark.parametrize('size', SIZES)
def test_a_dot_lights_up_under_itself(inferencer: FeatMapInferencer, size: str) -> None:
    height, width = SIZES[size]
    radius = 0 if size == 'tiny' else 4
    dark = np.zeros((height, width, 3), np.uint8)
    without = put_back(inferencer, dark)  # the padding is bright, and shares cells with the image
    for across, down in ((0.31, 0.62), (0.83, 0.17), (0.06, 0.91)):
        x, y = int(width * across), int(height * down)
        image = dark.copy()
        image[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = 255
        for stride, heat in put_back(inferencer, image).items():
            cell_width, cell_height = cell_size(inferencer, image, stride)
            off_x, off_y = miss(heat - without[stride], x + 0.5, y + 0.5)
            assert off_x <= cell_width / 2 + radius + 1, (stride, across, down)
            assert off_y <= cell_height / 2 + radius + 1, (stride, across, down)


@pytest.mark.parametrize('axis', [0, 1])
@pytest.mark.parametrize('size', SIZES)
def test_a_ramp_stays_the_same_ramp(inferencer: FeatMapInferencer, size: str, axis: int) -> None:
    """Means over cells, interpolated linearly, give a ramp back as it was: away from the edges, to a pixel's part."""
    height, width = SIZES[size]
    truth = ramp(height, width, axis)
    checked = set()
    for stride, heat in put_back(inferencer, grey(truth)).items():
        check_ramp(heat, truth, axis, cell_size(inferencer, grey(truth), stride), stride, checked)
    assert size != 'plain' or {8, 16} <= checked


def check_ramp(
    heat: np.ndarray, truth: np.ndarray, axis: int, cell: tuple[float, float], stride: int, checked: set[int]
) -> None:
    height, width = truth.shape
    x, y = (int(np.ceil(1.5 * extent)) for extent in cell)
    error = (heat - truth)[y : height - y, x : width - x]
    if error.size:
        checked.add(stride)
        cells = error * (truth.shape[axis] / 215) / cell[1 - axis]
        # What is left is the rounding to whole grey levels. Half a cell off would be 0.5 in both.
        assert abs(cells.mean()) < 0.1, stride
        assert abs(cells).max() < 0.4, stride


def stretched(inferencer: FeatMapInferencer, image: np.ndarray) -> dict[int, np.ndarray]:
    """Each stride's map pulled over the whole image, as if the input were nothing but the image."""
    maps, _ = inferencer.compute(image)
    height, width = image.shape[:2]
    return {s: cv2.resize(item.values[0], (width, height)) for s, item in zip(STRIDES, maps)}


@pytest.mark.parametrize(
    ('scheme', 'stride', 'exact', 'stretch'),
    [
        ('yolov5-letterbox', 8, 0.4, 15),
        ('rtmdet-pad-to-size', 8, 0.4, 20),
        ('yolox-pad-to-square', 8, 0.6, 20),
        ('centernet-centred', 8, 3.0, 7.0),  # 3 of 8 pixels of its border cells are padding
        ('retinanet-divisor-32', 64, 4.2, 6.5),
        ('detr-no-padding', 32, 0.8, 1.4),
    ],
)
def test_the_picture_comes_back_as_it_was(scheme: str, stride: int, exact: float, stretch: float) -> None:
    """The mean absolute error, in grey levels, of a picture of soft blobs, and of the usual way of drawing it."""
    image = smooth(375, 500)
    inferencer = build(SCHEMES[scheme])
    truth = image.mean(axis=2)
    assert abs(put_back(inferencer, image)[stride] - truth).mean() < exact
    assert abs(stretched(inferencer, image)[stride] - truth).mean() > stretch


@pytest.mark.parametrize('scheme', ['retinanet-divisor-32', 'letterbox-mini-pad', 'flip-diagonal', 'centernet-centred'])
def test_a_batch_of_images_of_several_sizes(scheme: str) -> None:
    detector = Detector(SCHEMES[scheme], device='cpu')
    truths = [ramp(375, 500, 1), ramp(400, 250, 0), ramp(90, 300, 1)]
    batch = detector.prepare([grey(truth) for truth in truths])
    assert len({geometry.content_shape for geometry in batch.geometries}) == 3
    assert {geometry.input_shape for geometry in batch.geometries} == {tuple(batch.inputs.shape[-2:])}
    with ActivationRecorder(detector.model, ['backbone']) as recorder:
        detector.predict(batch)
    maps = maps_of(recorder.records[0].value, batch.input_shape, batch=3)
    for number, (truth, geometry, axis) in enumerate(zip(truths, batch.geometries, (1, 0, 1))):
        checked: set[int] = set()
        for stride, item in zip(STRIDES, maps):
            heat = geometry.warp(item.features[number].mean(0).numpy())
            cell = stride / geometry.scale[0], stride / geometry.scale[1]
            check_ramp(heat, truth, axis, cell, stride, checked)
        assert 8 in checked


def test_the_pixels_of_the_panels() -> None:
    """What is asked of the warp holds for the finished picture, label strips and gaps and all."""
    height, width, x, y = 200, 640, 523, 37
    image = np.zeros((height, width, 3), np.uint8)
    image[y - 4 : y + 5, x - 4 : x + 5] = 255
    scheme = config('mmyolo', [KEEP_RATIO, letter(allow_scale_up=False, pad_val={'img': 0})])
    result = build(scheme, alpha=1.0, colormap='gray').draw(image)
    original, *panels = result.rendering.panels
    assert len(panels) == len(STRIDES)
    crop = result.image[original.y : original.y + height, original.x : original.x + width]
    np.testing.assert_array_equal(crop, image)
    for panel, stride in zip(panels, STRIDES):
        assert (panel.height, panel.width) == (height, width)
        shown = result.image[panel.y : panel.y + height, panel.x : panel.x + width, 0].astype(float)
        assert shown.max() > 200
        assert max(miss(shown, x + 0.5, y + 0.5)) <= stride / 2 + 5
        assert shown[:, : width // 2].max() == 0


def few(reduction: str | None) -> dict[str, Any]:
    """The options of a reduction; few channels where it keeps channels."""
    return {'channel_reduction': reduction, **({'topk': 3} if reduction is None else {})}


@pytest.mark.parametrize('reduction', ['squeeze_mean', 'select_max', None])
def test_no_map_of_all_channels_outlives_its_hook(reduction: str | None) -> None:
    scheme = config('mmdet', [resize((320, 320)), SQUARE], channels=96)
    inferencer = build(scheme, boxes=True, **few(reduction))
    model = inferencer.model
    for _ in range(2):
        maps, _ = inferencer.compute(smooth(120, 200))
        assert model.neck.alive == 0  # type: ignore[union-attr]
        planes = 3 if reduction is None else 1
        for record in inferencer.extractor._recorder.records:
            assert isinstance(record.value, list)
            for item in record.value:
                values, shape = item.reduction.values, item.shape
                assert shape[0] == 96
                assert item.features is None
                assert values.shape == (planes, *shape[1:])
                assert values.untyped_storage().nbytes() == 4 * planes * shape[1] * shape[2]
        assert [item.shape for item in maps] == [(96, 40, 40), (96, 20, 20), (96, 10, 10), (96, 5, 5)]
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize('reduction', ['squeeze_mean', 'select_max', None])
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision_maps(dtype: str, reduction: str | None) -> None:
    """Sums over channels and over cells go far beyond what half precision can hold, which is 65504."""
    image = np.maximum(smooth(120, 200), 40)
    scheme = [resize((192, 192)), SQUARE]
    half = build(config('mmdet', scheme, channels=900, dtype=dtype), **few(reduction))
    full = build(config('mmdet', scheme, channels=900), **few(reduction))
    rounding = 2.0**-11 if dtype == 'float16' else 2.0**-8
    for item, expected in zip(half.compute(image)[0], full.compute(image)[0]):
        assert item.values.dtype == np.float32
        np.testing.assert_allclose(item.values, expected.values, rtol=rounding, atol=0.01)
        if reduction:
            assert [c and c % 3 for c in item.channels] == [c and c % 3 for c in expected.channels]
    assert half.draw(image).image.any()
