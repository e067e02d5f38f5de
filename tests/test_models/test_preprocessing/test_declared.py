"""A declared preprocessing: what it makes of an image, and where it says that the image lies."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import OptionError, SourceError
from featmap.geometry import ImageGeometry, measure
from featmap.models.preprocessing import RESIZES, Declared, Preprocessing
from featmap.wording import command_line
from tests.preprocessing_helpers import SHAPES, CenterCrop, Compose, Resize, far, normalize, to_tensor


def noise(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_grey_levels():
    image = np.zeros((10, 20, 3), np.uint8)
    image[:] = 100, 50, 200
    grey = round(0.299 * 100 + 0.587 * 50 + 0.114 * 200)
    found = Declared((10, 20), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), channels=1)(image)
    assert found.shape == (1, 10, 20)
    assert found == pytest.approx(np.full((1, 10, 20), (grey / 255 - 0.2) / 0.5), abs=1e-5)
    assert Declared(40, 'shorter', channels=1)(image).shape == (1, 64, 96)


@pytest.mark.parametrize(('resize', 'kind'), product(RESIZES, SHAPES))
def test_what_it_says_is_what_is_measured(resize, kind):
    declared = Declared(160, resize) if resize == 'shorter' else Declared((160, 224), resize)
    told = declared.geometry(SHAPES[kind])
    measured = measure(lambda image: declared(image).numpy(), SHAPES[kind]).geometry
    assert far(told, measured) < 0.25
    assert told.is_cropped == measured.is_cropped
    assert Preprocessing(declared)(noise(SHAPES[kind])).geometry == told


@pytest.mark.parametrize(
    ('declared', 'expected'),
    [
        (Declared(640), ImageGeometry((375, 500), (640, 640), (1.28, 1.28), (0, 80))),
        (Declared((320, 640)), ImageGeometry((375, 500), (320, 640), (427 / 500, 320 / 375), (106, 0))),
        (Declared((300, 400), 'stretch'), ImageGeometry((375, 500), (300, 400), (0.8, 0.8))),
        (Declared(256, 'shorter'), ImageGeometry((375, 500), (256, 352), (341 / 500, 256 / 375))),
        (Declared(224, 'center-crop'), ImageGeometry((375, 500), (224, 224), (341 / 500, 256 / 375), (-58, -16))),
        (Declared(384, 'center-crop'), ImageGeometry((375, 500), (384, 384), (584 / 500, 438 / 375), (-100, -27))),
    ],
)
def test_places_by_hand(declared, expected):
    assert declared.geometry((375, 500)) == expected


@pytest.mark.parametrize('shape', SHAPES.values())
def test_a_centre_crop_is_that_of_torchvision(shape):
    run = Compose(Resize(256), CenterCrop(224, 224), to_tensor, normalize)
    expected = run(Image.fromarray(noise(shape)))
    assert torch.allclose(Declared(224, 'center-crop')(noise(shape)), expected, atol=1e-5)


def test_a_letterbox_is_padded_in_grey():
    image = np.full((10, 20, 3), 255, np.uint8)
    found = Declared(40, mean=0, std=1)(image)
    assert found.shape == (3, 40, 40)
    assert torch.allclose(found[:, 10:30], torch.ones(1))
    assert torch.allclose(found[:, :10], torch.tensor(114 / 255))
    assert torch.allclose(found[:, 30:], torch.tensor(114 / 255))


def test_a_shorter_side_is_filled_up_with_the_mean():
    found = Declared(40, 'shorter')(np.full((10, 20, 3), 255, np.uint8))
    assert found.shape == (3, 64, 96)
    assert (found[:, :40, :80] > 2).all()
    assert (found[:, 40:] == 0).all()
    assert (found[:, :, 80:] == 0).all()


@pytest.mark.parametrize(
    ('mean', 'std', 'expected'),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (0.5 - 0.485) / 0.229),
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (127.5 - 123.675) / 58.395),
        (0, 1, 0.5),
        (0, 255, 0.5),
        (0.5, 0.5, 0),
        ([103.53, 116.28, 123.675], 1, 127.5 - 103.53),
        (np.array([0.5, 0.4, 0.3]), np.array([0.25, 0.2, 0.1]), 0),
    ],
)
def test_means_of_either_range(mean, std, expected):
    grey = np.full((8, 8, 3), 127, np.uint8)
    grey[::2] = 128  # 127.5 on average
    found = Declared(8, mean=mean, std=std)(grey)
    assert found[0].mean() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'input_size': 0}, 'input_size=0: expected height and width in pixels'),
        ({'input_size': (1, 2, 3)}, 'expected height and width'),
        ({'input_size': 22.4}, 'expected height and width'),
        ({'input_size': 224, 'resize': 'crop'}, 'expected one of letterbox, stretch, shorter, center-crop'),
        ({'input_size': (224, 320), 'resize': 'shorter'}, 'takes one number, the shorter side'),
        ({'input_size': 224, 'mean': (1, 2)}, r'mean=\(1, 2\): expected three numbers'),
        ({'input_size': 224, 'std': 'x'}, "std='x': expected three numbers"),
        ({'input_size': 224, 'std': (1, 0, 1)}, 'expected numbers above 0'),
        ({'input_size': 224, 'mean': 0.485, 'std': 58.4}, 'expected both of values from 0 to 1, or both of 0 to 255'),
        ({'input_size': 224, 'mean': 123.7, 'std': 0.229}, 'expected both of values'),
    ],
)
def test_nonsense_is_refused(values, message):
    with pytest.raises(OptionError, match=message):
        Declared(**values)


def test_options():
    assert Declared.parse(224) == Declared(224)
    assert Declared.parse([224, 320], 'stretch', [0.5], [0.5]) == Declared((224, 320), 'stretch', 0.5, 0.5)
    assert Declared.parse(224, mean=0, std=1).mean == (0, 0, 0)
    with command_line(), pytest.raises(OptionError, match='expected the size of the network input: --input-size 224'):
        Declared.parse(None, 'stretch')


def test_a_line_is_not_blown_up():
    with pytest.raises(SourceError, match=r"resize='shorter' would make 13440000x224 of an image of 60000x1"):
        Declared(224, 'shorter')(np.zeros((1, 60000, 3), np.uint8))
