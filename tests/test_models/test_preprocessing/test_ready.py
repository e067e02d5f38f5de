"""How an image lies in a tensor that is ready, found by comparing the two."""

from __future__ import annotations

from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import GeometryError
from featmap.models.preprocessing import Declared, ReadyInput
from featmap.models.preprocessing.callers import Caller
from featmap.models.preprocessing.evidence import find_image
from featmap.sources import read_image
from tests.conftest import IMAGE
from tests.preprocessing_helpers import PREPROCESSINGS, CenterCrop, Compose, Resize, far, normalize, to_tensor
from tools.demo_scenes import draw_scene

WAYS = (
    'torchvision 256 to 224', 'torchvision stretched', 'timm 0.95 of 288, bicubic', 'mirrored', 'upside down, BGR',
    'letterbox by own statistics', 'longest side, filled up', 'square by black, then resized', 'grey, channels last',
    'only cut out, not resized',
)  # fmt: skip


@pytest.fixture(scope='module')
def images() -> dict[str, np.ndarray]:
    demo = read_image(IMAGE)
    return {
        'demo': demo,
        'tall': draw_scene(2, (300, 640))[0],
        'large': draw_scene(3, (960, 540))[0],
        'small': cv2.resize(demo, (150, 100), interpolation=cv2.INTER_AREA),
    }


def made(name: str, image: np.ndarray) -> torch.Tensor:
    return Caller(PREPROCESSINGS[name][0])(image)[0]


@pytest.mark.parametrize(('name', 'kind'), product(WAYS, ('demo', 'tall', 'small')))
def test_the_place_is_the_analytic_one(images, name, kind):
    expected = PREPROCESSINGS[name][1](images[kind].shape[:2])
    found = find_image(made(name, images[kind]).numpy(), images[kind])
    assert found.correlation > 0.95
    assert far(expected, found.geometry) < 0.25  # of half an original pixel, or a tenth of a cell of stride 32
    assert found.geometry.flip == expected.flip


@pytest.mark.parametrize(
    ('name', 'one', 'other'),
    [
        ('torchvision 256 to 224', 'demo', 'tall'),
        ('torchvision stretched', 'tall', 'small'),
        ('longest side, filled up', 'large', 'demo'),
    ],
)
def test_another_image_is_refused(images, name, one, other):
    with pytest.raises(GeometryError, match=r'the best fit correlates by 0\.[3-8]\d, and 0\.9 is asked for'):
        find_image(made(name, images[one]).numpy(), images[other])


@pytest.mark.parametrize('degrees', [1, 10, 90])
def test_what_is_turned_is_refused(images, degrees):
    turned = to_tensor(Image.fromarray(images['demo']).rotate(degrees).resize((224, 224)))
    with pytest.raises(GeometryError, match=r'turned or sheared|does not look as if'):
        find_image(turned.numpy(), images['demo'])


def test_a_way_that_is_not_among_the_usual_ones_is_still_found_near_one(images):
    run = Compose(Resize((251, 263)), CenterCrop(224, 224), to_tensor)
    expected = Declared((224, 224), 'stretch').geometry(images['demo'].shape[:2])
    found = find_image(run(Image.fromarray(images['demo'])).numpy(), images['demo']).geometry
    height, width = images['demo'].shape[:2]
    assert found.scale == pytest.approx((263 / width, 251 / height), rel=2e-3)
    assert far(expected, found) > 1


def test_what_fits_in_two_ways_is_refused():
    half = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    image = cv2.resize(np.concatenate([half, half[:, ::-1]], axis=1), (160, 80), interpolation=cv2.INTER_CUBIC)
    with pytest.raises(GeometryError, match='in several ways, such as mirrored and not'):
        find_image(to_tensor(image).numpy(), image)


@pytest.mark.parametrize(
    ('tensor', 'message'),
    [
        (torch.zeros(3, 64, 64), r'correlates by 0\.00'),
        (torch.full((3, 64, 64), torch.nan), 'values that are not finite'),
        (torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)), 'does not look as if'),
        (torch.rand(3, 4, 4), 'does not look as if'),
    ],
)
def test_what_shows_nothing_is_refused(images, tensor, message):
    with pytest.raises(GeometryError, match=message):
        find_image(tensor.numpy(), images['demo'])


class TestReadyInput:
    def test_it_is_given_as_it_is(self, images):
        image = images['demo']
        given = {'pixel_values': made('torchvision 256 to 224', image)[None], 'pixel_mask': torch.ones(1, 224, 224)}
        ready = ReadyInput(given)
        found = ready(image)
        assert torch.equal(found.tensor, given['pixel_values'][0])
        assert list(found.extras) == ['pixel_mask']
        assert found.geometry == PREPROCESSINGS['torchvision 256 to 224'][1](image.shape[:2])
        assert ready(image).geometry is found.geometry

    def test_of_another_image(self, images):
        ready = ReadyInput(made('torchvision 256 to 224', images['demo']))
        ready(images['demo'])
        with pytest.raises(
            GeometryError, match=r"^the ready input: the tensor does not look .* or preprocess, .*overlay='input'"
        ):
            ready(images['tall'])

    def test_a_declared_place_is_believed(self, images):
        ready = ReadyInput(torch.rand(3, 64, 64), Declared(64, 'stretch'))
        assert ready(images['tall']).geometry == Declared(64, 'stretch').geometry(images['tall'].shape[:2])
        with pytest.raises(GeometryError, match='32x32 was declared'):
            ReadyInput(torch.rand(3, 64, 64), Declared(32))(images['tall'])

    @pytest.mark.parametrize(
        ('given', 'message'),
        [
            (torch.zeros(3, 4, 4, dtype=torch.uint8), '^the ready input: got uint8 values'),
            ('a.pt', '^the ready input: got str: expected one float tensor'),
        ],
    )
    def test_what_is_no_input_is_refused(self, given: Any, message: str):
        with pytest.raises(GeometryError, match=message):
            ReadyInput(given)


def test_normalisation_does_not_matter(images):
    for last in (normalize, lambda tensor: -tensor, lambda tensor: tensor.flip(0) * 255 - 103):
        run = Compose(Resize((96, 128)), to_tensor, last)
        found = find_image(run(Image.fromarray(images['demo'])).numpy(), images['demo'])
        assert found.correlation > 0.99
        assert found.geometry == Declared((96, 128), 'stretch').geometry(images['demo'].shape[:2])
