"""The network input as a picture, and maps over it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from featmap.errors import GeometryError, OptionError
from featmap.geometry import ImageGeometry
from featmap.inferencer import FeatMapInferencer
from featmap.models.input_picture import InputPictures
from featmap.models.network import Network
from featmap.models.openmmlab.detector import Detector
from featmap.models.outputs import OutputReader
from featmap.models.preprocessing import Declared, Preprocessing, ReadyInput
from featmap.sources import read_image
from featmap.wording import command_line
from tests.conftest import CHECKPOINT, CONFIG, IMAGE
from tests.preprocessing_helpers import by_own_statistics, normalize, to_tensor

PICTURE = np.random.default_rng(2).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def network(function: Any) -> Network:
    made = function if isinstance(function, Preprocessing) else Preprocessing(function)
    return Network(nn.Conv2d(3, 2, 3), made, OutputReader(()), device=torch.device('cpu'))


def seen(function: Any, image: np.ndarray = PICTURE) -> tuple[np.ndarray, bool]:
    model = network(function)
    found = InputPictures(model).of(image, model.prepare([image], over_input=True))
    assert found.image.dtype == np.uint8
    return found.image, found.exact


@pytest.mark.parametrize(
    'last',
    [
        lambda tensor: tensor,
        normalize,
        lambda tensor: tensor.flip(0) * 255 - torch.tensor([103.0, 116.0, 123.0])[:, None, None],
        lambda tensor: -2 * tensor + 1,
    ],
)
def test_normalisation_and_bgr_are_undone(last):
    image, exact = seen(lambda image: last(to_tensor(image)))
    assert exact
    np.testing.assert_allclose(image.astype(int), PICTURE, atol=1)


def test_what_is_turned_is_shown_turned():
    def run(image: Image.Image) -> torch.Tensor:
        return normalize(to_tensor(image.rotate(20)).flip(0))

    image, exact = seen(run)
    assert exact
    np.testing.assert_allclose(image.astype(int), np.asarray(Image.fromarray(PICTURE).rotate(20)), atol=1)


def test_pads_have_their_own_level():
    image, exact = seen(Declared(80))
    assert exact
    assert (image[:13] == 114).all()
    assert (image[-13:] == 114).all()
    # Filled up after normalising, so by the mean.
    image, exact = seen(Declared(48, 'shorter'))
    assert image.shape == (64, 96, 3)
    np.testing.assert_allclose(image[60, 90], np.array([0.485, 0.456, 0.406]) * 255, atol=1)


@pytest.mark.parametrize('channels', [1, 4])
def test_grey_and_more_channels_are_shown_in_grey(channels):
    image, exact = seen(lambda image: to_tensor(image).mean(dim=0, keepdim=True).repeat(channels, 1, 1))
    assert exact
    np.testing.assert_allclose(image.astype(int), PICTURE.mean(axis=2, keepdims=True).repeat(3, axis=2), atol=1)


@pytest.mark.parametrize(
    'function',
    [
        lambda image: by_own_statistics(to_tensor(image)),
        lambda image: by_own_statistics(torch.nn.functional.pad(to_tensor(image), (0, 0, 8, 8), value=0.45)),
        ReadyInput(to_tensor(PICTURE) * 3 - 1),
    ],
    ids=['by its own statistics', 'padded before that', 'ready'],
)
def test_unknown_levels_are_stretched(function):
    image, exact = seen(function)
    assert not exact
    content = image[-48:-8] if len(image) > 40 else image
    low, high = PICTURE.min(), PICTURE.max()
    expected = (PICTURE.astype(float) - low) / (high - low) * 255
    np.testing.assert_allclose(content.astype(int), expected, atol=1)


def test_levels_are_measured_once():
    calls = []

    def run(image: Image.Image) -> torch.Tensor:
        calls.append(image.size)
        return to_tensor(image)

    model = network(run)
    pictures = InputPictures(model)
    for _ in range(2):
        pictures.of(PICTURE, model.prepare([PICTURE], over_input=True))
    assert len(calls) == 3 + 2


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.AvgPool2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stem(x).mean(dim=(2, 3))


def turned(image: Image.Image) -> torch.Tensor:
    return normalize(to_tensor(image.rotate(10).resize((64, 48))))


class TestOverlay:
    def test_what_is_refused_is_drawn_over_the_input(self):
        vis = FeatMapInferencer(model=Net(), preprocess=turned, target_layers='stem', channel_reduction='squeeze_mean')
        with pytest.raises(GeometryError, match='turned or sheared'):
            vis(PICTURE)
        result = vis(PICTURE, overlay='input')
        assert result.maps[0].geometry == ImageGeometry.whole((48, 64))
        expected = np.asarray(Image.fromarray(PICTURE).rotate(10).resize((64, 48)))
        np.testing.assert_allclose(result.original.astype(int), expected, atol=1)
        assert result.rendering.panels[0].label.startswith('image, network input · 64×48')
        assert result.rendering.panels[0].width == result.rendering.panels[1].width
        with pytest.raises(GeometryError, match='turned or sheared'):
            vis(PICTURE)  # each call asks for its own

    def test_the_label_says_what_is_stretched(self):
        def run(image: Image.Image) -> torch.Tensor:
            return by_own_statistics(to_tensor(image))

        result = FeatMapInferencer(model=Net(), preprocess=run, target_layers='stem', overlay='input')(PICTURE)
        assert result.rendering.panels[0].label.startswith('image, network input (stretched) · 60×40')

    def test_nothing_is_measured(self):
        calls = []

        def run(image: Image.Image) -> torch.Tensor:
            calls.append(image.size)
            return to_tensor(image)

        FeatMapInferencer(model=Net(), preprocess=run, target_layers='stem', overlay='input')(PICTURE)
        assert len(calls) == 1 + 3

    def test_saved_maps_belong_to_the_input(self):
        vis = FeatMapInferencer(model=Net(), preprocess=turned, target_layers='stem', overlay='input')
        result = vis(PICTURE)
        saved = vis.record(result)
        assert saved.provenance['settings']['overlay'] == 'input'
        assert saved.draw(result.original).image.shape == result.image.shape
        with pytest.raises(Exception, match='the network input, which the result has as its original'):
            saved.draw(PICTURE)

    def test_not_with_ground_truth(self):
        with command_line(), pytest.raises(OptionError, match='--overlay input does not go with --gt'):
            FeatMapInferencer(model=Net(), preprocess=turned, overlay='input', gt='labels')


def test_a_detector_answers_in_pixels_of_its_input():
    detector = Detector(CONFIG, CHECKPOINT, device='cpu')
    image = read_image(IMAGE)
    plain, over = (detector.prepare([image], over_input=over) for over in (False, True))
    assert over.geometries == (ImageGeometry.whole((640, 640)),)
    expected, found = detector.predict(plain)[0], detector.predict(over)[0]
    x, y = plain.geometries[0].to_input(expected.boxes[:, 0::2], expected.boxes[:, 1::2])
    assert len(found) == len(expected) > 10
    np.testing.assert_allclose(found.boxes[:, 0::2], x, atol=0.01)
    np.testing.assert_allclose(found.boxes[:, 1::2], y, atol=0.01)
    picture = InputPictures(detector).of(image, over)
    assert picture.exact
    assert (picture.image[:100] == 114).all()
    small = np.asarray(Image.fromarray(image).resize((640, 400), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(picture.image[120:520].astype(int) - small).mean() < 4
