"""The measured place of an image, against what was really done to it."""

from __future__ import annotations

from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import GeometryError, SourceError
from featmap.geometry import ImageGeometry
from featmap.models.preprocessing import Declared, Preprocessing
from featmap.wording import command_line
from tests.preprocessing_helpers import (
    PREPROCESSINGS,
    SHAPES,
    CenterCrop,
    Compose,
    HorizontalFlip,
    Resize,
    by_own_statistics,
    far,
    normalize,
    to_tensor,
)


def noise(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(('name', 'kind'), product(PREPROCESSINGS, SHAPES))
def test_the_place_is_the_analytic_one(name, kind):
    function, geometry = PREPROCESSINGS[name]
    expected = geometry(SHAPES[kind])
    found = Preprocessing(function)(noise(SHAPES[kind]))
    # Of what is allowed: half an original pixel, or a tenth of a cell of stride 32.
    assert far(expected, found.geometry) < (0.35 if 'own statistics' in name else 0.15)
    assert found.geometry.flip == expected.flip
    assert found.geometry.is_cropped == expected.is_cropped
    assert found.shape == expected.input_shape
    assert found.tensor.dtype == torch.float32
    assert found.tensor.is_contiguous()


def rotated(degrees: float) -> Any:
    return Compose(Resize((224, 224)), lambda image: image.rotate(degrees), to_tensor)


def in_perspective(image: np.ndarray) -> torch.Tensor:
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + np.array([[0.1, 0], [-0.1, 0.05], [0, 0], [0, 0]], np.float32) * (width, height)
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return to_tensor(cv2.warpPerspective(image, matrix, (width, height)))


def five_crops(image: Image.Image) -> tuple[torch.Tensor, ...]:
    tensor = to_tensor(image.convert('RGB').resize((64, 64)))
    return tuple(tensor[:, y : y + 32, x : x + 32] for x, y in ((0, 0), (32, 0), (0, 32), (32, 32), (16, 16)))


class RandomlyLifted:
    """Draws from a generator of its own, which nobody else knows."""

    def __init__(self) -> None:
        self.chance = np.random.default_rng(3)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return to_tensor(image.resize((32, 32))).flip(1 if self.chance.random() < 0.5 else 2)


def equalized(image: np.ndarray) -> torch.Tensor:
    return to_tensor(cv2.cvtColor(cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)), cv2.COLOR_GRAY2RGB)) ** 3


@pytest.mark.parametrize(
    ('function', 'message'),
    [
        (rotated(10), r'^<lambda>: the image is turned or sheared'),
        (rotated(90), r'turned or sheared'),
        (Compose(rotated(3), by_own_statistics), r'^Compose: the image is turned or sheared'),
        (in_perspective, r'^in_perspective: the image is (put together or bent|turned or sheared)'),
        (five_crops, r'five_crops: got 5 results, such as crops: expected one float tensor of \(C, h, w\)'),
        (lambda image: torch.stack(five_crops(image)), r'preprocess: got 5 images of one'),
        (
            Compose(Resize(64), HorizontalFlip(0.5), to_tensor),
            r'^HorizontalFlip gives another result each time, so that a map cannot be laid over the image; ',
        ),
        (lambda image: to_tensor(image) + torch.rand(1), r'^preprocess gives another result each time'),
        (RandomlyLifted(), r'^RandomlyLifted gives another result each time'),
        (lambda image: torch.zeros(3, 32, 32), r'^preprocess: all images come out alike'),
        (lambda image: to_tensor(image.transpose(Image.Transpose.TRANSPOSE)), 'turned or sheared'),
        (lambda image: to_tensor(np.roll(np.array(image), 40, axis=1)), 'put together or bent'),
        (equalized, '^equalized: '),
    ],
)
def test_what_cannot_be_placed_is_refused(function, message):
    with pytest.raises(GeometryError, match=message):
        Preprocessing(function)(noise((120, 160)))


def test_a_refusal_names_the_ways_out():
    preprocessing = Preprocessing(rotated(10))
    for _ in range(2):  # told once, remembered
        with pytest.raises(GeometryError, match=r"input_size=224 and resize='letterbox'.*overlay='input'"):
            preprocessing(noise((50, 60)))
    with (
        command_line(),
        pytest.raises(GeometryError, match=r'--input-size 224 and --resize letterbox .*--overlay input'),
    ):
        Preprocessing(rotated(10))(noise((50, 60)))


def test_a_refusal_names_the_size_of_its_inputs():
    with pytest.raises(GeometryError, match=r'input_size=\(48, 64\) and'):
        Preprocessing(lambda image: to_tensor(np.roll(image.resize((64, 48)), 20, axis=1)))(noise((50, 60)))


def test_it_is_measured_once_for_each_size():
    calls = []

    def run(image: np.ndarray) -> torch.Tensor:
        calls.append(image.shape)
        return to_tensor(cv2.resize(np.asarray(image), (64, 64)))

    preprocessing = Preprocessing(run)
    preprocessing(noise((90, 120)))
    first = len(calls)
    preprocessing(noise((90, 120)))
    assert len(calls) == first + 1
    preprocessing(noise((91, 120)))
    # Black, white and one with a ramp in each colour; nothing that the first size has told already.
    assert len(calls) == first + 1 + 4


def test_random_numbers_are_left_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.raises(GeometryError):
        Preprocessing(Compose(Resize(32), HorizontalFlip(0.5), to_tensor))(noise((40, 50)))
    # The one call on the image itself draws, as it would anywhere.
    assert torch.equal(torch.rand(2), expected[1:])


def test_what_is_random_on_some_sizes_alone_is_refused_there():
    def run(image: Image.Image) -> torch.Tensor:
        image = image if image.width < 100 else HorizontalFlip(0.5)(image)
        return to_tensor(image.resize((32, 32)))

    preprocessing = Preprocessing(run)
    assert preprocessing(noise((40, 50))).geometry.flip == (False, False)
    with pytest.raises(GeometryError, match='another result each time'):
        preprocessing(noise((40, 150)))


def test_a_mask_is_handed_on():
    function, _ = PREPROCESSINGS['shorter side up to the longer, with a mask']
    found = Preprocessing(function)(noise((100, 140)))
    assert found.tensor.shape == (3, 200, 280)
    assert {name: tuple(extra.shape) for name, extra in found.extras.items()} == {'pixel_mask': (1, 200, 280)}


class TestDeclaredPlace:
    def test_of_another_function(self):
        run = Compose(Resize(256), CenterCrop(224, 224), to_tensor, normalize, torch.sigmoid)
        found = Preprocessing(run, declared=Declared(224, 'center-crop'))(noise((300, 400)))
        assert found.geometry == Declared(224, 'center-crop').geometry((300, 400))
        assert torch.equal(found.tensor, run(Image.fromarray(noise((300, 400)))))

    def test_by_a_function(self):
        found = Preprocessing(rotated(10), declared=lambda shape: ImageGeometry(shape, (224, 224)))(noise((300, 400)))
        assert found.geometry == ImageGeometry((300, 400), (224, 224))

    def test_that_is_not_so_is_refused(self):
        run = Compose(Resize((100, 200)), to_tensor)
        with pytest.raises(
            GeometryError, match='Compose made 200x100 of an image of 400x300, and 224x224 was declared'
        ):
            Preprocessing(run, declared=Declared(224))(noise((300, 400)))


def test_what_cannot_take_an_image_says_why_in_each_form():
    def run(image: Any) -> torch.Tensor:
        raise RuntimeError(f'no {type(image).__name__} today')

    with pytest.raises(
        SourceError,
        match=r'^the preprocessing run cannot take an image of 40x30: as a PIL image: RuntimeError: no Image today; '
        'as an RGB array: RuntimeError: no ndarray today; as a tensor: RuntimeError: no Tensor today$',
    ):
        Preprocessing(run)(noise((30, 40)))
