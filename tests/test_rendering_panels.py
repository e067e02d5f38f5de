"""Panels of every kind, and what their labels say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest

from featmap.geometry import ImageGeometry, View
from featmap.rendering.colors import categories, color_table, faded
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look, panels_of, sizes_of
from featmap.rendering.scales import scales_of
from featmap.structures import FeatureMap
from featmap.visualizer import FeatMapVisualizer
from tests.visualizer_helpers import l2_map as feature_map
from tests.visualizer_helpers import photo

NAN = float('nan')


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
    return feature_map(numbers, kind='segments', names=(f'{count} segments',), reducer='kmeans', **fields)


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
    assert panel.label == 'neck · kmeans · 5 segments · 64×6×8 · stride 8'
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
    return feature_map(planes, kind='concepts', names=names, reducer='nmf', **fields)


def test_every_concept_has_a_panel_and_then_all_have_one():
    found = panels(photo(32, 64), concept_map())
    assert [panel.label for panel in found] == [
        'neck · nmf · concept 1, 67% · 64×4×8 · stride 8 · 0 … 2',
        'neck · nmf · concept 2, 33% · 64×4×8 · stride 8 · 0 … 2',
        'neck · nmf · concept 3, 0% · 64×4×8 · stride 8 · 0 … 2',
        'neck · nmf · all 3 concepts · concept 1, 67% · concept 2, 33% · concept 3, 0%',
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
        (
            {'names': ('component 1, 40%', 'component 2, 9%'), 'reducer': 'pca'},
            ['pca · component 1, 40%', 'pca · component 2, 9%'],
        ),
        ({'channels': (17, 3), 'reducer': 'channels'}, ['channel 17', 'channel 3']),
        ({'channels': (17, 3), 'reducer': 'topk'}, ['topk · channel 17', 'topk · channel 3']),
        (
            {'channels': (17, 3), 'reducer': 'topk', 'why': ('sum 8', 'sum 5')},
            ['channel 17 · topk: sum 8', 'channel 3 · topk: sum 5'],
        ),
        ({}, ['l2', 'l2']),
        ({'names': ('only one',)}, ['l2 · only one', 'l2']),
        ({'names': ('a', 'b'), 'channels': (17, 3), 'reducer': 'channels'}, ['a', 'b']),
        ({'names': ('a', 'b'), 'meaning': 'cls P3', 'reducer': 'channels'}, ['cls P3 · a', 'cls P3 · b']),
        ({'channels': ()}, ['l2', 'l2']),
    ],
)
def test_a_label_says_what_a_plane_shows(fields, said):
    found = panels(photo(32, 32), feature_map(np.random.default_rng(0).random((2, 4, 4)), path='[1]', **fields))
    assert [panel.label.name for panel in found] == ['neck[1]'] * 2
    assert [' · '.join(panel.label.shows) for panel in found] == said
    for panel in found:
        assert panel.label.facts == ('64×4×4', 'stride 8')
        assert panel.label == ' · '.join(panel.label.parts)
        assert panel.label.endswith(f' · stride 8 · {panel.scale}')


def test_a_label_says_what_has_to_be_known_of_the_values():
    item = feature_map(np.random.default_rng(0).random((1, 4, 4)), note='random weights')
    assert panels(photo(32, 32), item)[0].label.startswith('neck · l2 · 64×4×4 · stride 8 · random weights · 0.')
    assert panels(photo(32, 64), concept_map(note='random weights'))[-1].label.endswith('3, 0% · random weights')


def test_a_label_says_that_a_plane_is_constant_on_a_scale_that_does_not():
    flat = feature_map([np.full((4, 4), 2.0), np.arange(16.0).reshape(4, 4)])
    both = panels(photo(32, 32), flat, norm='layer')
    assert both[0].label.facts == ('64×4×4', 'stride 8', 'constant 2')
    assert both[1].label.facts == ('64×4×4', 'stride 8')
    alone = panels(photo(32, 32), flat)
    assert [panel.label.facts for panel in alone] == [('64×4×4', 'stride 8')] * 2
    assert alone[0].label.scale == ('constant 2',)
    noise = feature_map(np.full((3, 4, 4), 2.0), kind='image', reducer='pca', ranges=((-9, 9),) * 3)
    assert panels(photo(32, 32), noise)[0].label.facts[-1] == 'constant 2'


def test_a_picture_of_three_planes_has_one_label():
    values = np.random.default_rng(0).random((3, 4, 4))
    (panel,) = panels(photo(32, 32), feature_map(values, kind='image', names=('pca, 90% of variance',), reducer='pca'))
    assert panel.label.startswith('neck · pca, 90% of variance · 64×4×4 · stride 8 · 0.')
    fixed = feature_map(values, kind='image', ranges=((-1, 1),) * 3, channels=(0, 1, 2), reducer='pca')
    assert panels(photo(32, 32), fixed)[0].label == 'neck · pca · 64×4×4 · stride 8'
    assert panels(photo(32, 32), fixed)[0].scale is None


def look_panel(look: Look, image: np.ndarray, values=((0, 1, 2, 3),) * 4) -> np.ndarray:
    item = feature_map(values)
    (panel,) = panels_of(look.backdrop(image), item, scales_of([item])[0], look)
    return panel.image


def test_the_backdrop():
    image = photo(32, 32)
    grey = faded(image)
    assert Look().backdrop(image) is image
    np.testing.assert_array_equal(look_panel(Look(0.0, background='grey'), image), grey)
    bare = look_panel(Look(0.5, background='none'), image)  # nothing to see through to
    np.testing.assert_array_equal(bare, look_panel(Look(1.0), image))
    hidden = look_panel(Look(0.5, background='none'), image, [[0, NAN, NAN, 3]] * 4)
    assert (hidden[:, 12:20] == hidden[0, 15]).all()


def test_the_cells_themselves_and_their_borders():
    cells = look_panel(Look(1.0, interpolation='nearest'), photo(32, 32))
    levels = color_table('jet')[[0, 85, 170, 255]]
    np.testing.assert_array_equal(cells, np.broadcast_to(levels.repeat(8, 0), (32, 32, 3)))
    bordered = look_panel(Look(1.0, interpolation='nearest', grid=True), photo(32, 32))
    changed = (bordered != cells).any(axis=-1)
    assert np.flatnonzero(changed[4]).tolist() == np.flatnonzero(changed[:, 4]).tolist() == [8, 16, 24]


def test_a_window_is_drawn_as_that_part_of_a_whole_panel():
    item = feature_map([[0, 1, 2, 3]] * 4)
    look = Look(1.0)
    view = View.of((32, 32), None, (5, 7, 25, 30))
    (part,) = panels_of(view.picture(photo(32, 32)), item, scales_of([item])[0], look, view)
    np.testing.assert_array_equal(part.image, look_panel(look, photo(32, 32))[7:30, 5:25])


def test_a_bar_shows_the_colours_that_panels_have():
    image = np.full((16, 16, 3), 90, np.uint8)
    for look in (Look(0.5), Look(0.3, background='grey'), Look(0.5, background='none'), Look(1.0)):
        panel = look_panel(look, image, [[0, 4]] * 2)
        bar = look.bar(look.backdrop(image))
        assert bar.shape[1:] == (256, 3)
        np.testing.assert_array_equal(bar[0, [0, 255]], panel[0, [0, 15]])


def test_a_bar_ranges_from_light_to_dark_parts():
    image = np.repeat(np.linspace(0, 255, 256, dtype=np.uint8)[None, :, None], 3, axis=2)
    bar = Look(0.5).bar(image).astype(int)
    assert (np.diff(bar[:, 0].sum(axis=-1)) < 0).all()


def test_the_default_look_is_jet():
    np.testing.assert_array_equal(Look().colors, color_table('jet'))


# --- what the network was not shown


@pytest.mark.parametrize('kind', ['heat', 'image', 'segments', 'concepts'])
def test_where_the_image_was_cut_off_there_is_weak_grey_and_no_heat(kind):
    image = photo(40, 64)
    # Columns 16 to 48 of the image are what the input holds, and fill it.
    geometry = ImageGeometry((40, 64), (40, 32), offset=(-16, 0))
    planes = {'heat': 1, 'image': 3, 'segments': 1, 'concepts': 2}[kind]
    values = np.random.default_rng(0).integers(0, 4, (planes, 5, 4)).astype(np.float32)
    item = FeatureMap(values, 'it', (planes, 5, 4), (8.0, 8.0), geometry, kind=kind, channels=(None,) * planes)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float) * 0.3 + 100
    for panel in panels(image, item, 0.5):
        for part in (np.s_[:, :16], np.s_[:, 48:]):
            assert (np.ptp(panel.image[part].astype(int), axis=2) == 0).all()
            np.testing.assert_allclose(panel.image[part][..., 0], grey[part], atol=0.51)
        within = np.s_[:, 16:48]
        assert (panel.image[within] != image[within]).mean() > 0.5
    whole = replace(item, geometry=ImageGeometry.whole((40, 32)))
    for cut, alone in zip(panels(image, item, 1.0), panels(image[:, 16:48], whole, 1.0)):
        np.testing.assert_array_equal(cut.image[:, 16:48], alone.image)


def test_the_view_of_a_part_that_was_cut_off_has_no_heat_at_all():
    image = photo(40, 64)
    geometry = ImageGeometry((40, 64), (40, 32), offset=(-16, 0))
    item = FeatureMap(np.eye(4, dtype=np.float32)[None], 'it', (1, 4, 4), (10.0, 8.0), geometry, channels=(None,))
    view = View.of((40, 64), window=(50, 0, 64, 40))
    look = FeatMapVisualizer().look
    (panel,) = panels_of(view.picture(image), item, scales_of([item], look.norm)[0], look, view)
    assert (np.ptp(panel.image.astype(int), axis=2) == 0).all()


@pytest.mark.parametrize(
    ('geometry', 'text'),
    [
        (ImageGeometry((40, 64), (40, 32), offset=(-16, 0)), '64×40, cut to 32×40'),
        (ImageGeometry((40, 64), (99, 64), (2.0, 2.0), (-40, 10)), '64×40 → 128×80, ×2.00, cut to 64×80'),
        (ImageGeometry((40, 64), (99, 160), (2.0, 2.0), (4, 10)), '64×40 → 128×80, ×2.00'),
    ],
)
def test_the_sizes_tell_what_was_cut_off(geometry, text):
    assert sizes_of(geometry) == text
