"""Geometry of what normalises each image by itself, by two bowls and a plane."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry, measure
from featmap.geometry.measured import difference
from featmap.geometry.probes import BOWL, bowl_images


def standardized(image: np.ndarray, per_channel: bool = False) -> np.ndarray:
    """(H, W, 3) to (3, H, W) of mean 0 and deviation 1; 0 / 0 where all are alike."""
    planes = image.transpose(2, 0, 1).astype(np.float64)
    axes = (1, 2) if per_channel else None
    with np.errstate(all='ignore'):
        return (planes - planes.mean(axes, keepdims=True)) / planes.std(axes, keepdims=True)


def stretched(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) to (3, H, W) from 0 to 1, each image to its own darkest and brightest; negative."""
    planes = image.transpose(2, 0, 1).astype(np.float64)
    with np.errstate(all='ignore'):
        return 1 - (planes - planes.min()) / np.ptp(planes)


@pytest.mark.parametrize('last', [standardized, lambda image: standardized(image, True), stretched])
@pytest.mark.parametrize('shape', [(375, 500), (1080, 1920), (37, 23), (300, 1200)])
def test_a_part_of_the_image_mirrored_between_pads(last: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int]):
    height, width = shape
    resized = 96, 160

    def run(image: np.ndarray) -> np.ndarray:
        content = cv2.resize(image, resized[::-1], interpolation=cv2.INTER_AREA)[10:, ::-1]
        return last(np.pad(content, ((0, 0), (7, 21), (0, 0)), constant_values=114))

    found = measure(run, shape, any_contrast=True)
    expected = ImageGeometry(shape, (86, 188), (160 / width, 96 / height), (7, -10), (True, False))
    assert found.own_contrast
    assert max(difference(expected, found.geometry)) < 0.4  # pixels of the input
    assert found.geometry.flip == (True, False)


def test_a_narrow_part_is_looked_at_more_closely():
    calls = []

    def run(image: np.ndarray) -> np.ndarray:
        calls.append(image)
        return standardized(image[100:180, 1000:1080])

    found = measure(run, (300, 2000), any_contrast=True)
    assert found.geometry.visible == pytest.approx((1000, 100, 1080, 180), abs=0.25)
    assert len(calls) == 2 + 3 + 4


def test_what_keeps_its_contrast_is_told_by_one_more_call():
    calls = []

    def run(image: np.ndarray) -> np.ndarray:
        calls.append(image)
        return image.transpose(2, 0, 1) / 255

    assert not measure(run, (60, 80), any_contrast=True).own_contrast
    assert len(calls) == 4


@pytest.mark.parametrize('degrees', [-90, -10, -3, 3, 45, 90])
@pytest.mark.parametrize('shape', [(375, 500), (300, 300), (300, 368)])
def test_rotations_are_refused(degrees, shape):
    def run(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
        return standardized(cv2.warpAffine(image, matrix, (width, height)))

    with pytest.raises(GeometryError):
        measure(run, shape, any_contrast=True)


@pytest.mark.parametrize(
    'run',
    [
        lambda image: np.roll(image, 40, axis=1),
        lambda image: np.concatenate([image, image[:, ::-1]], axis=1),
        lambda image: image[(np.linspace(0, 1, 100) ** 1.2 * 99).astype(int)],
        lambda image: np.zeros_like(image),
        lambda image: image[:2],
        lambda image: np.sign(image - image.mean()),
    ],
)
def test_what_cannot_be_measured_is_refused(run):
    with pytest.raises(GeometryError):
        measure(lambda image: standardized(run(image)), (100, 150), any_contrast=True)


def test_an_image_of_three_pixels_is_refused():
    with pytest.raises(GeometryError, match='150x3 is too small'):
        measure(standardized, (3, 150), any_contrast=True)


def test_bowls_are_exact_on_average():
    near, far = bowl_images((200, 400), (0, 0, 400, 200))
    x, y = (np.arange(400) + 0.5) / 400, (np.arange(200)[:, None] + 0.5) / 200
    expected = (BOWL[1] * x**2 + BOWL[0] * y**2) * 255
    blocks = (near[..., 0] - expected).reshape(10, 20, 20, 20).mean(axis=(1, 3))
    assert np.sqrt((blocks**2).mean()) < 0.03
    np.testing.assert_allclose(far.astype(int), near[::-1, ::-1], atol=1)
