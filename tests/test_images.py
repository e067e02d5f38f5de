"""What a user holds for an image, as (H, W, 3) RGB uint8."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import OptionError
from featmap.images import as_rgb, each_image, is_one
from featmap.sources import Source

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
GREY = RGB[..., 0].copy()


@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        (RGB, RGB),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(np.dstack([RGB, RGB[..., :1]]), 'RGBA'), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (GREY, np.dstack([GREY] * 3)),
        (GREY[..., None], np.dstack([GREY] * 3)),
        (torch.from_numpy(GREY), np.dstack([GREY] * 3)),
        (torch.from_numpy(GREY)[None], np.dstack([GREY] * 3)),
        (Image.fromarray(GREY), np.dstack([GREY] * 3)),
        (RGB[:, ::-1], RGB[:, ::-1]),
    ],
)
def test_becomes_rgb(image, expected):
    got = as_rgb(image)
    np.testing.assert_array_equal(got, expected)
    assert got.flags.c_contiguous
    assert got.dtype == np.uint8
    assert is_one(image)


def test_bgr_is_turned_round_where_there_are_three_channels():
    np.testing.assert_array_equal(as_rgb(RGB[..., ::-1], bgr=True), RGB)
    np.testing.assert_array_equal(as_rgb(torch.from_numpy(RGB).permute(2, 0, 1).flip(0), bgr=True), RGB)
    np.testing.assert_array_equal(as_rgb(GREY, bgr=True), np.dstack([GREY] * 3))
    np.testing.assert_array_equal(as_rgb(Image.fromarray(RGB), bgr=True), RGB)  # a PIL image says what it is


def test_pil_images_of_other_modes():
    levels = np.array([[0, 128, 257 * 100, 65535]], np.uint16)
    np.testing.assert_array_equal(as_rgb(Image.fromarray(levels))[0, :, 0], [0, 0, 100, 255])
    see_through = Image.fromarray(RGB)
    see_through.info['transparency'] = (0, 0, 0)
    np.testing.assert_array_equal(as_rgb(see_through), RGB)
    assert see_through.info == {'transparency': (0, 0, 0)}
    for image in (Image.new('F', (2, 2)), Image.new('I', (2, 2)), Image.new('RGB', (0, 2))):
        with pytest.raises(OptionError, match=r'a PIL image of mode .* expected one with pixels, whose white is known'):
            as_rgb(image)


@pytest.mark.parametrize(
    ('image', 'said'),
    [
        (
            RGB.astype(np.float32),
            r'ndarray of shape \(2, 3, 3\) and float32 .*: scale it to 0…255 and make it uint8',
        ),
        (RGB[None], r'ndarray of shape \(1, 2, 3, 3\) .*: of a batch, give a list of its images'),
        (torch.zeros(3, 4, 5), r'Tensor of shape \(3, 4, 5\) and float32.*: scale it to 0…255 and make it uint8 first'),
        (torch.zeros(4, 5, 3, dtype=torch.uint8), r'Tensor of shape \(4, 5, 3\) and uint8.*: permute\(2, 0, 1\) puts'),
        (torch.zeros(2, 3, 4, 5, dtype=torch.uint8), r'Tensor of shape \(2, 3, 4, 5\).*: of a batch, give a list'),
        (np.zeros((4, 5, 4), np.uint8), r'ndarray of shape \(4, 5, 4\).*: drop the fourth channel first'),
        (np.zeros((0, 5, 3), np.uint8), r'shape \(0, 5, 3\)'),
    ],
)
def test_anything_else_is_refused_with_what_it_is(image, said):
    with pytest.raises(OptionError, match=said):
        as_rgb(image)


def test_a_list_holds_any_of_them(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    found = list(each_image([tmp_path / 'a.png', RGB, [Image.fromarray(RGB)], Source('x', 'y')]))
    assert [type(item).__name__ for item in found] == ['Source', 'ndarray', 'ndarray', 'Source']
    assert not is_one([RGB])
    assert not is_one(tmp_path)
    with pytest.raises(OptionError, match='int was given as the image: expected a path'):
        list(each_image(3))
    with pytest.raises(OptionError, match=r'NoneType was given as the image \(cv2\.imread gives None'):
        list(each_image(None))


def test_lists_without_end_and_what_holds_no_pixels_are_refused():
    endless: list = []
    endless.append(endless)
    deep: list = [RGB]
    for _ in range(100_000):
        deep = [deep]
    for images in (endless, deep):
        with pytest.raises(OptionError, match='lists within lists without end'):
            list(each_image(images))
    np.testing.assert_array_equal(next(each_image([[[RGB]]])), RGB)
    with pytest.raises(OptionError, match=r'bytes was given as the image \(PIL\.Image\.open'):
        list(each_image(b'pixels'))
    for tensor in (torch.zeros(3, 4, 4, dtype=torch.uint8).to_sparse(), torch.zeros(3, 4, 4, device='meta')):
        with pytest.raises(OptionError, match='without pixels in order'):
            as_rgb(tensor)
    np.testing.assert_array_equal(as_rgb(np.asmatrix(GREY)), np.dstack([GREY] * 3))
