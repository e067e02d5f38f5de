"""Integrated gradients and SmoothGrad of a model: what is followed from form to form, by hand and on the detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from featmap.answers import Answers
from featmap.asked import Asked
from featmap.errors import LayerError, OptionError, TargetError
from featmap.explainers import IntegratedGradients, SmoothGrad
from featmap.explaining import Explaining
from featmap.gradients import GradientRecorder
from featmap.models.openmmlab.detector import Detector
from featmap.models.protocol import Batch
from featmap.targets import Chosen, Scene, Trace, Tracer, choose, parse_target, traced_layers
from featmap.targets.tracked import Tracked
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, hooks
from tests.explainer_helpers import Plain, asked_of, output

# Two pixels: red at full level and green at 51 of 255; blue at 102.
PIXELS = np.array([[[255, 51, 0], [0, 0, 102]]], np.uint8)


class Square(nn.Module):
    """5 · red² − green of the first pixel, and blue of the second."""

    def forward(self, x: Tensor) -> Tensor:
        first = 5 * x[:, 0, :, 0].square() - x[:, 1, :, 0]
        return torch.stack([first.sum(dim=1), x[:, 2, :, 1].sum(dim=1)], dim=1)


class Classes(Plain):
    """What the module returns are class scores."""

    def _respond(self, batch: Batch, raw: float | None) -> tuple[Answers, ...]:
        return tuple(Answers('classes', logits=each, output=each) for each in self.model(batch.inputs))


def classes_of(module: nn.Module, image: np.ndarray) -> Asked:
    network = Classes(module)
    return Asked(network, image, network.prepare([image]), batch_size=3)


def chosen_of(asked: Asked, text: str) -> Chosen:
    answers = asked.network.respond(asked.batch)[0]
    return choose(parse_target(text), Scene(answers, asked.geometry, gradients=False))[0]


def test_what_each_pixel_adds_to_a_score() -> None:
    """From black red adds 5 and green takes 0.2 away, which are one pixel's; blue adds 0.4 to the other output."""
    asked = asked_of(Square(), PIXELS, batch_size=3)
    first, second = IntegratedGradients(steps=4, baseline='black', cell=1).explain(asked, [output(0), output(1)])
    assert torch.allclose(first[0].values, torch.tensor([[4.8, 0.0]]))
    assert torch.allclose(second[0].values, torch.tensor([[0.0, 0.4]]))
    assert first[0].note == '4 steps from black, adds up within 0.0%'
    assert first[0].shape == (3, 1, 2)
    assert asked.network.sizes == [3, 1, 2]


def test_pixels_are_added_up_in_cells() -> None:
    """Weights 1 … 15 of 3 rows and 5 columns, of which every second is negative, in cells of 2: cut at the edges."""
    weights = torch.arange(1.0, 16.0).reshape(3, 5) * torch.tensor([[1, -1, 1, -1, 1]])

    class Weighted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, 0] * weights).sum(dim=(1, 2))

    asked = asked_of(Weighted(), np.full((3, 5, 3), 255, np.uint8))
    added = IntegratedGradients(steps=1, baseline='black', cell=2).explain(asked, [output()])[0][0]
    assert added.values.tolist() == [[0.0, 0.0, 15.0], [0.0, 0.0, 15.0]]  # 1 - 2 + 6 - 7, 3 - 4 + 8 - 9, 5 + 10
    assert (added.cells.stride, added.shape) == ((2.0, 2.0), (3, 2, 3))
    moved = SmoothGrad(samples=1, cell=2).explain(asked, [output()])[0][0]
    assert moved.values.tolist() == [[16.0, 24.0, 15.0], [23.0, 27.0, 15.0]]


def test_how_far_a_score_is_moved() -> None:
    """Red by 10 and green by −1 at the first pixel, in the mean over the noise about so."""
    asked = asked_of(Square(), PIXELS, seed=1)
    first, second = SmoothGrad(samples=200, noise=0.1, cell=1).explain(asked, [output(0), output(1)])
    assert first[0].values[0].tolist() == pytest.approx([11.0, 0.0], abs=0.3)
    assert second[0].values[0].tolist() == pytest.approx([0.0, 1.0])
    assert first[0].note.startswith('200 copies with noise of 10%')
    again = SmoothGrad(samples=200, noise=0.1, cell=1).explain(asked, [output(0)])[0][0].values
    assert torch.equal(again, first[0].values)


def test_classes_are_followed_by_their_logits() -> None:
    asked = classes_of(Square(), PIXELS)
    rather = chosen_of(asked, 'class:0-class:1')
    heat = IntegratedGradients(steps=3, baseline='black', cell=1).explain(asked, [rather])[0][0]
    assert torch.allclose(heat.values, torch.tensor([[4.8, 0.0]]))  # −0.4 of blue is cut off
    assert heat.note == '3 steps from black, adds up within 0.0%'
    assert float(Tracked(asked, [chosen_of(asked, 'class:0')])(asked.batch.inputs)[0]) == pytest.approx(4.8)


def test_regions_of_a_segmentation_are_followed_by_their_logits() -> None:
    """The mean over the second pixel of blue, 0.4, less red, 0."""

    class Planes(Plain):
        def _respond(self, batch: Batch, raw: float | None) -> tuple[Answers, ...]:
            return tuple(Answers('segments', planes=each, output=each) for each in self.model(batch.inputs))

    spec = parse_target('class:2-class:0', mask=np.array([[False, True]]))
    found = Explaining(Planes(nn.Identity()), spec, [IntegratedGradients(1, 'black', cell=1)])(PIXELS)
    assert found.explanations[0].maps[0].values[0].tolist() == [[0.0, 1.0]]
    assert float(Tracked(found.asked, found.chosen)(found.asked.batch.inputs)[0]) == pytest.approx(0.4)


def test_a_classifier_by_its_input_alone() -> None:
    """No layer is kept, so the graph begins at the input; and the model writes into that."""

    class Writes(Square):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(2))

    found = Explaining(Classes(Writes()), parse_target('class:1'), [IntegratedGradients(2, 'black', cell=1)])(PIXELS)
    assert found.explanations[0].heat.tolist() == [[0.0, 1.0]]
    assert found.explanations[0].layers == ('input',)
    assert not found.asked.inputs.requires_grad
    assert not found.chosen[0].scalar.requires_grad


def test_attributions_that_do_not_add_up_say_so() -> None:
    class Late(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, 0].amax(dim=(1, 2)) - 0.75).relu()

    heat = IntegratedGradients(steps=1, baseline='black', cell=1).explain(asked_of(Late(), PIXELS), [output()])[0][0]
    assert 'adds up within 100.0%: more steps are needed' in heat.note


def test_regions_and_queries_are_followed_by_what_fits_best() -> None:
    """Their numbers are those of other predictions in another form."""
    box = np.array([[0, 0, 1, 1]], np.float32)
    region = replace(output(0), boxes=box, founds=(SimpleNamespace(trace=Trace('region', 'head', proposal=3)),))
    asked = asked_of(Square(), PIXELS)
    heat = IntegratedGradients(steps=4, baseline='black', cell=1).explain(asked, [region])[0][0]
    assert torch.allclose(heat.values, torch.tensor([[4.8, 0.0]]))
    assert heat.note.endswith(', of the best IoU × score')


@pytest.mark.parametrize('part', ['left', 'bottom', 'all'])
def test_sides_are_not_followed(part: str) -> None:
    side = Chosen(torch.zeros(()), 'box 0', part=part)
    with pytest.raises(TargetError, match=f'{part}.* cannot be followed .*layercam'):
        SmoothGrad().explain(asked_of(Square(), PIXELS), [side])


@pytest.mark.parametrize(
    ('make', 'told'),
    [
        (lambda: IntegratedGradients(steps=0), 'steps=0: expected a whole number from 1 up'),
        (lambda: IntegratedGradients(steps=2.5), 'steps=2.5'),
        (lambda: SmoothGrad(samples=True), 'samples=True'),
        (lambda: SmoothGrad(noise=-0.1), 'noise=-0.1'),
        (lambda: SmoothGrad(cell=0), 'cell=0'),
        (lambda: IntegratedGradients(cell=0), 'cell=0'),
        (lambda: IntegratedGradients(baseline='grey').explain(asked_of(Square(), PIXELS), [output(0)]), "'grey'"),
    ],
)
def test_arguments_that_make_no_sense(make: Callable[[], object], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make()


def test_a_model_that_cuts_gradients_off() -> None:
    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().sum(dim=(1, 2, 3))

    with pytest.raises(LayerError, match='does not depend on the network input'):
        SmoothGrad(samples=1).explain(asked_of(Cut(), PIXELS), [output()])


# --- the shipped detector


@pytest.fixture(scope='module')
def detector() -> Detector:
    return Detector(CONFIG, CHECKPOINT, 'cpu')


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    return np.asarray(Image.open(IMAGE).convert('RGB'))


def boxes_of(detector: Detector, image: np.ndarray) -> list[Chosen]:
    """The detections, in the graph of one forward."""
    batch, layers = detector.prepare([image]), detector.raw_layers()
    recorder = GradientRecorder(detector.model, traced_layers(detector.model, layers))
    with torch.enable_grad():
        answers = detector.respond(batch, recorder)[0]
    tracer = Tracer(layers, recorder.kept, batch.input_shape)
    return choose(parse_target('boxes'), Scene(answers, batch.geometries[0], tracer))


def test_detections_are_followed_by_their_raw_numbers(detector: Detector, image: np.ndarray) -> None:
    asked, chosen = Asked(detector, image, detector.prepare([image])), boxes_of(detector, image)
    tracked = Tracked(asked, chosen)
    with torch.no_grad():
        values = tracked(torch.stack([asked.baseline('black'), asked.inputs]))
    assert len(chosen) == len(values) == 19
    for each, (black, own) in zip(chosen, values):
        assert float(own) == pytest.approx(float(each.scalar.detach()), abs=1e-3)
        assert float(black) < float(own) - 3
    assert tracked.told(0) == 'of the raw prediction'
    assert not hooks(detector.model)


def test_a_box_by_its_pixels(detector: Detector, image: np.ndarray) -> None:
    explain = Explaining(detector, parse_target('box:0'), [IntegratedGradients(steps=6)])
    found = explain(image).explanations[0]
    assert found.layers == ('input',)
    assert found.notes[-1].startswith('6 steps from blur, adds up within ')
    assert found.notes[-1].endswith(', of the raw prediction')
    x1, y1, x2, y2 = (round(float(corner)) for corner in found.box)
    assert found.heat[y1:y2, x1:x2].sum() > 0.6 * found.heat.sum()
    assert not hooks(detector.model)
