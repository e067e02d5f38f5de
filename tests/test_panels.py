"""Panels of every kind, their labels and colour bars, and the pages of large maps."""

from __future__ import annotations

import itertools
import re

import cv2
import numpy as np
import pytest

from featmap.geometry import ImageGeometry
from featmap.rendering.colors import categories, color_table
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look, panels_of
from featmap.rendering.scales import scales_of
from featmap.rendering.text import draw_lines, font_size, line_height, text_width
from featmap.rendering.tile import Cell, tile
from featmap.structures import Detections, FeatureMap
from featmap.visualizer import FeatMapVisualizer

NAN = float('nan')


def feature_map(values, layer: str = 'neck', geometry: ImageGeometry | None = None, **fields) -> FeatureMap:
    """A map of (h, w) or (K, h, w) values, by default over an image of 8 pixels a cell."""
    planes = np.asarray(values, np.float32)
    planes = planes[None] if planes.ndim == 2 else planes
    rows, columns = planes.shape[1:]
    geometry = geometry or ImageGeometry.whole((rows * 8, columns * 8))
    given = {
        'shape': (64, rows, columns),
        'stride': geometry.stride((rows, columns)),
        'channels': (None,) * len(planes),
        'reducer': 'l2',
    }
    return FeatureMap(planes, layer, geometry=geometry, **{**given, **fields})


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def panels(image: np.ndarray, item: FeatureMap, alpha: float = 1.0, **options):
    look = FeatMapVisualizer(alpha=alpha, **options).look
    return list(panels_of(image, item, scales_of([item], look.norm)[0], look))


def upsampled(planes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """OpenCV's bilinear interpolation, for maps that cover the whole image: (K, H, W)."""
    return np.stack([cv2.resize(plane.astype(np.float64), shape[::-1]) for plane in planes])


# --- segments


def segment_map(rows: int = 6, columns: int = 8, count: int = 5, **fields) -> FeatureMap:
    numbers = np.random.default_rng(0).integers(0, count, (rows, columns))
    numbers[0, :count] = np.arange(count)
    return feature_map(numbers, kind='segments', names=(f'{count} segments',), **fields)


def test_a_pixel_has_the_colour_of_the_segment_with_the_largest_share():
    item = segment_map()
    image = photo(48, 64)
    (panel,) = panels(image, item)
    shares = upsampled(item.values == np.arange(5)[:, None, None], (48, 64))
    clear = np.sort(shares, axis=0)[-1] - np.sort(shares, axis=0)[-2] > 1e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(panel.image[clear], categories(5)[shares.argmax(0)][clear])
    # Nothing in between: numbers have no order, so that between 0 and 2 there is no 1.
    assert {tuple(pixel) for pixel in panel.image.reshape(-1, 3)} == {tuple(color) for color in categories(5)}


def test_between_two_segments_there_is_no_third():
    (panel,) = panels(photo(32, 32), feature_map([[0, 0, 2, 2]] * 4, kind='segments'))
    assert (panel.image[:, :16] == categories(3)[0]).all()
    assert (panel.image[:, 16:] == categories(3)[2]).all()


def test_cells_of_no_segment_are_bare():
    item = segment_map()
    item.values[0, 2:4, 2:5] = NAN
    image = photo(48, 64)
    (panel,) = panels(image, item)
    np.testing.assert_array_equal(panel.image[17:31, 17:39], image[17:31, 17:39])
    different = (panel.image != image).any(-1)
    assert different[:15].all()
    assert different[33:].all()


def test_segments_are_blended():
    image = np.full((32, 32, 3), 100, np.uint8)
    (panel,) = panels(image, feature_map(np.zeros((4, 4)), kind='segments'), alpha=0.25)
    np.testing.assert_allclose(panel.image[0, 0], 75 + 0.25 * categories(1)[0].astype(float), atol=1)


def test_segments_have_no_scale_nor_bar():
    (panel,) = panels(photo(48, 64), segment_map())
    assert panel.scale is None
    assert panel.label == 'neck · 5 segments · 64×6×8 · stride 8'
    plain = FeatMapVisualizer().draw_maps(photo(48, 64), [segment_map()])
    with_bars = FeatMapVisualizer(colorbar=True).draw_maps(photo(48, 64), [segment_map()])
    np.testing.assert_array_equal(with_bars.image, plain.image)


def test_colours_of_segments_can_be_told_apart():
    colors = categories(12).astype(int)
    for one, other in itertools.combinations(colors, 2):
        assert np.abs(one - other).max() >= 40
    for one, other in zip(colors, colors[1:]):  # the largest segments have them
        assert np.abs(one - other).max() >= 90
    np.testing.assert_array_equal(categories(20)[:12], categories(12))  # a number keeps its colour


# --- concepts


def concept_map(**fields) -> FeatureMap:
    """Three parts: the first on the left, the second, half as strong, on the right, the third in no place."""
    planes = np.zeros((3, 4, 8))
    planes[0, :, :2] = 2.0
    planes[1, :, 6:] = 1.0
    names = ('concept 1, 67%', 'concept 2, 33%', 'concept 3, 0%')
    return feature_map(planes, kind='concepts', names=names, **fields)


def test_every_concept_has_a_panel_and_then_all_have_one():
    found = panels(photo(32, 64), concept_map())
    assert [panel.label for panel in found] == [
        'neck · concept 1, 67% · 64×4×8 · stride 8 · 0 … 2',
        'neck · concept 2, 33% · 64×4×8 · stride 8 · 0 … 2',
        'neck · concept 3, 0% · 64×4×8 · stride 8 · 0 … 2',
        'neck · all 3 concepts · concept 1, 67% · concept 2, 33% · concept 3, 0%',
    ]
    assert [panel.scale for panel in found] == [Range(0, 2)] * 3 + [None]


def test_a_pixel_has_the_colour_of_its_strongest_concept_the_more_the_stronger():
    image = photo(32, 64)
    overlay = panels(image, concept_map(), alpha=0.5)[-1].image.astype(float)
    np.testing.assert_allclose(overlay[:, :12], np.broadcast_to(categories(3)[0], (32, 12, 3)), atol=1)
    half = 0.5 * image[:, 52:] + 0.5 * categories(3)[1]
    np.testing.assert_allclose(overlay[:, 52:], half, atol=2)
    np.testing.assert_array_equal(overlay[:, 24:40], image[:, 24:40])


def test_with_less_opacity_concepts_are_paler():
    image = np.zeros((32, 64, 3), np.uint8)
    overlay = panels(image, concept_map(), alpha=0.25)[-1].image
    np.testing.assert_allclose(overlay[16, 4], 0.5 * categories(3)[0].astype(float), atol=1)
    assert (panels(image, concept_map(), alpha=0.0)[-1].image == 0).all()


@pytest.mark.parametrize('options', [{'symmetric': True}, {'norm': '-1,2'}, {'norm': 'layer'}, {'norm': 'p0,p100'}])
def test_where_no_concept_has_a_share_the_image_is_bare_on_every_scale(options):
    image = photo(32, 64)
    overlay = panels(image, concept_map(), alpha=0.5, **options)[-1].image
    np.testing.assert_array_equal(overlay[:, 24:40], image[:, 24:40])
    assert (overlay[:, :12] != image[:, :12]).any(-1).all()


def test_the_strongest_concept_wins_where_the_scale_ends_below_both():
    planes = np.stack([np.full((4, 4), 2.0), np.full((4, 4), 3.0)])
    overlay = panels(photo(32, 32), feature_map(planes, kind='concepts', names=('a', 'b')), norm='0,1')[-1].image
    assert (overlay == categories(2)[1]).all()


def test_the_strongest_of_interpolated_concepts_wins():
    planes = np.random.default_rng(1).random((4, 5, 7))
    item = feature_map(planes, kind='concepts', names=tuple('abcd'))
    overlay = panels(np.zeros((40, 56, 3), np.uint8), item, norm='0,0.001')[-1].image  # all fully opaque
    strengths = upsampled(item.values, (40, 56))
    clear = np.sort(strengths, axis=0)[-1] - np.sort(strengths, axis=0)[-2] > 1e-4
    np.testing.assert_array_equal(overlay[clear], categories(4)[strengths.argmax(0)][clear])


def test_cells_without_concepts_are_bare():
    item = concept_map()
    item.values[:, 1:3, :2] = NAN
    image = photo(32, 64)
    overlay = panels(image, item)[-1].image
    np.testing.assert_array_equal(overlay[10:22, :10], image[10:22, :10])
    assert (overlay[:6, :10] != image[:6, :10]).any(-1).all()
    np.testing.assert_allclose(overlay[0, 0], categories(3)[0], atol=1)


def test_concepts_of_nothing_leave_the_image():
    image = photo(32, 32)
    item = feature_map(np.zeros((2, 4, 4)), kind='concepts', names=('a', 'b'))
    np.testing.assert_array_equal(panels(image, item)[-1].image, image)


# --- labels


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'names': ('component 1, 40%', 'component 2, 9%')}, ['component 1, 40%', 'component 2, 9%']),
        ({'channels': (17, 3)}, ['channel 17', 'channel 3']),
        ({}, ['l2', 'l2']),
        ({'names': ('only one',)}, ['only one', 'l2']),
        ({'names': ('a', 'b'), 'channels': (17, 3)}, ['a', 'b']),
        ({'channels': ()}, ['l2', 'l2']),
    ],
)
def test_a_label_says_what_a_plane_shows(fields, said):
    found = panels(photo(32, 32), feature_map(np.random.default_rng(0).random((2, 4, 4)), path='[1]', **fields))
    assert [panel.label.split(' · ')[:2] for panel in found] == [['neck[1]', each] for each in said]


def test_a_picture_of_three_planes_has_one_label():
    values = np.random.default_rng(0).random((3, 4, 4))
    (panel,) = panels(photo(32, 32), feature_map(values, kind='image', names=('pca, 90% of variance',)))
    assert panel.label.startswith('neck · pca, 90% of variance · 64×4×4 · stride 8 · 0.')
    fixed = feature_map(values, kind='image', ranges=((-1, 1),) * 3, channels=(0, 1, 2), reducer='pca')
    assert panels(photo(32, 32), fixed)[0].label == 'neck · pca · 64×4×4 · stride 8'
    assert panels(photo(32, 32), fixed)[0].scale is None


def test_the_default_look_is_jet():
    np.testing.assert_array_equal(Look().colors, color_table('jet'))


# --- colour bars


def bar_of(rendering, index: int, size: int) -> np.ndarray:
    """The strip below a panel, as wide as the place of the panel."""
    panel = rendering.panels[index]
    after = [other.x for other in rendering.panels if other.x > panel.x]
    gap = max(round(min(panel.height, panel.width) / 80), 2)
    right = (min(after) if after else rendering.image.shape[1]) - gap
    top = panel.y + panel.height
    return rendering.image[top : top + line_height(size), panel.x : right]


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
    rendering = FeatMapVisualizer(colorbar=True, colormap=name).draw_maps(photo(*shape), [item])
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
    rendering = FeatMapVisualizer(colorbar=True, labels=labels).draw_maps(photo(24, 16), [item])
    assert (rendering.panels[1].width, rendering.panels[1].height) == (16, 24)  # the panel keeps its size
    strip, text = bar_of(rendering, 1, 11), 9
    low, high = text_width('-0.00123', text), text_width('0.0456', text) + 1
    np.testing.assert_array_equal(strip[:, :low], draw_lines(['-0.00123'], text, (len(strip), low)))
    np.testing.assert_array_equal(strip[:, -high:], draw_lines(['0.0456'], text, (len(strip), high)))
    columns, indices = ramp_in(strip, color_table('jet'))
    assert low <= columns.start < columns.stop <= strip.shape[1] - high
    assert (np.diff(indices) > 0).all()


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


# --- pages


def channel_map(count: int, rows: int = 4, columns: int = 6, **fields) -> FeatureMap:
    """Planes of one bright cell each, at a place and of a height of its own; channels count down from 999."""
    planes = np.zeros((count, rows, columns), np.float32)
    for number in range(count):
        planes[number, number // columns % rows, number % columns] = 1 + number
    return feature_map(planes, **{'channels': tuple(range(999, 999 - count, -1)), **fields})


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


def test_the_geometry_of_an_image_that_is_resized_unevenly():
    geometry = ImageGeometry((100, 200), (128, 128), (0.5, 0.75), (3, 7)).resized((50, 400))
    assert (geometry.image_shape, geometry.scale) == ((50, 400), (0.25, 1.5))
    assert (geometry.input_shape, geometry.offset, geometry.content_shape) == ((128, 128), (3, 7), (75, 100))
