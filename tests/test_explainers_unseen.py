"""Methods without gradients on the shipped detector, from an image to heat."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from featmap.explaining import Explaining
from featmap.models.openmmlab.detector import Detector
from featmap.targets.spec import parse_target
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, hooks
from tests.test_models.test_openmmlab.test_detector import LETTERBOX, RESIZE

SMALL = {RESIZE: (224, 224), LETTERBOX: (224, 224)}
ARGUMENTS = {'drise': {'masks': 96, 'cells': 5, 'until': 1.0}, 'occlusion': {'cells': 8}}


@pytest.fixture(scope='module')
def sailboat() -> np.ndarray:
    """The part of the demo image around the large sailboat, upright."""
    return np.asarray(Image.open(IMAGE).convert('RGB'))[240:560, 390:680]


def test_each_of_them_finds_the_object_that_was_found(sailboat: np.ndarray) -> None:
    detector = Detector(CONFIG, CHECKPOINT, 'cpu', cfg_options=SMALL)
    methods = ['drise', 'occlusion', 'scorecam', 'ablationcam']
    explain = Explaining(detector, parse_target('box:0'), methods, ['backbone.stage1'], arguments=ARGUMENTS)
    found = {each.method: each for each in explain(sailboat).explanations}
    assert list(found) == methods
    assert not hooks(detector.model)
    for name, each in found.items():
        assert each.label.startswith('box 0 · sailboat')
        assert each.heat.shape == sailboat.shape[:2]
        assert each.heat.min() >= 0
        assert each.heat.max() == 1
        if name in ('drise', 'occlusion'):  # the others weigh whole channels, which see all objects
            x1, y1, x2, y2 = (max(round(float(corner)), 0) for corner in each.box)
            row, column = np.unravel_index(each.heat.argmax(), each.heat.shape)
            assert y1 <= row < y2
            assert x1 <= column < x2
            share = each.heat[y1:y2, x1:x2].sum() / each.heat.sum()
            assert share > 1.2 * (y2 - y1) * (x2 - x1) / each.heat.size
    assert len(found['drise'].notes) == 1
    assert found['drise'].notes[0].startswith('96 masks, whose halves correlate by 0.')
    assert found['occlusion'].notes[0].endswith(' windows')
    assert [len(each.maps) for each in found.values()] == [1, 1, 1, 1]
    assert [each.maps[0].layer for each in found.values()] == ['input', 'input', 'backbone.stage1', 'backbone.stage1']
