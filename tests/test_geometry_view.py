"""A view: a window of the original at the size of a panel, for image, boxes and maps alike."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.geometry import ImageGeometry, View
from featmap.geometry import view as view_module

PHOTO = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ('image_shape', 'longest', 'window', 'shape'),
    [
        ((3000, 4000), 1280, None, (960, 1280)),
        ((4000, 3000), 1280, None, (1280, 960)),
        ((480, 640), 1280, None, (480, 640)),
        ((3000, 4000), None, None, (3000, 4000)),
        ((2, 9000), 1280, None, (1, 1280)),
        ((3000, 4000), 1280, (100, 200, 200, 280), (1024, 1280)),
        ((480, 640), 1280, (100, 200, 200, 280), (512, 640)),
        ((48, 64), 1280, (10, 10, 20, 20), (640, 640)),
        ((48, 64), 300, (10, 10, 20, 30), (300, 150)),
        ((3000, 4000), None, (100, 200, 200, 280), (80, 100)),
    ],
)
def test_the_size_of_the_panel(image_shape, longest, window, shape):
    view = View.of(image_shape, longest, window)
    assert view.shape == shape
    assert view.is_whole == (window is None)


@pytest.mark.parametrize(
    ('image_shape', 'longest', 'shape'),
    [
        ((32, 32), 1280, (256, 256)),
        ((28, 20), 1280, (280, 200)),
        ((1, 1), 1280, (256, 256)),
        ((100, 127), 1280, (300, 381)),
        ((100, 128), 1280, (100, 128)),
        ((32, 32), 100, (100, 100)),
        ((32, 32), None, (32, 32)),
    ],
)
def test_a_small_image_is_enlarged(monkeypatch, image_shape, longest, shape):
    monkeypatch.setattr(view_module, 'SMALL', 128)
    view = View.of(image_shape, longest)
    assert view.shape == shape
    assert view.is_whole
    assert view_module.View.of((64, 64), 1280, (0, 0, 8, 8)).shape == (640, 640)


def test_an_image_that_fits_is_itself():
    view = View.of((30, 40), 1280)
    np.testing.assert_array_equal(view.picture(PHOTO), PHOTO)
    np.testing.assert_array_equal(view.columns, np.arange(40) + 0.5)


def test_a_large_image_is_averaged():
    view = View.of((30, 40), 20)
    blocks = PHOTO.reshape(15, 2, 20, 2, 3).mean(axis=(1, 3))
    assert np.abs(view.picture(PHOTO) - blocks).max() <= 0.5
    assert view.step == (2, 2)
    np.testing.assert_array_equal(view.rows, np.arange(15) * 2 + 1.0)


def test_a_window_is_cut_out_and_enlarged():
    view = View.of((30, 40), 640, (8, 4, 18, 12))
    assert view.shape == (512, 640)
    np.testing.assert_array_equal(view.picture(PHOTO, smooth=False), PHOTO[4:12, 8:18].repeat(64, 0).repeat(64, 1))
    middle = view.picture(PHOTO)[32::64, 32::64].astype(int)  # at the pixels' centres
    assert np.abs(middle - PHOTO[4:12, 8:18]).max() <= 3


def test_boxes_go_along():
    view = View.of((30, 40), 20, (8, 4, 18, 12))
    boxes = np.array([[8, 4, 18, 12], [13, 6, 30, 8], [0, 0, 8, 30]], np.float32)
    np.testing.assert_allclose(view.boxes(boxes)[:2], [[0, 0, 20, 16], [10, 4, 44, 8]])
    np.testing.assert_array_equal(view.shows(boxes), [True, True, False])
    assert view.boxes(boxes[:0]).shape == (0, 4)


@pytest.mark.parametrize('flip', [(False, False), (True, True)])
@pytest.mark.parametrize('window', [None, (31, 17, 131, 80)])
@pytest.mark.parametrize('longest', [64, 1280])
def test_a_map_is_warped_at_the_panels_resolution(flip, window, longest):
    # A ramp in the original's x, sampled at the cells' centres, is the same ramp in whatever view.
    geometry = ImageGeometry((108, 192), (64, 96), (0.5, 0.5), (0, 4), flip)
    columns = np.arange(96) + 0.5
    ramp = np.broadcast_to((96 - columns if flip[0] else columns) / 0.5, (64, 96)).astype(np.float32)
    view = View.of((108, 192), longest, window)
    warped = geometry.warper((64, 96), (1.0, 1.0), view)(ramp)
    assert warped.shape == view.shape
    inside = (view.columns > 1) & (view.columns < 191)  # cells end half a cell before the image does
    np.testing.assert_allclose(
        warped[:, inside], np.broadcast_to(view.columns[inside], warped[:, inside].shape), rtol=1e-5
    )


def test_a_whole_view_changes_nothing():
    geometry = ImageGeometry((30, 40), (64, 64), (1.5, 1.5), (2, 9))
    values = np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32)
    plain, seen = geometry.warper((8, 8)), geometry.warper((8, 8), view=View.of((30, 40), 1280))
    np.testing.assert_array_equal(plain(values), seen(values))


def test_nearest_shows_the_cells():
    warp = ImageGeometry.whole((4, 6)).warper((2, 3), (2.0, 2.0)).nearest()
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(warp(values), values.repeat(2, 0).repeat(2, 1))


def test_nearest_has_each_pixel_of_a_flipped_image_in_its_cell():
    geometry = ImageGeometry((4, 6), (4, 8), (1.0, 1.0), (1, 0), (True, False))
    cells = geometry.warper((4, 8), (1.0, 1.0)).nearest()(np.arange(8, dtype=np.float32)[None].repeat(4, 0))
    np.testing.assert_array_equal(cells[0], [6, 5, 4, 3, 2, 1])
