"""Colour maps, and heat blended over an image."""

from __future__ import annotations

import cv2
import matplotlib
import numpy as np
import pytest

from featmap.errors import OptionError
from featmap.rendering.colors import background_for, blend, color_table, colorize, faded, tones


def test_jet_is_red_at_the_top():
    table = color_table('jet')
    assert (table.shape, table.dtype) == ((256, 3), np.uint8)
    assert table[0].tolist() == [0, 0, 128]
    assert table[255].tolist() == [128, 0, 0]
    bgr = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)
    np.testing.assert_array_equal(table[None], cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


@pytest.mark.parametrize(
    ('name', 'lowest', 'highest'),
    [
        ('JET', [0, 0, 128], [128, 0, 0]),
        ('bone', [0, 0, 0], [255, 255, 255]),
        ('coolwarm', [59, 76, 192], [180, 4, 38]),  # matplotlib's
        ('Reds', [255, 245, 240], [103, 0, 13]),
    ],
)
def test_colour_maps_of_opencv_and_matplotlib(name, lowest, highest):
    assert (color_table(name)[0].tolist(), color_table(name)[255].tolist()) == (lowest, highest)


def test_a_colour_map_of_matplotlib_is_rounded_to_bytes():
    expected = matplotlib.colormaps['coolwarm'](np.linspace(0, 1, 256))[:, :3] * 255
    assert np.abs(color_table('coolwarm') - expected).max() <= 0.5


@pytest.mark.parametrize(('name', 'nearest'), [('jett', 'jet'), ('virids', 'viridis'), ('', 'nearest')])
def test_an_unknown_colour_map_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(OptionError, match=f'no colour map is called {name!r}.*{nearest}'):
        color_table(name)


def test_a_table_cannot_be_written_to():
    with pytest.raises(ValueError, match='read-only'):
        color_table('jet')[0] = 1


def test_colorize():
    table = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 7)], axis=1).astype(np.uint8)
    levels = np.array([[0, 1], [200, 255]], np.uint8)
    assert colorize(levels, table).tolist() == [[[0, 255, 7], [1, 254, 7]], [[200, 55, 7], [255, 0, 7]]]


@pytest.mark.parametrize(('alpha', 'expected'), [(0, 100), (0.25, 125), (0.5, 150), (1, 200)])
def test_blend(alpha, expected):
    image, heat = np.full((2, 3, 3), 100, np.uint8), np.full((2, 3, 3), 200, np.uint8)
    assert (blend(image, heat, alpha) == expected).all()
    assert (image == 100).all()
    assert (heat == 200).all()


def test_where_nothing_is_visible_the_image_stays():
    image = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    heat = np.full((2, 3, 3), 200, np.uint8)
    visible = np.array([[True, False, False], [False, True, False]])
    mixed = blend(image, heat, 1, visible)
    assert (mixed[visible] == 200).all()
    np.testing.assert_array_equal(mixed[~visible], image[~visible])


@pytest.mark.parametrize(
    ('colormap', 'background'),
    [('jet', 'image'), ('Turbo', 'image'), ('coolwarm', 'grey'), ('viridis', 'grey'), ('turbo_r', 'image')],
)
def test_the_background_that_goes_with_a_colour_map(colormap, background):
    assert background_for(colormap) == background


def test_a_faded_image_is_grey_and_neither_black_nor_white():
    image = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8)
    # Luma of red: 0.299 * 255 = 76.
    np.testing.assert_array_equal(faded(image), [[[80] * 3, [233] * 3, [126] * 3]])


def test_the_tones_of_an_image_leave_its_extremes_out():
    image = np.repeat(np.arange(100, dtype=np.uint8)[None, :, None], 3, axis=2)
    levels = tones(image, 3)
    assert abs(int(levels[0]) - 90) <= 1
    assert abs(int(levels[2]) - 10) <= 1
    assert abs(int(levels[1]) - 50) <= 1
