"""Where images lie, whatever pipelines say of it: what is drawn over a bright square is the bright square."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, TRANSFORMS
from mmengine.structures import InstanceData

from featmap.errors import GeometryError
from featmap.models.openmmlab.config import load_config
from featmap.models.openmmlab.detector import Detector
from featmap.models.openmmlab.placement import Placement
from featmap.sources import read_image
from tests.conftest import CHECKPOINT, CONFIG
from tests.conftest import IMAGE as DEMO_IMAGE
from tests.geometry_helpers import centroid, picture_with_square

SQUARE = (41, 61, 49, 69)  # x1 y1 x2 y2: centred at (45, 65)


@MODELS.register_module(force=True)
class Finder(BaseModel):
    """Finds the brightest square of its input, and brings its box back as the heads of MMDetection and MMYOLO do."""

    def __init__(self, data_preprocessor: dict[str, Any]) -> None:
        super().__init__(data_preprocessor)
        self.backbone = torch.nn.Identity()

    def forward(self, inputs: torch.Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        for grey, sample in zip(self.backbone(inputs)[:, 0], data_samples):
            meta = sample.metainfo
            rows, columns = (torch.nonzero((grey > 150).any(dim=axis))[:, 0] for axis in (1, 0))
            box = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()[None]
            height, width = meta['img_shape'][:2]
            box[:, 0::2].clamp_(0, width)
            box[:, 1::2].clamp_(0, height)
            for pads in filter(lambda it: it is not None, (meta.get('pad_param'), meta.get('border'))):
                box -= box.new_tensor([pads[2], pads[0], pads[2], pads[0]])
            box /= box.new_tensor(meta.get('scale_factor', (1.0, 1.0))).repeat((1, 2))
            box[:, 0::2].clamp_(0, meta['ori_shape'][1])
            box[:, 1::2].clamp_(0, meta['ori_shape'][0])
            sample.pred_instances = InstanceData(bboxes=box, scores=box.new_tensor([0.9]), labels=torch.tensor([0]))
        return data_samples


def finder(*steps: dict[str, Any], to_float32: bool = False, **preprocessor: Any) -> Detector:
    pipeline = [{'type': 'LoadImageFromFile', 'to_float32': to_float32}, *steps, {'type': 'mmdet.PackDetInputs'}]
    cfg = Config(
        {
            'default_scope': 'mmdet',
            'custom_imports': {'imports': ['mmyolo.datasets.transforms'], 'allow_failed_imports': False},
            'model': {'type': 'Finder', 'data_preprocessor': {'type': 'mmdet.DetDataPreprocessor', **preprocessor}},
            'test_dataloader': {'dataset': {'type': 'CocoDataset', 'pipeline': pipeline}},
        }
    )
    return Detector(cfg, device='cpu')


RESIZE = {'type': 'Resize', 'scale': (256, 256), 'keep_ratio': True}
PAD = {'type': 'Pad', 'size': (320, 320), 'pad_val': {'img': (114, 114, 114)}}
CROP = {'type': 'mmcv.CenterCrop', 'crop_size': (200, 180)}
LETTER = {'type': 'mmyolo.LetterResize', 'scale': (256, 256), 'pad_val': {'img': 114}}
FLIP = {'type': 'RandomFlip', 'prob': 1.0}
SHIFT = {'type': 'TranslateX', 'level': 10, 'max_mag': 0.2, 'reversal_prob': 1.0}

PLACED = {
    'nothing': [],
    'resize': [RESIZE],
    'resize, pad': [RESIZE, PAD],
    'stretch': [{'type': 'Resize', 'scale': (256, 150)}],
    'letterbox': [LETTER],
    'MMYOLO': [{'type': 'mmyolo.YOLOv5KeepRatioResize', 'scale': (256, 256)}, LETTER],
    'resize, resize, pad': [{**RESIZE, 'scale': (400, 300)}, RESIZE, PAD],
    'resize, stretch': [RESIZE, {'type': 'Resize', 'scale': (200, 330)}],
    'resize, crop, pad': [RESIZE, CROP, PAD],
    'crop': [{**CROP, 'crop_size': (300, 220)}],
    'letterbox, resize': [LETTER, {**RESIZE, 'scale': (200, 200)}],
    'letterbox, letterbox': [LETTER, {**LETTER, 'scale': (320, 200)}],
    'flip': [FLIP, RESIZE, PAD],
    'flip, flip': [FLIP, {**FLIP, 'direction': 'vertical'}, RESIZE],
    'flip, flip, flip': [FLIP, {**FLIP, 'direction': 'diagonal'}, {**FLIP, 'direction': 'vertical'}, PAD],
    'pad, flip': [RESIZE, PAD, FLIP],
    'letterbox, flip': [LETTER, {**FLIP, 'direction': 'diagonal'}],
    'pad, resize': [PAD, {**RESIZE, 'scale': (200, 200)}],
    'shift to the right': [SHIFT, RESIZE],
    'shift to the left': [{**SHIFT, 'max_mag': 0.1, 'reversal_prob': 0.0}, RESIZE],
    'crop of all': [{'type': 'RandomCrop', 'crop_size': (400, 400), 'allow_negative_crop': True}, PAD],
    'centre crop of CenterNet': [
        {
            'type': 'RandomCenterCropPad', 'ratios': None, 'border': None, 'crop_size': None, 'test_mode': True,
            'test_pad_mode': ['size_divisor', 64], 'mean': [0, 0, 0], 'std': [1, 1, 1], 'to_rgb': True,
        }
    ],
}  # fmt: skip

REFUSED = {
    'RandomCrop does something else': [
        RESIZE, {'type': 'RandomCrop', 'crop_size': (180, 180), 'allow_negative_crop': True}, PAD
    ],
    'RandomFlip does something else': [RESIZE, {**FLIP, 'prob': 0.5}, PAD],
    'TranslateX does something else': [{**SHIFT, 'reversal_prob': 0.5}, RESIZE],
    'Rotate in the test pipeline: the image is turned': [
        RESIZE, {'type': 'Rotate', 'level': 10, 'max_mag': 10.0, 'reversal_prob': 1.0}, PAD
    ],
    'ShearX in the test pipeline: the image is turned': [
        RESIZE, {'type': 'ShearX', 'level': 10, 'max_mag': 10.0, 'reversal_prob': 1.0}, PAD
    ],
}  # fmt: skip


@pytest.fixture
def transform() -> Any:
    """Registers a function of the picture as a transform of the results."""
    names = []

    def register(function: Any) -> dict[str, str]:
        def run(results: dict[str, Any]) -> dict[str, Any]:
            picture = function(results['img'])
            return {**results, 'img': picture, 'img_shape': picture.shape[:2]}

        TRANSFORMS.register_module(name=function.__name__, module=lambda: run)
        names.append(function.__name__)
        return {'type': function.__name__}

    yield register
    for name in names:
        del TRANSFORMS.module_dict[name]


def assert_lands(detector: Detector, shape: tuple[int, int] = (240, 320)) -> None:
    """The heat of a bright square lies over it, and so does its box: within half an original or an input pixel."""
    image = picture_with_square(shape, SQUARE)
    batch = detector.prepare([image])
    geometry = batch.geometries[0]
    heat = geometry.warp(batch.inputs[0, 0].numpy(), (1, 1))
    near = (slice(30, 100), slice(10, 80))  # the square, and nothing of a padding's colour
    x, y = centroid(np.nan_to_num(heat[near], nan=40) - 40)
    far = max(abs(x + near[1].start - 45), abs(y + near[0].start - 65))
    assert far < 0.5
    found = detector.predict(batch)[0]
    # Half an input pixel is lit or not.
    np.testing.assert_allclose(found.boxes, [SQUARE], atol=1 / min(geometry.scale) + 0.25)


@pytest.mark.parametrize('name', PLACED)
def test_a_bright_square_lands_under_itself(name):
    detector = finder(*PLACED[name], to_float32='CenterNet' in name)
    assert_lands(detector)
    assert_lands(detector, (200, 133))  # a size that is met later


@pytest.mark.parametrize('message', REFUSED)
def test_what_cannot_be_laid_over_the_image_is_refused_by_name(message):
    detector = finder(*REFUSED[message])
    for _ in range(2):
        with pytest.raises(GeometryError, match=message) as caught:
            detector.prepare([picture_with_square((240, 320), SQUARE)])
        assert 'take it out of the test pipeline' in str(caught.value)
        assert '\n' not in str(caught.value)


class TestFunctions:
    """Transforms of one's own, of which nothing is known."""

    def test_what_pads_and_crops_in_silence_is_measured(self, transform):
        def crop_and_pad(picture: np.ndarray) -> np.ndarray:
            return np.pad(picture[11:200, 20:], ((7, 30), (13, 4), (0, 0)))

        detector = finder(transform(crop_and_pad))
        assert_lands(detector)
        geometry = detector.prepare([picture_with_square((240, 320), SQUARE)]).geometries[0]
        assert geometry.scale == pytest.approx((1, 1), abs=1e-3)
        assert geometry.offset == pytest.approx((13 - 20, 7 - 11), abs=0.1)
        assert geometry.visible == pytest.approx((20, 11, 320, 200), abs=0.1)

    def test_what_works_the_image_over_channel_by_channel_or_in_grey_does_no_harm(self, transform):
        def grey(picture: np.ndarray) -> np.ndarray:
            return np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)[:, ::-1]

        assert_lands(finder(transform(grey), RESIZE, PAD))

    @pytest.mark.parametrize('part', ['quarters', 'bent', 'turned'])
    def test_what_is_no_scaling_is_refused_by_name(self, transform, part):
        def quarters(picture: np.ndarray) -> np.ndarray:
            return np.roll(picture, picture.shape[1] // 2, axis=1)

        def bent(picture: np.ndarray) -> np.ndarray:
            columns = np.linspace(0, 1, picture.shape[1]) ** 1.3 * (picture.shape[1] - 1)
            return picture[:, columns.astype(int)]

        def turned(picture: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(picture.transpose(1, 0, 2))

        function = {'quarters': quarters, 'bent': bent, 'turned': turned}[part]
        with pytest.raises(GeometryError, match=f'^{part} in the test pipeline: the image is '):
            finder(RESIZE, transform(function), PAD).prepare([picture_with_square((240, 320), SQUARE)])

    def test_an_image_that_never_arrives(self, transform):
        def blacken(picture: np.ndarray) -> np.ndarray:
            return np.zeros_like(picture)

        with pytest.raises(GeometryError, match=r'^blacken in the test pipeline: black and white images'):
            finder(transform(blacken)).prepare([picture_with_square((64, 64), (10, 10, 20, 20))])

    def test_a_generator_of_its_own(self, transform):
        chance = np.random.default_rng(0)

        def wander(picture: np.ndarray) -> np.ndarray:
            return np.roll(picture, int(chance.integers(30)), axis=0)

        with pytest.raises(GeometryError, match=r'^wander '):
            finder(transform(wander)).prepare([picture_with_square((64, 64), (10, 10, 20, 20))])


class TestWhenItIsMeasured:
    @staticmethod
    def count(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
        shapes: list[tuple[int, int]] = []
        measured = Placement._measure

        def spy(self: Placement, image_shape: tuple[int, int]) -> Any:
            shapes.append(image_shape)
            return measured(self, image_shape)

        monkeypatch.setattr(Placement, '_measure', spy)
        for shape in ((100, 120), (100, 120), (120, 100), (100, 120)):
            detector.prepare([picture_with_square(shape, SQUARE)])
        return shapes

    def test_a_pipeline_of_one_resize_and_one_pad_once_a_run(self, monkeypatch):
        assert self.count(finder(RESIZE, PAD), monkeypatch) == [(100, 120)]

    def test_any_other_once_for_each_size(self, monkeypatch):
        assert self.count(finder(RESIZE, RESIZE), monkeypatch) == [(100, 120), (120, 100)]

    def test_a_known_one_that_does_not_do_what_it_tells(self, monkeypatch):
        detector = finder(RESIZE, PAD)
        pad = dict(detector._pipeline.steps)['Pad']
        shifted = type(pad).transform
        monkeypatch.setattr(type(pad), 'transform', lambda self, it: shifted(self, {**it, 'img': it['img'][:, 3:]}))
        assert self.count(detector, monkeypatch) == [(100, 120), (120, 100)]
        assert_lands(detector)

    def test_an_image_too_small_to_tell_checks_nothing(self, monkeypatch):
        detector = finder(RESIZE, PAD)
        detector.prepare([np.zeros((9, 200, 3), np.uint8)])
        assert self.count(detector, monkeypatch) == [(100, 120)]

    def test_random_numbers_are_left_as_they_were(self):
        np.random.seed(3)
        torch.manual_seed(3)
        plain, other = np.random.rand(), torch.rand(1)
        detector = finder({**FLIP, 'prob': 1.0}, RESIZE)
        image = picture_with_square((100, 120), SQUARE)
        detector.prepare([image])  # this size is known from here on
        np.random.seed(3)
        torch.manual_seed(3)
        detector._placement._known.clear()
        first = detector._placement.of({}, (100, 120), (213, 256))
        assert first.geometry.flip == (True, False)
        assert (np.random.rand(), torch.rand(1)) == (plain, other)

    def test_images_of_several_sizes_in_a_batch(self):
        images = [picture_with_square(shape, SQUARE) for shape in ((240, 320), (200, 133))]
        detector = finder({**RESIZE, 'scale': (100, 80)}, {**RESIZE, 'scale': (200, 160)})
        batch = detector.prepare(images)
        assert {geometry.input_shape for geometry in batch.geometries} == {(200, 200)}
        for found, geometry in zip(detector.predict(batch), batch.geometries):
            np.testing.assert_allclose(found.boxes, [SQUARE], atol=1 / min(geometry.scale) + 0.25)


def test_the_shipped_detector_is_taken_at_its_word_after_three_probes(monkeypatch):
    detector = Detector(CONFIG, CHECKPOINT, device='cpu')
    image = read_image(DEMO_IMAGE)
    seen = []
    preprocessed = detector._preprocessed
    monkeypatch.setattr(detector, '_preprocessed', lambda images: seen.append(len(images)) or preprocessed(images))
    assert detector.prepare([image]).places[0].told
    assert seen == [1] * 4
    assert detector.prepare([image[:500]]).places[0].told
    assert seen == [1] * 5


def overlap(box: np.ndarray, others: np.ndarray) -> float:
    """The largest intersection over union of a box with others."""
    corner = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(corner[1] - corner[0], 0, None).prod(axis=1)
    areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    return float((shared / (areas[0] + areas[1] - shared)).max())


def test_a_real_head_finds_the_same_through_pipelines_that_do_not_tell_the_truth():
    """Of the shipped detector: what it finds in an image that is scaled twice, and in the middle of it, mirrored."""
    image = read_image(DEMO_IMAGE)
    large = {**RESIZE, 'scale': (640, 640)}
    pipelines = (
        [large, {**PAD, 'size': (640, 640)}],
        [{**RESIZE, 'scale': (900, 900)}, large, {**PAD, 'size': (640, 640)}],
        [large, {**CROP, 'crop_size': (480, 352)}, FLIP, PAD | {'size': (512, 512)}],
    )
    found, places = [], []
    cfg = load_config(CONFIG)
    for steps in pipelines:
        pipeline = cfg.test_dataloader.dataset.pipeline
        steps = [
            {**step, 'type': f'mmdet.{step["type"]}' if '.' not in step['type'] else step['type']} for step in steps
        ]
        cfg.test_dataloader.dataset.pipeline = [pipeline[0], *steps, pipeline[-1]]
        detector = Detector(cfg, CHECKPOINT, device='cpu')
        batch = detector.prepare([image])
        found.append(detector.predict(batch)[0].boxes)
        places.append(batch.places[0])
    assert [place.told for place in places] == [True, False, False]
    assert len(found[0]) > 12
    assert np.mean([overlap(box, found[1]) > 0.85 for box in found[0]]) > 0.85
    left, top, right, bottom = places[2].geometry.visible
    within = [box for box in found[0] if (box > (left, top, left, top)).all() and (box < (right, bottom) * 2).all()]
    assert len(within) > 6
    assert np.mean([overlap(box, found[2]) > 0.75 for box in within]) > 0.75
