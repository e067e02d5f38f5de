"""The colour bar below a panel: its ramp, its numbers and its place."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.geometry import ImageGeometry
from featmap.rendering.colors import color_table
from featmap.rendering.text import draw_lines, font_size, line_height, text_width
from featmap.rendering.tile import Cell, tile
from featmap.visualizer import FeatMapVisualizer
from tests.visualizer_helpers import l2_map as feature_map
from tests.visualizer_helpers import photo


def bar_of(rendering, index: int, size: int, least: int = 0) -> np.ndarray:
    """The strip below a panel, as wide as the panel, or as its numbers need."""
    panel = rendering.panels[index]
    top = panel.y + panel.height
    return rendering.image[top : top + line_height(size), panel.x : panel.x + max(panel.width, least)]


def ramp_in(strip: np.ndarray, table: np.ndarray) -> tuple[slice, np.ndarray]:
    """Which columns of the strip are a ramp, and the table's index at each."""
    row = strip[len(strip) // 2].astype(int)
    indices = [np.flatnonzero((table == pixel).all(-1)) for pixel in row]
    colorful = [len(found) > 0 and np.ptp(pixel) > 30 for found, pixel in zip(indices, row)]
    first, last = np.flatnonzero(colorful)[[0, -1]]
    return slice(first, last + 1), np.array([found.mean() for found in indices[first : last + 1]])


@pytest.mark.parametrize('name', ['jet', 'plasma'])
@pytest.mark.parametrize('shape', [(240, 320), (96, 128), (700, 1000)])
def test_a_bar_runs_from_the_lowest_colour_on_the_left_to_the_highest_on_the_right(name, shape):
    item = feature_map(np.linspace(-1.5, 4, 12).reshape(3, 4), geometry=ImageGeometry.whole(shape))
    rendering = FeatMapVisualizer(colorbar=True, colormap=name, alpha=1).draw_maps(photo(*shape), [item])
    size = font_size(*shape)
    strip = bar_of(rendering, 1, size)
    table = color_table(name)
    columns, indices = ramp_in(strip, table)
    width = columns.stop - columns.start
    assert width > strip.shape[1] / 3
    np.testing.assert_array_equal(strip[len(strip) // 2, columns.start], table[0])
    np.testing.assert_array_equal(strip[len(strip) // 2, columns.stop - 1], table[255])
    np.testing.assert_allclose(indices, np.linspace(0, 255, width), atol=1)
    # The numbers stand beside it, outside the ramp, the lower one on the left.
    text = max(round(size * 0.8), 8)
    for number, part, at_right in (
        ('-1.5', strip[:, : columns.start], False),
        ('4', strip[:, columns.stop :], True),
    ):
        needed = text_width(number, text) + at_right
        expected = draw_lines([number], text, (len(strip), needed))
        assert needed <= part.shape[1]
        found = part[:, -needed:] if at_right else part[:, :needed]
        np.testing.assert_array_equal(found, expected)
        assert (expected < 100).any()
    # The original has none.
    assert (bar_of(rendering, 0, size)[: len(strip)] == 255).all()


def test_a_bar_says_the_same_range_as_the_label():
    item = feature_map(np.random.default_rng(0).random((3, 4)), geometry=ImageGeometry.whole((240, 320)))
    for options, low, high in [({'norm': '0,2'}, '0', '2'), ({'norm': '-3,1', 'symmetric': True}, '-3', '3')]:
        rendering = FeatMapVisualizer(colorbar=True, **options).draw_maps(photo(240, 320), [item])
        assert f' · {low} … {high} (fixed)' in rendering.panels[1].label
        strip, text = bar_of(rendering, 1, 11), 9
        np.testing.assert_array_equal(
            strip[:, : text_width(low, text)], draw_lines([low], text, (len(strip), text_width(low, text)))
        )
        np.testing.assert_array_equal(
            strip[:, -text_width(high, text) - 1 :], draw_lines([high], text, (len(strip), text_width(high, text) + 1))
        )


@pytest.mark.parametrize('labels', [False, True])
def test_the_numbers_of_a_narrow_bar_do_not_run_into_each_other(labels):
    item = feature_map([[-0.00123, 0.0456]], geometry=ImageGeometry.whole((24, 16)))
    rendering = FeatMapVisualizer(colorbar=True, labels=labels, alpha=1).draw_maps(photo(24, 16), [item])
    assert (rendering.panels[1].width, rendering.panels[1].height) == (16, 24)  # the panel keeps its size
    text = 9
    low, high = text_width('-0.00123', text), text_width('0.0456', text) + 1
    strip = bar_of(rendering, 1, 11, low + high - 1 + 2 * (11 // 2) + 10)
    np.testing.assert_array_equal(strip[:, :low], draw_lines(['-0.00123'], text, (len(strip), low)))
    np.testing.assert_array_equal(strip[:, -high:], draw_lines(['0.0456'], text, (len(strip), high)))
    columns, indices = ramp_in(strip, color_table('jet'))
    assert low <= columns.start < columns.stop <= strip.shape[1] - high
    assert (np.diff(indices) > 0).all()


def test_a_bar_is_no_wider_than_its_panel_where_the_label_is():
    item = feature_map(np.random.default_rng(0).random((3, 4)), geometry=ImageGeometry.whole((300, 100)))
    visualizer = FeatMapVisualizer(colorbar=True, alpha=1)
    rendering = visualizer.draw_maps(photo(300, 100), [item], title='an image whose name is long')
    first, panel = rendering.panels
    assert panel.x - first.x > 130
    below = rendering.image[panel.y + 300 : panel.y + 300 + line_height(11)]
    assert (below[:, panel.x : panel.x + 100] != 255).any()
    assert (below[:, panel.x + 100 :] == 255).all()


def test_bars_take_no_pixel_from_the_panels():
    item = feature_map(np.random.default_rng(0).random((4, 3, 4)))
    image = photo(24, 32)
    plain, barred = (FeatMapVisualizer(colorbar=bar, alpha=0.5).draw_maps(image, [item]) for bar in (False, True))
    for before, after in zip(plain.panels, barred.panels):
        np.testing.assert_array_equal(
            barred.image[after.y : after.y + 24, after.x : after.x + 32],
            plain.image[before.y : before.y + 24, before.x : before.x + 32],
        )
    assert barred.image.shape[0] > plain.image.shape[0]


def test_without_a_scale_there_is_no_bar():
    cell = Cell(photo(20, 30), 'a', color_table('jet'), None)
    assert (
        tile(Cell(photo(20, 30), 'b'), [[cell]]).image.shape
        == tile(Cell(photo(20, 30), 'b'), [[Cell(photo(20, 30), 'a')]]).image.shape
    )
