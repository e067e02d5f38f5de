"""Results in a notebook: they show themselves, and are one line in a list."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from featmap.notebook import screen_png
from featmap.recorder import ActivationRecorder
from featmap.structures import Detections, Rendering
from tests.inferencer_helpers import IMAGE, build


@pytest.mark.parametrize(
    ('shape', 'shown'), [((60, 100), (100, 60)), ((3200, 400), (200, 1600)), ((10, 20000), (1600, 1))]
)
def test_a_picture_has_a_screens_size(shape, shown):
    image = np.full((*shape, 3), (200, 30, 10), np.uint8)
    with Image.open(io.BytesIO(screen_png(image))) as png:
        assert png.size == shown
        assert png.getpixel((0, 0)) == (200, 30, 10)


def test_results_show_themselves_and_are_one_line():
    result = build(target_layers=['neck[0]'], channel_reduction='l2')(IMAGE)
    with Image.open(io.BytesIO(result._repr_png_())) as png:
        np.testing.assert_array_equal(np.asarray(png.convert('RGB')), result.image)
    assert result.rendering._repr_png_() == result._repr_png_()
    assert repr(result) == f"<Result of 'image': 1 map, {result.predictions.count}>"
    item = result.maps[0]
    assert repr(item) == '<FeatureMap neck[0] by l2: {}×{}×{}, stride 8, 1 plane>'.format(*item.shape)
    height, width = result.image.shape[:2]
    assert repr(result.rendering) == f'<Rendering {width}×{height} of 2 panels>'
    for each in (result, result.maps, result.predictions, item.geometry, result.rendering):
        assert '\n' not in repr(each)


def test_detections_are_counted_by_class():
    found = Detections(np.zeros((3, 4), np.float32), np.ones(3, np.float32), np.array([1, 0, 1]), ('cat', 'dog'))
    assert repr(found) == '<Detections: 3 detections: 2 dog, 1 cat>'
    assert repr(Detections()) == '<Detections: 0 detections>'
    assert repr(Rendering(np.zeros((2, 3, 3), np.uint8), ())) == '<Rendering 3×2 of 0 panels>'


def test_records_are_one_line():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    with ActivationRecorder(net, [net[0], '1']) as recorder:
        net(torch.zeros(1, 1, 4, 5))
    assert repr(recorder.records[0]) == '<Record of 0, call 0: tensor of (1, 2, 4, 5)>'
    assert '\n' not in repr(recorder.targets)
