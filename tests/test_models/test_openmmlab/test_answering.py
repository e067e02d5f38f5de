"""What the shipped detector answers, joined to the graph, against what it predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featmap.gradients import GradientRecorder
from featmap.models.openmmlab.detector import Detector
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, hooks


@pytest.fixture(scope='module')
def detector() -> Detector:
    return Detector(CONFIG, CHECKPOINT, 'cpu')


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    return np.asarray(Image.open(IMAGE).convert('RGB'))


def test_final_answers_are_the_detections(detector: Detector, image: np.ndarray) -> None:
    found = detector.predict(detector.prepare([image]))[0]
    learning = [each.requires_grad for each in detector.model.parameters()]
    recorder = GradientRecorder(detector.model, ['backbone'])
    with torch.enable_grad():
        answers = detector.respond(detector.prepare([image]), recorder)[0]
    assert answers.kind == 'boxes'
    assert len(found) == len(answers.shown) == 19
    shown = answers.shown
    np.testing.assert_allclose(answers.scores[shown].detach(), found.scores, atol=1e-5)
    np.testing.assert_allclose(answers.boxes[shown].detach(), found.boxes, atol=0.1)
    assert answers.labels[shown].tolist() == found.labels.tolist()
    np.testing.assert_allclose(answers.detections.boxes, found.boxes, atol=0.1)
    gradients = recorder.gradients(answers.scores[0].log())[0]
    assert all(float(each.abs().max()) > 0 for each in gradients.values())
    assert [each.requires_grad for each in detector.model.parameters()] == learning
    assert all(each.grad is None for each in detector.model.parameters())
    assert not hooks(detector.model)


def test_raw_predictions_hold_every_detection_and_what_suppressed_left_out(
    detector: Detector, image: np.ndarray
) -> None:
    with torch.no_grad():
        final = detector.respond(detector.prepare([image]))[0]
        raw = detector.respond(detector.prepare([image]), raw=0.01)[0]
        again = detector.respond(detector.prepare([image]))[0]
    assert raw.detections is None
    assert len(raw.scores) > 3 * len(final.shown)
    assert float(raw.scores.min()) > 0.01
    for index in final.shown.tolist():
        same = (raw.boxes - final.boxes[index]).abs().amax(dim=1) < 0.5
        same &= (raw.scores - final.scores[index]).abs() < 1e-4
        assert (same & (raw.labels == final.labels[index])).sum() == 1
    assert torch.equal(final.scores, again.scores)  # and the config is as it was


def test_other_forms_of_an_image_in_one_batch(detector: Detector, image: np.ndarray) -> None:
    batch = detector.prepare([image])
    both = batch.repeated(torch.cat([batch.inputs, torch.zeros_like(batch.inputs)]))
    with torch.no_grad():
        first, nothing = detector.respond(both, raw=0.01)
        alone = detector.respond(batch, raw=0.01)[0]
    np.testing.assert_allclose(first.scores, alone.scores, atol=1e-4)
    assert len(nothing.scores) == 0 or float(nothing.scores.max()) < 0.3
