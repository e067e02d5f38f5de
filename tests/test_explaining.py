"""From an image to what speaks for its detections: the shipped detector, and nets differentiated by hand."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import FeatMapError, LayerError, OptionError, TargetError
from featmap.explainers.base import AskingExplainer, Heat
from featmap.explaining import Explained, Explaining
from featmap.geometry import Cells
from featmap.models.openmmlab.detector import Detector
from featmap.targets.spec import parse_target
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, hooks


@pytest.fixture(scope='module')
def detector() -> Detector:
    return Detector(CONFIG, CHECKPOINT, 'cpu')


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    return np.asarray(Image.open(IMAGE).convert('RGB'))


@pytest.fixture(scope='module')
def boxes(detector: Detector, image: np.ndarray) -> Explained:
    """Every detection of the demo image, by what is done where nothing is said."""
    return Explaining(detector, parse_target('boxes'))(image)


def inside(heat: np.ndarray, box: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = (round(float(corner)) for corner in box)
    mask = np.zeros(heat.shape, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_by_default_each_box_is_lit_up_by_itself(boxes: Explained) -> None:
    assert len(boxes.explanations) == len(boxes.detections) == 19
    energy, points = [], []
    for number, each in enumerate(boxes.explanations):
        assert each.index == number
        assert each.heat.dtype == np.float32
        assert each.heat.shape == boxes.geometry.image_shape
        assert (each.heat.min(), each.heat.max()) == (0, 1)
        mask = inside(each.heat, each.box)
        energy.append(each.heat[mask].sum() / each.heat.sum())
        points.append(mask.flat[each.heat.argmax()])
    assert np.mean(energy) > 0.8
    assert np.mean(points) > 0.9


def test_averaged_gradients_light_up_everything_alike(boxes: Explained, detector: Detector, image: np.ndarray) -> None:
    found = Explaining(detector, parse_target('boxes'), ['gradcam', 'eigen'], ['backbone.stage2'])(image)
    averaged, agnostic = found.explanations[0::2], found.explanations[1::2]
    energy = [each.heat[inside(each.heat, each.box)].sum() / each.heat.sum() for each in averaged]
    assert np.mean(energy) < 0.15  # by default over 0.85
    # What does not ask which box is meant is the same for all of them, and says so.
    assert all(each.class_agnostic for each in agnostic)
    assert not any(each.class_agnostic for each in (*averaged, *boxes.explanations))
    for each in agnostic:
        np.testing.assert_array_equal(each.heat, agnostic[0].heat)
    assert len({each.trace for each in agnostic}) == 19


def test_the_trace_stands_in_the_headline(boxes: Explained) -> None:
    first = boxes.explanations[0]
    assert first.headline.startswith(f'box 0 · {boxes.detections.name(0)} {boxes.detections.scores[0]:.2f} ← neck[')
    assert first.trace.cell is not None
    # The cell's centre lies in the box that it predicts.
    row, column = first.trace.cell
    x, y = boxes.geometry.to_image((column + 0.5) * first.trace.stride, (row + 0.5) * first.trace.stride)
    assert first.box[0] < x < first.box[2]
    assert first.box[1] < y < first.box[3]


def test_the_same_twice_and_nothing_is_left_behind(detector: Detector, image: np.ndarray) -> None:
    learning = [each.requires_grad for each in detector.model.parameters()]
    explain = Explaining(detector, parse_target('box:0'), ['layercam'], ['backbone.stage2', 'backbone.stage3'])
    first, second = explain(image), explain(image)
    np.testing.assert_array_equal(first.explanations[0].heat, second.explanations[0].heat)
    assert [item.layer for item in first.explanations[0].maps] == ['backbone.stage2', 'backbone.stage3']
    assert [each.requires_grad for each in detector.model.parameters()] == learning
    assert all(each.grad is None for each in detector.model.parameters())
    assert not first.chosen[0].scalar.requires_grad
    assert not hooks(detector.model)
    assert not detector.model.training


def test_several_methods_of_one_forward_and_layers_apart(detector: Detector, image: np.ndarray) -> None:
    layers = ['backbone.stage2', 'backbone.stage3']
    found = Explaining(detector, parse_target('box:0'), ['layercam', 'gradcam'], layers, 'none')(image)
    told = [(each.method, each.layers) for each in found.explanations]
    assert told == [(method, (layer,)) for method in ('layercam', 'gradcam') for layer in layers]


def test_all_parts_are_the_largest_of_each(detector: Detector, image: np.ndarray) -> None:
    def heat(part: str) -> np.ndarray:
        explain = Explaining(detector, parse_target('box:3', part), ['hirescam'], ['backbone.stage2'])
        return explain(image).explanations[0].maps[0].values

    each = [heat(part) for part in ('score', 'left', 'top', 'right', 'bottom')]
    np.testing.assert_allclose(heat('all'), np.max(each, axis=0), atol=1e-5)
    assert not np.allclose(each[0], each[1])


def test_a_layer_that_has_no_part_in_it(detector: Detector, image: np.ndarray) -> None:
    found = Explaining(detector, parse_target('box:0'), ['layercam'], ['neck'])(image)
    assert [item.name for item in found.explanations[0].maps] == [found.explanations[0].trace.feature]
    other = next(f'neck[{level}]' for level in range(3) if f'neck[{level}]' != found.explanations[0].trace.feature)
    with pytest.raises(LayerError, match=r'box 0 does not depend on neck\[\d\]: it comes of neck\[\d\]'):
        Explaining(detector, parse_target('box:0'), ['layercam'], [other])(image)


def test_wrong_words_before_a_forward(detector: Detector) -> None:
    with pytest.raises(OptionError, match='no method is called so; nearest: gradcam'):
        Explaining(detector, parse_target('box:0'), ['gradcamm'])
    with pytest.raises(OptionError, match='expected one of mean'):
        Explaining(detector, parse_target('box:0'), fuse='sum')
    with pytest.raises(FeatMapError, match='stage2'):
        Explaining(detector, parse_target('box:0'), layers=['backbone.stage22'])


def test_an_explainer_of_ones_own_that_asks(detector: Detector, image: np.ndarray) -> None:
    class Halves(AskingExplainer):
        name = 'halves'
        needs_graph = False

        def explain(self, asked: Any, chosen: Sequence[Any], layers: Sequence[Any] = ()) -> list[list[Heat]]:
            height, width = asked.batch.input_shape
            forms = asked.inputs.repeat(2, 1, 1, 1)
            plain = asked.baseline('black')
            forms[0, :, :, width // 2 :] = plain[:, :, width // 2 :]
            forms[1, :, :, : width // 2] = plain[:, :, : width // 2]
            answers = asked.answer(forms)
            cells = Cells((float(height), width / 2), known=True)
            return [[Heat(each.measure(answers)[None], cells, note='halves')] for each in chosen]

    found = Explaining(detector, parse_target('boxes'), [Halves()])(image)
    assert len(found.explanations) == 19
    for each in found.explanations:
        middle = (each.box[0] + each.box[2]) / 2 / found.geometry.image_shape[1]
        if abs(middle - 0.5) > 0.2:
            assert int(each.maps[0].values[0, 0].argmax()) == int(middle > 0.5)
        assert each.notes[-1] == 'halves'
        assert each.layers == ('input',)


def test_several_targets_of_one_forward(detector: Detector, image: np.ndarray) -> None:
    forwards: list[int] = []
    handle = detector.model.neck.register_forward_hook(lambda *call: forwards.append(1))
    try:
        specs = [parse_target('box:1'), parse_target('box:0'), parse_target('top')]
        found = Explaining(detector, specs, ['layercam'], ['backbone.stage2'])(image)
    finally:
        handle.remove()
    assert [each.index for each in found.explanations] == [1, 0, 0]
    assert len(forwards) == 1
    with pytest.raises(OptionError, match='one after the other'):
        Explaining(detector, [parse_target('top'), parse_target(box='1,1,9,9')])


def test_what_else_can_be_asked_keeps_no_graph_alive(detector: Detector, image: np.ndarray) -> None:
    found = Explaining(detector, parse_target('box:0'), ['layercam'], ['backbone.stage2'])(image)
    # Heads write what they predict, and its graph with it, into the data samples that they are given.
    assert 'pred_instances' not in found.asked.batch.data_samples[0]


def test_where_a_caller_runs_inference_alone(detector: Detector, image: np.ndarray) -> None:
    explain = Explaining(detector, parse_target('box:0'), ['layercam'], ['backbone.stage2'])
    with torch.inference_mode():
        found = explain(image)
    np.testing.assert_array_equal(found.explanations[0].heat, explain(image).explanations[0].heat)


@pytest.mark.parametrize('method', ['drise', 'occlusion', 'scorecam', 'ablationcam', 'attention'])
def test_a_side_is_not_explained_by_what_asks_for_the_score(detector: Detector, method: str) -> None:
    with pytest.raises(OptionError, match=f'left.*: the method {method} asks for the score.*layercam'):
        Explaining(detector, parse_target('box:0', 'left'), ['layercam', method])


def test_a_target_that_is_not_there_keeps_no_graph_alive(detector: Detector, image: np.ndarray) -> None:
    explain = Explaining(detector, parse_target('box:77'), ['layercam'], ['backbone.stage2'])
    seen: list[Any] = []
    handle = detector.model.neck.register_forward_hook(lambda *call: seen.append(weakref.ref(call[2][0])))
    try:
        with pytest.raises(TargetError, match='only box:0 to box:18'):
            explain(image)
    finally:
        handle.remove()
    gc.collect()
    assert [each() for each in seen] == [None]
