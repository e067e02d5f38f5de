"""Geometry by probe images, against what was really done to them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import cv2
import numpy as np
import pytest
import torch

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry, measure
from featmap.geometry.measured import agree, difference, fit
from featmap.geometry.probes import asymmetric_probe, probe_images
from tests.geometry_helpers import SCHEMES, flips_of, geometry_of, names

MEAN, STD = np.array([123.675, 116.28, 103.53], np.float32), np.array([58.395, 57.12, 57.375], np.float32)


def scheme(name: str, how: int = cv2.INTER_LINEAR) -> Callable[[np.ndarray], np.ndarray]:
    """The preprocessing of a scheme: resize, flip, pad in grey, normalise, channels first."""
    _, batched, _, _, (left, top), (height, width) = SCHEMES[name]
    mirrored, upside_down = flips_of(name)

    def run(image: np.ndarray) -> np.ndarray:
        content = cv2.resize(image, (width, height), interpolation=how)
        content = content[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
        padded = np.full((*batched, 3), 114, np.float32)
        padded[top : top + height, left : left + width] = content[: batched[0] - top, : batched[1] - left]
        return ((padded - MEAN) / STD).transpose(2, 0, 1)

    return run


@names
def test_what_metainfo_says_is_what_is_measured(name):
    found = measure(scheme(name), SCHEMES[name][0])
    assert max(difference(geometry_of(name), found.geometry)) < 0.16  # pixels of the input
    assert found.residual < 0.25
    assert found.geometry.flip == flips_of(name)
    assert found.geometry.visible == geometry_of(name).visible
    assert agree(geometry_of(name), found.geometry, 0.25)


@pytest.mark.parametrize('how', [cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4])
@pytest.mark.parametrize('name', ['letterbox', 'letterbox of a wide image', 'turned by half, right and bottom pad'])
def test_any_interpolation(name, how):
    assert max(difference(geometry_of(name), measure(scheme(name, how), SCHEMES[name][0]).geometry)) < 0.16


def test_the_nearest_pixel_is_taken_for_what_it_is():
    # Which shifts by up to half a pixel of the original, and that is no error of measurement.
    found = measure(scheme('letterbox', cv2.INTER_NEAREST), (375, 500)).geometry
    assert max(difference(geometry_of('letterbox'), found)) < 0.75


@pytest.mark.parametrize(
    ('shape', 'factor'),
    [
        *product([(1080, 1920), (3000, 400), (17, 23), (5, 5)], [0.2, 1.0]),
        ((480, 640), 3.3),
        ((17, 23), 3.3),
        ((5, 5), 3.3),
    ],
)
def test_any_size(shape, factor):
    height, width = (max(round(side * factor), 1) for side in shape)

    def run(image: np.ndarray) -> np.ndarray:
        return np.pad(cv2.resize(image, (width, height)), ((3, 40), (7, 8), (0, 0))).transpose(2, 0, 1)

    expected = ImageGeometry(shape, (height + 43, width + 15), (width / shape[1], height / shape[0]), (7, 3))
    assert agree(expected, measure(run, shape).geometry, 0.25)


@pytest.mark.parametrize(
    ('image', 'box', 'flip'),
    [
        ((200, 300), (50, 20, 250, 120), (False, False)),
        ((200, 300), (0, 20, 250, 200), (True, False)),
        ((200, 300), (101, 0, 300, 33), (True, True)),
        ((500, 300), (17, 30, 60, 480), (False, True)),
    ],
)
@pytest.mark.parametrize('pads', [(0, 0), (31, 17)])
def test_crops(image, box, flip, pads):
    x1, y1, x2, y2 = box

    def run(picture: np.ndarray) -> np.ndarray:
        part = picture[y1:y2, x1:x2]
        part = part[:: -1 if flip[1] else 1, :: -1 if flip[0] else 1]
        return np.pad(part, ((pads[1], 5), (pads[0], 9), (0, 0))).transpose(2, 0, 1)

    found = measure(run, image).geometry
    assert found.visible == pytest.approx(box, abs=0.1)
    assert found.flip == flip
    assert found.is_cropped
    # The corner that comes first in the input.
    corner = (x2 if flip[0] else x1), (y2 if flip[1] else y1)
    assert found.to_input(*corner) == pytest.approx(pads, abs=0.1)
    assert found.to_image(*pads) == pytest.approx(corner, abs=0.1)


def test_one_pixel_less_is_no_crop():
    found = measure(lambda image: image[1:, :-1].transpose(2, 0, 1), (100, 150)).geometry
    assert found.crop is None
    assert found.offset == pytest.approx((0, -1), abs=0.01)


@pytest.mark.parametrize(
    'last',
    [
        lambda image: image[..., ::-1].transpose(2, 0, 1),
        lambda image: image[..., [1, 2, 0]].transpose(2, 0, 1),
        lambda image: image.mean(axis=2),
        lambda image: image[..., :1].transpose(2, 0, 1) * -3.0 + 7,
        lambda image: (image @ np.array([[0.3] * 3, [0.6] * 3, [0.1] * 3])).transpose(2, 0, 1),
        lambda image: (image @ np.full((3, 4), 0.25)).transpose(2, 0, 1),
        lambda image: image.transpose(2, 0, 1).astype(np.float16) / 255,
    ],
    ids=['swapped', 'shuffled', 'grey', 'negative', 'three alike', 'four', 'half'],
)
def test_whatever_becomes_of_colours(last):
    found = measure(lambda image: last(image[5:, ::-1]), (90, 120)).geometry
    assert found.scale == pytest.approx((1, 1), abs=2e-3)
    assert found.flip == (True, False)
    assert found.offset == pytest.approx((0, -5), abs=0.1)


def rotate(degrees: float) -> Callable[[np.ndarray], np.ndarray]:
    def run(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
        return cv2.warpAffine(image, matrix, (width, height)).transpose(2, 0, 1)

    return run


@pytest.mark.parametrize('degrees', [-90, -10, -0.5, 0.5, 3, 45, 90])
def test_rotations_are_refused(degrees):
    with pytest.raises(GeometryError, match='turned or sheared'):
        measure(rotate(degrees), (375, 500))


def test_a_turn_by_half_is_two_flips():
    assert measure(rotate(180), (375, 500)).geometry.flip == (True, True)


def test_a_transposed_square_is_refused():
    with pytest.raises(GeometryError, match='turned or sheared'):
        measure(lambda image: image.transpose(2, 1, 0), (200, 200))


@pytest.mark.parametrize(
    ('run', 'message'),
    [
        (lambda image: np.roll(image, 40, axis=1), 'put together or bent'),
        (lambda image: np.concatenate([image, image[:, ::-1]], axis=1), 'put together or bent'),
        (lambda image: image[(np.linspace(0, 1, 100) ** 1.2 * 99).astype(int)], 'put together or bent'),
        (lambda image: np.zeros_like(image), 'come out alike'),
        (lambda image: image - image.mean(), 'come out alike'),
        (lambda image: np.full(image.shape, np.nan), 'come out alike'),
        (lambda image: image[: 50 + image[0, 0, 0] // 5], 'come out in several'),
        (lambda image: image[:, :0], 'expected a network input of'),
        (lambda image: image[None], 'expected a network input of'),
    ],
)
def test_what_cannot_be_measured_is_refused(run, message):
    with pytest.raises(GeometryError, match=message):
        measure(lambda image: np.moveaxis(run(image), -1, 0), (100, 150))


def test_grey_probes_alone():
    outputs = [scheme('letterbox')(probe) for probe in probe_images((375, 500))]
    assert max(difference(geometry_of('letterbox'), fit(outputs, (375, 500)).geometry)) < 0.16


def test_a_ramp_is_exact_on_average():
    across, down = list(probe_images((300, 1000)))[2:4]
    blocks = across[..., 0].reshape(300, 50, 20).mean(axis=(0, 2))
    np.testing.assert_allclose(blocks, (np.arange(50) * 20 + 10) / 1000 * 255, atol=0.02)
    blocks = down[..., 0].reshape(15, 20, 1000).mean(axis=(1, 2))
    np.testing.assert_allclose(blocks, (np.arange(15) * 20 + 10) / 300 * 255, atol=0.02)


def test_the_probe_that_tells_random_steps_apart():
    probe = asymmetric_probe((60, 60)).astype(int)
    others = [probe[::-1], probe[:, ::-1], probe.transpose(1, 0, 2), np.roll(probe, 1, 0), np.roll(probe, 1, 1)]
    assert all(np.abs(probe - other).max() > 1 for other in others)


class TestDifference:
    ONE = ImageGeometry((100, 200), (128, 256), (1.28, 1.28))

    @pytest.mark.parametrize(
        ('other', 'x', 'y'),
        [
            (ImageGeometry((100, 200), (128, 256), (1.28, 1.28)), 0, 0),
            (ImageGeometry((100, 200), (128, 256), (1.28, 1.27)), 0, 1),
            (ImageGeometry((100, 200), (128, 256), (1.28, 1.28), (0.5, 0)), 0.5, 0),
            (ImageGeometry((100, 200), (128, 256), (1.28, 1.28), flip=(True, False)), 256, 0),
            (ImageGeometry((100, 200), (128, 256), (1.28, 1.28), crop=(50, 0, 200, 100)), 32, 0),
            (ImageGeometry((100, 201), (128, 256), (1.28, 1.28)), np.inf, np.inf),
            (ImageGeometry((100, 200), (128, 288), (1.28, 1.28)), np.inf, np.inf),
        ],
    )
    def test_in_input_pixels(self, other, x, y):
        assert difference(self.ONE, other) == pytest.approx((x, y))
        assert difference(other, self.ONE) == pytest.approx((x, y))

    def test_nothing_in_common(self):
        left, right = (ImageGeometry((9, 200), (9, 200), crop=crop) for crop in ((0, 0, 50, 9), (60, 0, 90, 9)))
        assert difference(left, right) == (np.inf, np.inf)


# Sizes at which the grey levels of the ramps, the pixels that the resize takes and those that are looked at beat.
@pytest.mark.parametrize(
    ('image', 'resized'),
    [((640, 1024), (800, 1280)), ((2156, 1450), (1617, 1088)), ((2097, 1494), (1573, 1120)), ((78, 1589), (52, 1059))],
)
def test_no_pattern_of_pixels_is_taken_for_a_bend(image, resized):
    found = measure(lambda probe: cv2.resize(probe, resized[::-1]).transpose(2, 0, 1), image)
    assert (
        max(difference(ImageGeometry(image, resized, (resized[1] / image[1], resized[0] / image[0])), found.geometry))
        < 0.75
    )
    assert found.residual < 0.75 * (0.5 + image[1] / resized[1] / 2 + max(image) / 1020)


CURVES = {
    'gamma': lambda image: (image / 255) ** 2.2,
    'inverse gamma': lambda image: (image / 255) ** (1 / 2.2) * -3,
    'LAB': lambda image: cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB),
}


@pytest.mark.parametrize('name', CURVES)
@pytest.mark.parametrize('shape', [(375, 500), (1080, 1920), (30, 40)])
def test_a_curve_of_brightness_is_told_by_grey_levels(name, shape):
    def run(image: np.ndarray) -> np.ndarray:
        return CURVES[name](cv2.resize(image, (160, 96), interpolation=cv2.INTER_AREA)[:, 20:]).transpose(2, 0, 1)

    found = measure(run, shape, any_contrast=True).geometry
    expected = ImageGeometry(shape, (96, 140), (160 / shape[1], 96 / shape[0]), (-20, 0))
    assert max(difference(expected, found)) < 0.6  # pixels of the input


@pytest.mark.parametrize(
    'curve',
    [
        lambda image: image.clip(60, 200),
        lambda image: image // 32,
        lambda image: np.abs(image - 128.0),
        lambda image: image * np.linspace(0.2, 1, image.shape[1])[:, None] ** (image / 128),
    ],
    ids=['clipped', 'posterized', 'turned back', 'by place'],
)
def test_curves_that_cannot_be_undone_are_refused(curve):
    with pytest.raises(GeometryError, match='brightness is changed by a curve'):
        measure(lambda image: curve(cv2.resize(image, (160, 96))).transpose(2, 0, 1), (375, 500), any_contrast=True)


def test_what_gives_no_array_is_told():
    with pytest.raises(GeometryError, match=r'expected a network input that is an array of \(C, h, w\), got Tensor'):
        measure(lambda image: torch.from_numpy(image.transpose(2, 0, 1).copy()), (20, 30))
    with pytest.raises(GeometryError, match=r'of \(C, h, w\) or \(h, w\), got \(1, 3, 20, 30\)'):
        measure(lambda image: image.transpose(2, 0, 1)[None], (20, 30))
    with pytest.raises(GeometryError, match=r'such as image\.shape\[:2\]'):
        measure(lambda image: image.transpose(2, 0, 1), (20, 30, 3))


@pytest.mark.parametrize('image_shape', [(640, 1024), (1080, 1920), (427, 640)])
@pytest.mark.parametrize('factor', [2, 4])
def test_averages_that_are_rounded_once_more(image_shape, factor):
    """What is averaged over blocks and rounded again rounded the edges of 1024 pixels off by 1.3 of them."""
    rows, columns = (side // factor for side in image_shape)

    def preprocess(image):
        return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)

    geometry = measure(preprocess, image_shape).geometry
    height, width = image_shape
    for (x, y), (column, row) in (((0, 0), (0, 0)), ((width, height), (columns, rows))):
        found = geometry.to_input(x, y)
        assert found == pytest.approx((column, row), abs=0.5 / factor)
