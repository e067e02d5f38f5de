"""``draw_sheets`` gives the maps of very many planes pages of their own."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from featmap.geometry import ImageGeometry
from featmap.rendering.normalize import Range
from featmap.structures import Detections, FeatureMap
from featmap.visualizer import FeatMapVisualizer
from tests.visualizer_helpers import l2_map as feature_map
from tests.visualizer_helpers import photo


def channel_map(count: int, rows: int = 4, columns: int = 6, **fields) -> FeatureMap:
    """Planes of one bright cell each, at a place and of a height of its own; channels count down from 999."""
    planes = np.zeros((count, rows, columns), np.float32)
    for number in range(count):
        planes[number, number // columns % rows, number % columns] = 1 + number
    return feature_map(planes, **{'channels': tuple(range(999, 999 - count, -1)), 'reducer': 'channels', **fields})


def labels_of(rendering) -> list[str]:
    return [panel.label for panel in rendering.panels]


def cut(rendering, index: int) -> np.ndarray:
    panel = rendering.panels[index]
    return rendering.image[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width]


def test_a_map_of_130_planes_has_three_pages():
    item = channel_map(130)
    pages = FeatMapVisualizer(alpha=1.0).draw_sheets(photo(32, 48), [item], title='street.png')
    assert [len(page.panels) for page in pages] == [65, 65, 3]
    planes = []
    for page in pages:
        assert labels_of(page)[0].startswith('street.png · ')
        planes += labels_of(page)[1:]
    expected = [
        f'neck · channel {999 - number} · 64×4×6 · stride 8 · 0 … {1 + number}' for number in range(130)
    ]  # each has its own range
    assert planes == expected
    panels_in_order = [cut(page, index) for page in pages for index in range(1, len(page.panels))]
    for number, panel in enumerate(panels_in_order):
        row, column = number // 6 % 4, number % 6
        reds = panel[4::8, 4::8, 0].astype(int)
        assert np.unravel_index(reds.argmax(), reds.shape) == (row, column)


@pytest.mark.parametrize(('count', 'sizes'), [(64, [64]), (65, [64, 1]), (128, [64, 64]), (1, [1])])
def test_up_to_64_planes_stand_on_a_page(count, sizes):
    pages = FeatMapVisualizer().draw_sheets(photo(32, 48), [channel_map(count)])
    assert [len(page.panels) - 1 for page in pages] == sizes


@pytest.mark.parametrize(
    ('count', 'options', 'longest'), [(32, {}, 800), (33, {}, 320), (64, {}, 320), (64, {'panel_size': 500}, 500)]
)
def test_more_than_32_planes_are_small_where_no_size_is_set(count, options, longest):
    (page,) = FeatMapVisualizer(**options).draw_sheets(
        np.full((400, 800, 3), 90, np.uint8), [channel_map(count, geometry=ImageGeometry((400, 800), (1024, 1024)))]
    )
    assert {panel.width for panel in page.panels} == {longest}
    assert len(page.panels) == 1 + count


def test_the_other_maps_share_the_first_page():
    boxes = Detections(np.array([[4, 4, 20, 20]], np.float32), np.array([0.9]), np.array([0]), ('cat',))
    small, other = channel_map(2, layer='backbone'), channel_map(1, layer='head')
    image = photo(32, 48)
    pages = FeatMapVisualizer().draw_sheets(image, [small, channel_map(70), other], boxes, 'a')
    assert [len(page.panels) - 1 for page in pages] == [3, 64, 6]
    alone = FeatMapVisualizer().draw_maps(image, [small, other], boxes, 'a')
    np.testing.assert_array_equal(pages[0].image, alone.image)
    assert labels_of(pages[0]) == labels_of(alone)


def test_names_and_fixed_ranges_go_with_their_planes():
    item = channel_map(
        70, names=tuple(f'component {n}' for n in range(70)), ranges=tuple((-n - 1.0, n + 1.0) for n in range(70))
    )
    pages = FeatMapVisualizer().draw_sheets(photo(32, 48), [item])
    said = [label for page in pages for label in labels_of(page)[1:]]
    assert said == [f'neck · component {n} · 64×4×6 · stride 8 · {-n - 1} … {n + 1}' for n in range(70)]


@pytest.mark.parametrize(
    ('options', 'run', 'expected'),
    [
        ({'norm': 'layer'}, None, {'neck': '0 … 130 (layer)', 'head': '0 … 2 (layer)'}),
        ({'norm': 'run'}, None, {'neck': '0 … 130 (run)', 'head': '0 … 130 (run)'}),
        ({'norm': 'run'}, Range(-1, 500), {'neck': '-1 … 500 (run)', 'head': '-1 … 500 (run)'}),
        ({'norm': '0,7'}, None, {'neck': '0 … 7 (fixed)', 'head': '0 … 7 (fixed)'}),
        ({'norm': 'layer', 'symmetric': True}, None, {'neck': '-130 … 130 (layer)', 'head': '-2 … 2 (layer)'}),
    ],
)
def test_a_shared_scale_is_shared_by_all_pages(options, run, expected):
    maps = [channel_map(70), channel_map(2, layer='head'), channel_map(130, path='[1]'), channel_map(3)]
    pages = FeatMapVisualizer(**options).draw_sheets(photo(32, 48), maps, run=run)
    said = [label for page in pages for label in labels_of(page)[1:]]
    assert len(said) == 205
    for label in said:
        assert label.rpartition(' · ')[2] == expected[re.match('[a-z]+', label)[0]]


@pytest.mark.parametrize(('shape', 'thumb'), [((400, 800), (160, 320)), ((1000, 500), (320, 160)), ((90, 320), None)])
def test_large_images_are_drawn_small_on_pages(shape, thumb):
    image = np.full((*shape, 3), 90, np.uint8)
    image[:, : shape[1] // 2] = 200
    (page, _) = FeatMapVisualizer(alpha=0.0).draw_sheets(
        image, [channel_map(65, geometry=ImageGeometry(shape, (1024, 1024)))]
    )
    assert {(panel.height, panel.width) for panel in page.panels} == {thumb or shape}
    for index in (0, 1):
        assert (cut(page, index)[:, : (thumb or shape)[1] // 2 - 1] == 200).all()
        assert (cut(page, index)[:, (thumb or shape)[1] // 2 + 1 :] == 90).all()


@pytest.mark.parametrize(
    ('geometry', 'cell', 'place'),
    [
        # 1280 x 720 in 640 x 640: half the size, 140 rows from row 140 on; cells of 32 pixels.
        (ImageGeometry((720, 1280), (640, 640), (0.5, 0.5), (0, 140)), (7, 13), ((7.5 * 32 - 140) * 2, 13.5 * 32 * 2)),
        # 500 x 1000, anisotropic, padded at the bottom and right.
        (ImageGeometry((1000, 500), (640, 640), (1.2, 0.6)), (5, 4), (5.5 * 32 / 0.6, 4.5 * 32 / 1.2)),
        # Mirrored: 960 x 640 at two thirds.
        (
            ImageGeometry((640, 960), (448, 640), (2 / 3, 2 / 3), flip=(True, False)),
            (3, 2),
            (3.5 * 32 * 1.5, 960 - 2.5 * 32 * 1.5),
        ),
    ],
)
def test_heat_lies_over_its_place_on_a_thumbnail_too(geometry, cell, place):
    rows, columns = geometry.input_shape[0] // 32, geometry.input_shape[1] // 32
    planes = np.zeros((65, rows, columns))
    planes[:, cell[0], cell[1]] = 1
    height, width = geometry.image_shape
    factor = 320 / max(height, width)
    pages = FeatMapVisualizer(alpha=1.0, colormap='bone').draw_sheets(
        np.zeros((height, width, 3), np.uint8), [feature_map(planes, geometry=geometry, stride=(32.0, 32.0))]
    )
    light = cut(pages[1], 1).astype(float).sum(-1)
    assert light.shape == (round(height * factor), round(width * factor))
    centre = [(light * (grid + 0.5)).sum() / light.sum() for grid in np.indices(light.shape)]
    np.testing.assert_allclose(centre, np.array(place) * factor, atol=0.5)
    # As on the full-size picture.
    whole = FeatMapVisualizer(alpha=1.0, colormap='bone', labels=False).draw_maps(
        np.zeros((height, width, 3), np.uint8),
        [feature_map(planes[:1], geometry=geometry, stride=(32.0, 32.0))],
    )
    small = cv2.resize(cut(whole, 1), light.shape[::-1], interpolation=cv2.INTER_AREA).astype(float).sum(-1)
    assert np.abs(small - light).max() < 30


def test_cells_on_padding_have_no_part_in_the_range_of_a_page():
    geometry = ImageGeometry((400, 800), (800, 800), offset=(0, 200))
    planes = np.zeros((65, 25, 25))
    planes[:, :6], planes[:, 19:] = 1e3, -1e3
    planes[:, 10, 10] = 2
    pages = FeatMapVisualizer().draw_sheets(np.zeros((400, 800, 3), np.uint8), [feature_map(planes, geometry=geometry)])
    for page in pages:
        for label in labels_of(page)[1:]:
            assert label.endswith(' · stride 32 · 0 … 2')
