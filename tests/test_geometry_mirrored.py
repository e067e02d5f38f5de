"""Borders filled with the image's own reflection, as by albumentations' ``PadIfNeeded`` and torchvision's ``Pad``."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from featmap.errors import GeometryError
from featmap.geometry import measure
from featmap.geometry.lines import Reach
from featmap.geometry.mirrored import unmirrored

SIDE = 160


def bordered(border: int, pads: tuple[int, int] | None, flipped: bool = False):
    """Letterboxes into a square, or puts a border of so many rows and columns around, which reflects the image."""

    def run(image: np.ndarray) -> np.ndarray:
        factor = SIDE / max(image.shape[:2])
        height, width = round(image.shape[0] * factor), round(image.shape[1] * factor)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        image = image[:, ::-1] if flipped else image
        down, across = pads or ((SIDE - height) // 2, (SIDE - width) // 2)
        ends = (down, across) if pads else (SIDE - height - down, SIDE - width - across)
        return cv2.copyMakeBorder(image, down, ends[0], across, ends[1], border).transpose(2, 0, 1)

    return run


@pytest.mark.parametrize('border', [cv2.BORDER_REFLECT_101, cv2.BORDER_REFLECT, cv2.BORDER_REPLICATE])
@pytest.mark.parametrize(('shape', 'pads', 'offset'), [
    ((480, 640), None, (0, 20)),
    ((640, 480), None, (20, 0)),
    ((90, 120), (9, 14), (14, 9)),
    ((30, 40), (9, 14), (14, 9)),
])  # fmt: skip
def test_the_image_is_found_within_its_reflections(border, shape, pads, offset):
    found = measure(bordered(border, pads), shape).geometry
    scale = SIDE / max(shape)
    assert found.offset == pytest.approx(offset, abs=0.3)
    assert found.scale == pytest.approx((scale, scale), rel=4e-3)
    assert found.visible == (0, 0, shape[1], shape[0])
    assert found.flip == (False, False)


def test_a_flipped_image_is_found_as_one():
    found = measure(bordered(cv2.BORDER_REFLECT_101, None, flipped=True), (480, 640)).geometry
    assert found.flip == (True, False)
    assert found.offset == pytest.approx((0, 20), abs=0.3)


def test_two_whole_copies_are_refused():
    with pytest.raises(GeometryError, match='put together or bent'):
        measure(bordered(cv2.BORDER_REFLECT, None), (120, 480))


@pytest.mark.parametrize('position', [
    np.linspace(0, 100, 100),  # no border
    np.r_[np.linspace(0, 100, 60), np.linspace(0, 100, 40)],  # put together of two
    np.r_[np.linspace(40, 100, 60), np.linspace(100, 60, 40)],  # a cut image
    np.r_[np.linspace(0, 100, 60), np.linspace(100, 0, 40)],  # a reflection of another scale
    np.arange(5.0),
])  # fmt: skip
def test_what_is_no_reflection(position):
    along = np.arange(len(position)) + 0.5
    assert unmirrored(position, along, Reach(0, len(position), 100)) is None
