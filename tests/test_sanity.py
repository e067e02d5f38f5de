"""Random weights under the shipped detector and classifier, and what is left of their maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import OptionError
from featmap.faithfulness.randomisation import Randomisation
from featmap.models.openmmlab.detector import Detector
from featmap.models.protocol import AnyModel
from featmap.models.source import find_source
from featmap.options import Run
from featmap.sanity import sanity_check
from featmap.targets import parse_target
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, ROOT, hooks

STAGES = ['bbox_head', 'backbone']


@pytest.fixture(scope='module')
def detector() -> Detector:
    return Detector(CONFIG, CHECKPOINT, 'cpu')


@pytest.fixture(scope='module')
def classifier() -> AnyModel:
    source = find_source(str(ROOT / 'demo/classifier.py:classifier'), str(ROOT / 'demo/classifier.pth'), None, {})
    run = Run.of({'preprocess': 'preprocess', 'device': 'cpu'}).check(config=False).above(source.options).check()
    source.check(run)
    return source.open(run)


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    return np.asarray(Image.open(IMAGE).convert('RGB'))


def check(detector: Detector, image: np.ndarray, method: str, layer: str) -> Randomisation:
    return sanity_check(detector, image, parse_target('box:5'), method, [layer], stages=STAGES)


def test_the_map_of_a_box_changes_with_the_weights_and_the_model_stays(detector: Detector, image: np.ndarray) -> None:
    before = {name: value.clone() for name, value in detector.model.state_dict().items()}
    found = check(detector, image, 'layercam', 'backbone.stage2')
    assert found.passed
    assert found.stages == tuple(STAGES)
    assert all(torch.equal(value, before[name]) for name, value in detector.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in detector.model.parameters())
    assert hooks(detector.model) == 0


def test_a_class_agnostic_map_fails(detector: Detector, image: np.ndarray) -> None:
    found = check(detector, image, 'eigen', 'backbone.stage2')
    assert not found.passed
    assert found.similarity[0] == pytest.approx(1)
    assert found.similarity[1] < 0.9


def test_without_noise_the_tracked_numbers_give_the_map_of_the_box(detector: Detector, image: np.ndarray) -> None:
    """The linear form of the raw numbers has the gradient of the log of the score."""
    stages = ['neck.upsample_layers']  # of which no module has weights
    found = sanity_check(detector, image, parse_target('box:5'), 'layercam', ['backbone.stage2'], stages=stages)
    assert found.similarity[0] == pytest.approx(1, abs=1e-6)


def test_a_class_keeps_its_number(classifier: AnyModel) -> None:
    picture = np.asarray(Image.open(ROOT / 'demo/object.jpg').convert('RGB'))
    found = sanity_check(classifier, picture, parse_target('top'), 'gradcam', ['stages.2'], stages=['head', 'stages.3'])
    assert found.passed
    assert len(found.similarity) == 2
    assert hooks(classifier.model) == 0


def test_what_cannot_be_checked_says_so(detector: Detector, image: np.ndarray) -> None:
    with pytest.raises(OptionError, match='drise cannot be checked'):
        sanity_check(detector, image, parse_target('top'), 'drise')
    with pytest.raises(OptionError, match=r'19 targets .* expected one'):
        sanity_check(detector, image, parse_target('boxes'), 'layercam', ['backbone.stage2'])
