"""How images are handed over, and what is read of the answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import GeometryError, OptionError
from featmap.models.preprocessing.answers import read_answer
from featmap.models.preprocessing.callers import Caller

IMAGE = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
PLANES = torch.from_numpy(IMAGE).permute(2, 0, 1) / 255


def of_pil(image):
    return torch.from_numpy(np.array(image.convert('RGB'))).permute(2, 0, 1) / 255


def of_array(image):
    return image.transpose(2, 0, 1).astype(np.float32) / 255


def of_either_but_annotated(image: np.ndarray):
    assert isinstance(image, np.ndarray)
    image[0] = image[0]  # may be written into
    return torch.from_numpy(image).permute(2, 0, 1) / 255


def of_tensor(image: torch.Tensor):
    return image.float().div(255)


@pytest.mark.parametrize('function', [of_pil, of_array, of_either_but_annotated, of_tensor])
def test_each_form_is_found(function):
    caller = Caller(function)
    for _ in range(2):
        tensor, extras = caller(IMAGE)
        assert torch.equal(tensor, PLANES)
        assert extras == {}
    assert caller.name == function.__name__


def test_an_annotation_spares_the_trying():
    tried = []

    def run(image: np.ndarray):
        tried.append(type(image))
        return torch.zeros(3, 4, 4)

    Caller(run)(IMAGE)
    assert tried == [np.ndarray]


class Processor:
    model_input_names = ('pixel_values',)

    def preprocess(self):
        raise AssertionError('not called')

    def __call__(self, images, return_tensors):
        assert isinstance(images, Image.Image)
        assert return_tensors == 'pt'
        return {'pixel_values': of_pil(images)[None]}


class Whole:
    """A processor of texts and images, which holds one of images."""

    image_processor = Processor()

    def __call__(self, text):
        raise AssertionError('not called')


@pytest.mark.parametrize('function', [Processor(), Whole()])
def test_processors_are_asked_for_tensors(function):
    caller = Caller(function)
    assert caller.name == 'Processor'
    assert torch.equal(caller(IMAGE)[0], PLANES)


def test_what_is_no_function_is_refused():
    with pytest.raises(OptionError, match='SimpleNamespace was given as the preprocessing: expected a function'):
        Caller(SimpleNamespace())


@pytest.mark.parametrize(
    'answer',
    [
        PLANES,
        PLANES[None],
        PLANES.double().numpy(),
        IMAGE / 255,
        [PLANES],
        {'pixel_values': PLANES[None]},
        {'image': PLANES, 'name': 'x'},
        PLANES.clone().requires_grad_(),
    ],
)
def test_answers_are_read(answer):
    tensor, extras = read_answer(answer)
    assert torch.allclose(tensor, PLANES)
    assert tensor.dtype == torch.float32
    assert not tensor.requires_grad
    assert extras == {}


def test_one_plane_is_one_channel():
    assert read_answer(PLANES[0])[0].shape == (1, 6, 9)


def test_channels_come_first_where_both_could_be_meant():
    assert read_answer(torch.rand(3, 7, 4))[0].shape == (3, 7, 4)
    assert read_answer(torch.rand(7, 5, 4))[0].shape == (4, 7, 5)


@pytest.mark.parametrize(
    ('answer', 'message'),
    [
        (None, 'got None: expected one float tensor'),
        (
            Image.fromarray(IMAGE),
            r'got PIL Image: expected one float tensor of \(C, h, w\); end it with ToTensor',
        ),
        (np.array(['a']), 'got an array of <U1'),
        (torch.from_numpy(IMAGE), r'got uint8 values, and whether .* \.float\(\) / 255'),
        (torch.rand(2, 3, 4, 4), 'got 2 images of one'),
        ((PLANES, PLANES, PLANES), 'got 3 results, such as crops'),
        (torch.rand(5), r'got a tensor of \(5,\)'),
        (torch.rand(3, 0, 4), r'got a tensor of \(3, 0, 4\)'),
        ({'pixel_values': torch.rand(1, 1, 3, 4, 4)}, r'such as patches, tiles or a video: expected \(1, C, h, w\)'),
        (
            {'left': PLANES, 'right': PLANES},
            r"got entries \['left', 'right'\]: expected the input as pixel_values",
        ),
    ],
)
def test_what_is_no_input_is_refused(answer, message):
    with pytest.raises(GeometryError, match=message):
        read_answer(answer)
