"""The detector: fed with images of any size, asked for boxes that can be drawn."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from featmap.errors import ConfigError, GeometryError, MissingPackageError, OptionError, SourceError
from featmap.geometry import ImageGeometry
from featmap.models.openmmlab import detector as detector_module
from featmap.models.openmmlab.config import load_config
from featmap.models.openmmlab.detector import Detector
from featmap.recorder import ActivationRecorder
from featmap.sources import read_image
from tests.conftest import CHECKPOINT, CONFIG
from tests.conftest import IMAGE as DEMO_IMAGE

YOLOV5 = 'mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py'
RETINANET = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
RESIZE = 'test_dataloader.dataset.pipeline.1.scale'
LETTERBOX = 'test_dataloader.dataset.pipeline.2.scale'
SMALL = {RESIZE: (160, 160), LETTERBOX: (160, 160)}
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)


@MODELS.register_module(force=True)
class Prophet(BaseModel):
    """A detector that finds what it was told to."""

    found: dict[str, Any] | None = None
    scope: str | None = None

    def __init__(self, data_preprocessor: dict[str, Any]) -> None:
        super().__init__(data_preprocessor)
        self.backbone = torch.nn.Identity()

    def forward(self, inputs: torch.Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        self.backbone(inputs)
        self.modes = mode, torch.is_grad_enabled(), DefaultScope.get_current_instance().scope_name  # type: ignore[union-attr]
        for sample in data_samples:
            if self.found is not None:
                sample.pred_instances = InstanceData(**self.found)
        return data_samples


def prophet(*found: tuple[float, ...], steps: Any = (), score_thr: float = 0.3, **fields: Any) -> Detector:
    """A detector that finds (score, x1, y1, x2, y2) rows, as a head hands them out."""
    pipeline = [{'type': 'LoadImageFromFile'}, *steps, {'type': 'PackDetInputs'}]
    cfg = Config(
        {
            'default_scope': 'mmdet',
            'model': {'type': 'Prophet', 'data_preprocessor': {'type': 'DetDataPreprocessor'}},
            'test_dataloader': {'dataset': {'type': 'CocoDataset', 'pipeline': pipeline}},
        }
    )
    detector = Detector(cfg, device='cpu', score_thr=score_thr)
    rows = torch.tensor(found, dtype=torch.float32).reshape(-1, 5)
    instances = {'scores': rows[:, 0], 'bboxes': rows[:, 1:], 'labels': torch.arange(len(rows))}
    detector.model.found = {**instances, **fields}  # type: ignore[assignment]
    return detector


def boxes_of(detector: Detector, image: np.ndarray = IMAGE) -> list[list[float]]:
    return detector.predict(detector.prepare([image]))[0].boxes.tolist()


class TestPrepare:
    def test_one_image(self) -> None:
        batch = Detector(YOLOV5, device='cpu', cfg_options=SMALL).prepare([IMAGE])
        assert batch.inputs.shape == (1, 3, 160, 160)
        assert batch.input_shape == (160, 160)
        assert batch.inputs.dtype == torch.float32
        assert batch.geometries == (ImageGeometry((60, 100), (160, 160), (1.6, 1.6), (0, 32)),)

    def test_images_of_several_sizes(self) -> None:
        detector = Detector(RETINANET, device='cpu', cfg_options={RESIZE: (128, 96)})
        batch = detector.prepare([IMAGE, IMAGE[:, :60], np.ascontiguousarray(IMAGE.transpose(1, 0, 2))])
        assert batch.inputs.shape == (3, 3, 128, 128)
        assert [geometry.image_shape for geometry in batch.geometries] == [(60, 100), (60, 60), (100, 60)]
        assert {geometry.input_shape for geometry in batch.geometries} == {(128, 128)}
        assert [geometry.content_shape for geometry in batch.geometries] == [(77, 128), (96, 96), (128, 77)]
        assert len(detector.predict(batch)) == 3

    @pytest.mark.parametrize('shape', [(1, 2000), (2000, 1)])
    def test_an_image_too_thin_to_be_resized(self, shape: tuple[int, int]) -> None:
        with pytest.raises(SourceError, match=f'cannot take an image of {shape[1]}x{shape[0]}: ') as caught:
            Detector(YOLOV5, device='cpu').prepare([np.zeros((*shape, 3), np.uint8)])
        assert '\n' not in str(caught.value)

    def test_an_image_of_one_pixel(self) -> None:
        detector = Detector(YOLOV5, device='cpu', cfg_options=SMALL)
        batch = detector.prepare([np.full((1, 1, 3), 200, np.uint8)])
        assert batch.geometries[0].content_shape == (160, 160)
        detector.predict(batch)

    def test_what_cannot_be_placed_keeps_its_own_error(self) -> None:
        steps = [{'type': 'RandomCrop', 'crop_size': (20, 20), 'allow_negative_crop': True}]
        with pytest.raises(GeometryError, match='RandomCrop does something else to an image each time'):
            prophet(steps=steps).prepare([IMAGE])


class TestPredict:
    def test_from_the_threshold_up(self) -> None:
        detector = prophet((0.9, 1, 2, 30, 40), (0.3, 5, 6, 7, 8), (0.2999, 0, 0, 9, 9))
        found = detector.predict(detector.prepare([IMAGE]))[0]
        assert found.boxes.tolist() == [[1, 2, 30, 40], [5, 6, 7, 8]]
        assert found.scores.tolist() == pytest.approx([0.9, 0.3])
        assert found.labels.tolist() == [0, 1]
        assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)
        assert [found.name(0), found.name(1)] == ['person', 'bicycle']

    def test_the_way_mmdet_is_asked(self) -> None:
        detector = prophet((0.9, 1, 2, 3, 4))
        boxes_of(detector)
        assert detector.model.modes == ('predict', False, 'mmdet')

    def test_boxes_end_at_the_edges_of_the_image(self) -> None:
        found = boxes_of(prophet((0.9, -5, -1e34, 120, 1e34), (0.8, 90, 50, 100.5, 61), (0.7, -20, -20, -10, -10)))
        assert found == [[0, 0, 100, 60], [90, 50, 100, 60], [0, 0, 0, 0]]

    def test_boxes_without_end_are_left_out(self) -> None:
        nan, inf = float('nan'), float('inf')
        assert boxes_of(prophet((0.9, nan, 0, 1, 1), (0.8, 1, 2, 3, 4), (0.7, 0, -inf, 1, inf))) == [[1, 2, 3, 4]]
        assert boxes_of(prophet((nan, 1, 2, 3, 4))) == []

    @pytest.mark.parametrize(
        ('direction', 'expected'),
        [('horizontal', [70, 2, 99, 40]), ('vertical', [1, 20, 30, 58]), ('diagonal', [70, 20, 99, 58])],
    )
    def test_boxes_of_a_flipped_input_are_flipped_back(self, direction: str, expected: list[float]) -> None:
        flip = {'type': 'RandomFlip', 'prob': 1.0, 'direction': direction}
        assert boxes_of(prophet((0.9, 1, 2, 30, 40), steps=[flip])) == [expected]

    def test_each_image_has_its_own_edges(self) -> None:
        detector = prophet((0.9, 0, 0, 500, 500))
        found = detector.predict(detector.prepare([IMAGE, IMAGE[:20, :50]]))
        assert [item.boxes.tolist() for item in found] == [[[0, 0, 100, 60]], [[0, 0, 50, 20]]]

    def test_half_precision_and_box_types(self) -> None:
        from mmdet.structures.bbox import HorizontalBoxes

        boxes = HorizontalBoxes(torch.tensor([[1, 2, 3, 4]], dtype=torch.float16))
        detector = prophet((0.9, 0, 0, 0, 0), bboxes=boxes, scores=torch.tensor([0.5], dtype=torch.bfloat16))
        found = detector.predict(detector.prepare([IMAGE]))[0]
        assert (found.boxes.tolist(), found.scores.tolist()) == ([[1, 2, 3, 4]], [0.5])
        assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)

    def test_nothing_found(self) -> None:
        assert boxes_of(prophet()) == []
        assert boxes_of(prophet((0.1, 1, 2, 3, 4))) == []

    @pytest.mark.parametrize('found', [None, {}, {'masks': torch.zeros(1, 2, 2)}])
    def test_a_model_that_finds_no_boxes(self, found: Any) -> None:
        detector = prophet()
        detector.model.found = found
        result = detector.predict(detector.prepare([IMAGE]))[0]
        assert (len(result), len(result.classes)) == (0, 80)

    def test_a_package_that_is_missed_only_in_the_forward(self) -> None:
        class Importing(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                raise ModuleNotFoundError("No module named 'nosuchpackage'", name='nosuchpackage')

        detector = prophet()
        detector.model.backbone = Importing()
        with pytest.raises(MissingPackageError, match="the forward needs 'nosuchpackage', which"):
            boxes_of(detector)


class Square(torch.nn.Module):
    """Takes only maps in PyTorch's default memory layout, as many hand-written layers do."""

    def __init__(self, says: Exception | None = None) -> None:
        super().__init__()
        self.says = says

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.says is not None and not x.is_contiguous():
            raise self.says
        return (x.view(-1) ** 2).view_as(x)


class TestMemoryLayout:
    """Convolutions are fastest with channels last; nobody needs to know."""

    def test_what_is_fast_here(self) -> None:
        detector = Detector(YOLOV5, device='cpu', cfg_options=SMALL)
        fast, plain = detector.prepare([IMAGE]).inputs, detector.prepare([IMAGE], contiguous=True).inputs
        assert fast.is_contiguous(memory_format=torch.channels_last)
        assert plain.is_contiguous()
        assert torch.equal(fast, plain)

    def test_compiled_ops_get_what_they_can_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(detector_module, 'ensure_ops', lambda: False)
        assert prophet().prepare([IMAGE]).inputs.is_contiguous()

    def test_the_same_is_found(self) -> None:
        detector = Detector(CONFIG, CHECKPOINT, device='cpu')
        image = read_image(DEMO_IMAGE)
        fast, plain = (detector.predict(detector.prepare([image], contiguous=way))[0] for way in (False, True))
        assert len(fast) > 5
        np.testing.assert_allclose(fast.boxes, plain.boxes, atol=1e-2)
        np.testing.assert_allclose(fast.scores, plain.scores, atol=1e-4)
        assert fast.labels.tolist() == plain.labels.tolist()

    @pytest.mark.parametrize(
        'says',
        [
            None,
            AssertionError(),
            ValueError('x must be contiguous'),
            RuntimeError('Unsupported memory format. Supports only Contiguous'),
        ],
        ids=str,
    )
    def test_a_layer_that_cannot_take_it(self, says: Exception | None) -> None:
        detector = prophet((0.9, 1, 2, 3, 4))
        detector.model.backbone = torch.nn.Sequential(torch.nn.Identity(), Square(says))
        batch = detector.prepare([IMAGE])
        assert not batch.inputs.is_contiguous()
        recorder = ActivationRecorder(detector.model, ['backbone.0', 'backbone'])
        found = detector.predict(batch, recorder)
        assert [(record.target.name, record.call) for record in recorder.records] == [
            ('backbone.0', 0),
            ('backbone', 0),
        ]
        assert torch.equal(recorder.records[1].value, batch.inputs**2)
        assert found[0].boxes.tolist() == [[1, 2, 3, 4]]
        assert detector.prepare([IMAGE]).inputs.is_contiguous()  # it is not tried again

    @pytest.mark.parametrize(
        ('error', 'runs'),
        [
            (RuntimeError('out of order'), [False, False]),
            (OptionError('stride is no option'), [False, False]),
            (KeyError('stride'), [False, False]),
            (RuntimeError('stride must be positive'), [False, True, False, True]),
        ],
        ids=str,
    )
    def test_an_error_of_another_cause(self, error: Exception, runs: list[bool]) -> None:
        tried = []

        def fail(*call: Any) -> None:
            tried.append(call[1][0].is_contiguous())
            raise error

        detector = prophet()
        detector.model.backbone.register_forward_hook(fail)
        for _ in range(2):  # what would not have helped is no reason to be slower from then on
            with pytest.raises(type(error), match=str(error)):
                detector.predict(detector.prepare([IMAGE]))
        assert tried == runs

    def test_a_repeated_run_ends_early_too(self) -> None:
        detector = prophet((0.9, 1, 2, 3, 4))
        detector.model.backbone = torch.nn.Sequential(torch.nn.Identity(), Square(), torch.nn.Identity())
        recorder = ActivationRecorder(detector.model, ['backbone.0', 'backbone.1'], stop_early=True)
        for _ in range(2):
            assert detector.predict(detector.prepare([IMAGE]), recorder) is None
            assert [record.target.name for record in recorder.records] == ['backbone.0', 'backbone.1']
            assert recorder.stopped

    def test_a_recorder_may_end_the_forward(self) -> None:
        detector = prophet((0.9, 1, 2, 3, 4))
        recorder = ActivationRecorder(detector.model, ['backbone'], stop_early=True)
        assert detector.predict(detector.prepare([IMAGE]), recorder) is None
        assert len(recorder.records) == 1


class TestModel:
    def test_two_detectors_have_the_same_random_weights(self) -> None:
        first, second = (Detector(YOLOV5, device='cpu', cfg_options=SMALL) for _ in range(2))
        weights, others = first.model.state_dict(), second.model.state_dict()
        assert all(torch.equal(weights[name], others[name]) for name in weights)
        assert first.weights is None
        torch.manual_seed(3)
        found = [detector.model(detector.prepare([IMAGE]).inputs)[0] for detector in (first, second)]
        assert all(torch.equal(one, other) for level in zip(*found) for one, other in zip(*level))

    def test_a_config_is_not_changed(self) -> None:
        cfg = load_config(YOLOV5)
        before = copy.deepcopy(cfg.to_dict())
        detector = Detector(cfg, device='cpu', cfg_options={**SMALL, 'model.bbox_head.head_module.num_classes': 3})
        assert cfg.to_dict() == before
        assert detector.config.model.bbox_head.head_module.num_classes == 3
        assert detector.model.bbox_head.num_classes == 3  # type: ignore[union-attr]

    def test_overrides_reach_the_network_and_its_input(self) -> None:
        options = {**SMALL, 'model.backbone.widen_factor': 0.125, 'model.neck.widen_factor': 0.125}
        options['model.bbox_head.head_module.widen_factor'] = 0.125
        detector = Detector(YOLOV5, device='cpu', cfg_options=options)
        assert detector.model.backbone.stem.conv.out_channels == 8  # type: ignore[union-attr]
        assert detector.prepare([IMAGE]).input_shape == (160, 160)

    def test_the_current_scope_stays_what_it_was(self) -> None:
        with DefaultScope.overwrite_default_scope('mmengine'):
            detector = Detector(YOLOV5, device='cpu', cfg_options=SMALL)
            detector.predict(detector.prepare([IMAGE]))
            assert DefaultScope.get_current_instance().scope_name == 'mmengine'  # type: ignore[union-attr]

    def test_a_device_that_is_not_there(self) -> None:
        with pytest.raises(ConfigError, match='there is no device cuda:99'):
            Detector(YOLOV5, device='cuda:99')
