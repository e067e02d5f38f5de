"""Rows of panels: each map drawn in several ways side by side, from the same planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featmap.errors import DrawError
from featmap.figure import draw_figure
from featmap.rendering.colors import color_table
from featmap.structures import Detections
from featmap.visualizer import FeatMapVisualizer
from tests.figure_helpers import axes_of
from tests.visualizer_helpers import RAMP, colors, cut, difference, feature_map, photo

ALL = ('grey', 'heat', 'overlay', 'pca')
IMAGE = photo(32, 32)
BOX = Detections(np.array([[4, 4, 20, 28]], np.float32), np.array([0.9]), np.array([0]), ('cat',))


def stage(number: int, values=RAMP, **fields):
    return feature_map(values, layer=f'stage{number}', pca=colors(layer=f'stage{number}'), **fields)


def draw(maps, panels=ALL, detections=None, image=IMAGE, **options):
    return FeatMapVisualizer(panels=panels, **options).draw_maps(image, maps, detections)


def test_each_column_by_hand():
    rendering = draw([stage(1)], interpolation='nearest', colormap='viridis', alpha=0.3, background='image')
    levels = np.repeat(np.repeat(np.array([0, 85, 170, 255]), 8)[None], 32, axis=0)
    table = color_table('viridis').astype(int)
    _, grey, heat, overlay, pca = (cut(rendering, number).astype(int) for number in range(5))
    np.testing.assert_array_equal(grey, np.repeat(levels[..., None], 3, axis=-1))
    np.testing.assert_array_equal(heat, table[levels])
    np.testing.assert_allclose(overlay, 0.7 * IMAGE + 0.3 * table[levels], atol=1)
    np.testing.assert_array_equal(pca, np.stack([levels, 255 - levels, levels * 0], axis=-1))


def test_the_overlay_is_the_picture_without_rows():
    alone = FeatMapVisualizer().draw_maps(IMAGE, [stage(1)], BOX)
    rows = draw([stage(1)], ('heat', 'overlay'), BOX)
    np.testing.assert_array_equal(cut(rows, 2), cut(alone, 1))
    np.testing.assert_array_equal(cut(rows, 0), cut(alone, 0))


def test_what_was_found_is_outlined_on_the_image_alone():
    plain, outlined = draw([stage(1)]), draw([stage(1)], detections=BOX)
    changed = [bool(difference(cut(plain, number), cut(outlined, number)).any()) for number in range(5)]
    assert changed == [True, False, False, True, False]  # the original, grey, heat, overlay, pca


def test_a_row_a_map_in_the_order_of_the_names():
    rendering = draw([stage(1), stage(2), stage(3)], ('pca', 'heat'))
    panels = rendering.panels[1:]
    assert [panel.y for panel in panels[::2]] == sorted({panel.y for panel in panels})
    assert len({panel.x for panel in panels}) == 2
    assert [panel.label.split(' · ')[0] for panel in panels] == ['stage1'] * 2 + ['stage2'] * 2 + ['stage3'] * 2
    assert [panel.label.split(' · ')[-1] for panel in panels] == ['pca, 60% of variance', 'heat'] * 3
    assert all('64×4×4' in panel.label and '0 … 3' in panel.label for panel in panels)
    assert all(panel.x > rendering.panels[0].x + rendering.panels[0].width for panel in panels)


def test_a_row_a_plane_and_components_once_a_map():
    channels = feature_map(
        np.stack([np.array(RAMP, np.float32), 9 - np.array(RAMP, np.float32)]), channels=(7, 5), reducer='topk',
        pca=colors(),
    )  # fmt: skip
    panels = draw([channels], ('heat', 'pca')).panels[1:]
    assert [panel.label.split(' · ')[-1] for panel in panels] == ['heat', 'pca, 60% of variance', 'heat']
    assert ['channel 7' in panels[0].label, 'channel 5' in panels[2].label] == [True, True]
    assert panels[0].x == panels[2].x < panels[1].x
    assert panels[0].y == panels[1].y < panels[2].y


def test_a_map_by_pca_is_its_own_components():
    rendering = draw([colors()], ('pca', 'overlay'), alpha=0.5)
    np.testing.assert_array_equal(cut(rendering, 1)[::8, ::8, 2], 0)
    assert difference(cut(rendering, 1), cut(rendering, 2)).any()


def test_components_that_were_not_kept_are_missed_before_anything_is_drawn():
    with pytest.raises(DrawError, match=r'stage1 holds no components to draw as pca.*panels=\[.pca.\] when the maps'):
        draw([replace(stage(1), pca=None)])
    many = feature_map(np.random.default_rng(0).normal(size=(70, 4, 4)), channels=tuple(range(70)))
    with pytest.raises(DrawError, match='holds no components'):
        FeatMapVisualizer(panels=('heat', 'pca')).draw_sheets(IMAGE, [many])


def test_bars_have_the_colours_of_their_column():
    bare, barred = (draw([stage(1)], ('grey', 'heat', 'pca'), colorbar=colorbar) for colorbar in (False, True))
    assert [panel.width for panel in bare.panels] == [panel.width for panel in barred.panels]
    first, second, third = (
        barred.image[panel.y + panel.height : panel.y + panel.height + 12, panel.x : panel.x + panel.width + 30]
        for panel in barred.panels[1:]
    )
    spread = [int(np.ptp(strip.astype(int), axis=-1).max()) for strip in (first, second, third)]
    assert spread[0] == 0  # grey
    assert spread[1] > 200
    assert (third == 255).all()


def test_all_columns_share_the_scale_of_their_plane():
    image = draw([stage(1), stage(2, np.array(RAMP) * 2)], ('grey', 'heat'), norm='image')
    own, shared = cut(image, 3), cut(image, 1)
    assert (own.max(), shared.max()) == (255, 127)
    assert [panel.label.split(' · ')[-2] for panel in image.panels[1:]] == ['0 … 6 (image)'] * 4


@pytest.mark.parametrize('kind', ['segments', 'image'])
def test_maps_of_their_own_colours_are_opaque_or_blended(kind):
    item = colors() if kind == 'image' else feature_map(np.zeros((4, 4)), kind='segments', reducer='kmeans')
    heat, overlay = (cut(draw([item], (name,), alpha=0.5), 1).astype(int) for name in ('heat', 'overlay'))
    np.testing.assert_allclose(overlay, (heat + IMAGE) / 2, atol=1)


def test_concepts_have_a_row_for_all_of_them():
    planes = np.stack([np.array(RAMP, np.float32), 3 - np.array(RAMP, np.float32)])
    item = feature_map(planes, kind='concepts', names=('concept 1', 'concept 2'), pca=colors())
    panels = draw([item]).panels[1:]
    assert [panel.label.split(' · ')[-1] for panel in panels] == [
        'grey', 'heat', 'overlay', 'pca, 60% of variance', 'grey', 'heat', 'overlay', 'heat', 'overlay',
    ]  # fmt: skip


def test_wide_images_stand_above_and_many_rows_side_by_side():
    wide = draw([replace_shape(stage(1), (8, 64))], ('heat',), image=photo(8, 64))
    assert wide.panels[1].y > wide.panels[0].y + 8
    assert wide.panels[1].x == wide.panels[0].x
    many = draw([stage(number) for number in range(24)], ('heat',))
    height, width = many.image.shape[:2]
    assert 0.4 < height / width < 2.5
    assert len({panel.x for panel in many.panels[1:]}) > 1
    assert many.panels[2].y > many.panels[1].y  # read downwards
    assert many.panels[2].x == many.panels[1].x


def replace_shape(item, shape):
    geometry = type(item.geometry).whole(shape)
    stride = geometry.stride(item.shape[1:])
    parts = {'geometry': geometry, 'stride': stride}
    return replace(item, **parts, pca=replace(item.pca, **parts))


def test_pages_hold_fewer_planes():
    many = feature_map(np.random.default_rng(0).normal(size=(70, 4, 4)), channels=tuple(range(70)), pca=colors())
    pages = FeatMapVisualizer(panels=('grey', 'heat')).draw_sheets(IMAGE, [many])
    assert [len(page.panels) - 1 for page in pages] == [64, 64, 12]


def test_without_labels_there_is_less_of_a_strip():
    labelled, bare = draw([stage(1)]), draw([stage(1)], labels=False)
    assert bare.image.shape[0] < labelled.image.shape[0]
    for number in range(5):
        np.testing.assert_array_equal(cut(labelled, number), cut(bare, number))


def test_a_figure_has_the_same_rows_and_columns():
    look = FeatMapVisualizer(panels=ALL).look
    figure = draw_figure(IMAGE, [stage(1), stage(2)], BOX, look=look, dpi=50)
    panels = axes_of(figure, 'panel')
    assert len(panels) == 8
    corners = [(round(axes.get_position().x0, 3), round(axes.get_position().y0, 3)) for axes in panels]
    assert [x for x, _ in corners[:4]] == [x for x, _ in corners[4:]] == sorted(x for x, _ in corners[:4])
    assert len({y for _, y in corners}) == 2
    texts = [text.get_text() for text in figure.texts]
    assert texts.count('grey') == texts.count('overlay') == 2
    assert 'stage1' in texts
    outlined = [bool(axes.patches) for axes in panels]
    assert outlined == [False, False, True, False] * 2
    grey = panels[0].images[0].get_array()
    assert (np.ptp(np.asarray(grey).astype(int), axis=-1) == 0).all()
    assert len(axes_of(figure, 'bar')) == 6


def test_a_figure_keeps_columns_free_for_what_a_plane_has_not():
    planes = np.stack([np.array(RAMP, np.float32), 9 - np.array(RAMP, np.float32)])
    item = feature_map(planes, channels=(7, 5), reducer='topk', pca=colors())
    look = FeatMapVisualizer(panels=('pca', 'heat')).look
    panels = axes_of(draw_figure(IMAGE, [item], look=look, dpi=50), 'panel')
    first, second, third = (axes.get_position() for axes in panels)
    assert third.x0 == pytest.approx(second.x0)
    assert first.x0 < second.x0
    assert third.y0 < second.y0
