"""Large photographs, crops, backgrounds and cells, as the visualizer draws them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featmap.errors import DrawError, OptionError
from featmap.geometry import ImageGeometry, View
from featmap.masks import Masks, Segments
from featmap.rendering.boxes import draw_boxes
from featmap.rendering.colors import categories, faded
from featmap.structures import Detections
from featmap.visualizer import FeatMapVisualizer
from tests.visualizer_helpers import RAMP, feature_map, photo

BOXES = Detections(
    np.array([[20, 20, 60, 40], [100, 60, 110, 70]], np.float32),
    np.array([0.9, 0.8], np.float32),
    np.array([0, 1]),
    ('cat', 'dog'),
)


def parts(rendering):
    return [rendering.image[p.y : p.y + p.height, p.x : p.x + p.width] for p in rendering.panels]


def over(image: np.ndarray, **fields):
    return feature_map(RAMP, geometry=ImageGeometry.whole(image.shape[:2]), **fields)


def test_a_large_image_is_drawn_at_the_panels_size():
    image = photo(300, 400)
    rendering = FeatMapVisualizer(panel_size=200, colormap='jet').draw_maps(image, [over(image)], BOXES)
    assert [(panel.width, panel.height) for panel in rendering.panels] == [(200, 150)] * 2
    view = View.of((300, 400), 200)
    small = Detections(BOXES.boxes / 2, BOXES.scores, BOXES.labels, BOXES.classes)
    np.testing.assert_array_equal(parts(rendering)[0], draw_boxes(view.picture(image), small))
    full = FeatMapVisualizer(panel_size='full').draw_maps(image, [over(image)])
    assert (full.panels[0].width, full.panels[0].height) == (400, 300)


def test_the_default_panel_is_at_most_1280_pixels_long():
    image = np.zeros((30, 1500, 3), np.uint8)
    assert FeatMapVisualizer().draw_maps(image, [over(image)]).panels[1].width == 1280


def test_a_crop_zooms_the_image_the_map_and_the_boxes():
    image = photo(120, 160)
    rendering = FeatMapVisualizer(crop='90,50,120,80', panel_size=60).draw_maps(image, [over(image)], BOXES)
    assert [(panel.width, panel.height) for panel in rendering.panels] == [(60, 60)] * 2
    view = View.of((120, 160), 60, (90, 50, 120, 80))
    seen = Detections(np.array([[20, 20, 40, 40]], np.float32), BOXES.scores[1:], BOXES.labels[1:], BOXES.classes)
    np.testing.assert_array_equal(parts(rendering)[0], draw_boxes(view.picture(image), seen))
    # All are counted, and how many of them are in sight.
    assert rendering.panels[0].label == 'image · 160×120 · crop 90,50 – 120,80, ×2 · 1 of 2 detections'


def test_each_concept_is_framed_in_its_colour_of_the_panel_of_all():
    image = photo(120, 160)
    item = over(image)
    item = replace(
        item, values=np.stack([item.values[0], 9 - item.values[0]]), kind='concepts', channels=(), names=('a', 'b')
    )
    rendering = FeatMapVisualizer().draw_maps(image, [item])
    frames = [rendering.image[panel.y - 1, panel.x + 5].tolist() for panel in rendering.panels]
    assert frames == [[255] * 3, *categories(2).tolist(), [255] * 3]


def test_a_crop_follows_a_detection():
    image = photo(120, 160)
    rendering = FeatMapVisualizer(crop='box:1:0').draw_maps(image, [over(image)], BOXES)
    assert 'box:1 100,60 – 110,70, ×64' in rendering.panels[0].label
    assert rendering.panels[0].width == 640
    with pytest.raises(DrawError, match='only box:0 to box:1'):
        FeatMapVisualizer(crop='box:2').draw_maps(image, [over(image)], BOXES)


def test_the_range_is_that_of_the_whole_map():
    image = photo(120, 160)
    whole, part = (
        FeatMapVisualizer(crop=crop).draw_maps(image, [over(image)]).panels[1].label for crop in (None, '0,0,20,20')
    )
    assert whole == part
    assert whole.endswith(' · 0 … 3')


def test_pages_of_many_channels_are_cropped_too():
    image = photo(120, 160)
    item = feature_map(np.zeros((70, 4, 4)) + np.arange(4), geometry=ImageGeometry.whole((120, 160)))
    pages = FeatMapVisualizer(crop='box:0:0').draw_sheets(image, [item], BOXES)
    assert len(pages) == 2
    assert (pages[0].panels[5].width, pages[0].panels[5].height) == (320, 160)


@pytest.mark.parametrize(
    ('options', 'grey'),
    [({}, False), ({'symmetric': True}, True), ({'colormap': 'viridis'}, True), ({'colormap': 'turbo'}, False),
     ({'symmetric': True, 'background': 'image'}, False), ({'background': 'grey'}, True)],
)  # fmt: skip
def test_the_background_by_default_goes_with_the_colour_map(options, grey):
    image = photo(32, 32)
    panels = parts(FeatMapVisualizer(alpha=0.0, **options).draw_maps(image, [over(image)]))
    np.testing.assert_array_equal(panels[0], image)  # the original stays as it is
    np.testing.assert_array_equal(panels[1], faded(image) if grey else image)


@pytest.mark.parametrize(
    ('options', 'alpha'),
    [({}, 0.5), ({'symmetric': True}, 0.7), ({'symmetric': True, 'alpha': 0.5}, 0.5), ({'background': 'grey'}, 0.7),
     ({'symmetric': True, 'background': 'image'}, 0.5), ({'alpha': 0.0}, 0.0)],
)  # fmt: skip
def test_the_opacity_by_default_goes_with_the_background(options, alpha):
    assert FeatMapVisualizer(**options).look.alpha == alpha


def test_the_bar_has_the_panels_colours():
    image = np.full((240, 320, 3), 90, np.uint8)
    rendering = FeatMapVisualizer(colorbar=True).draw_maps(image, [over(image)])
    panel = rendering.panels[1]
    bar = rendering.image[panel.y + panel.height :, panel.x : panel.x + panel.width].reshape(-1, 3)
    shown = np.unique(parts(rendering)[1].reshape(-1, 3), axis=0)
    found = {tuple(pixel) for pixel in bar.tolist()}
    assert sum(tuple(pixel) in found for pixel in shown.tolist()) > 0.9 * len(shown)


@pytest.mark.parametrize(
    ('geometry', 'text'),
    [
        (ImageGeometry((1080, 1920), (384, 640), (1 / 3, 1 / 3), (0, 12)), '1920×1080 → 640×360, ×0.33'),
        (ImageGeometry((60, 40), (90, 120), (3.0, 1.5)), '40×60 → 120×90, ×3.00 wide, ×1.50 high'),
        (ImageGeometry((6000, 8000), (64, 64), (0.0078, 0.0078)), '8000×6000 → 62×47, ×0.0078'),
        (ImageGeometry.whole((48, 64)), '64×48'),
    ],
)
def test_the_label_says_what_the_network_got(geometry, text):
    image = np.zeros((*geometry.image_shape, 3), np.uint8)
    item = feature_map(RAMP, geometry=geometry)
    assert FeatMapVisualizer().draw_maps(image, [item], title='dog').panels[0].label == f'dog · {text}'


def test_cells_and_their_borders():
    image = np.zeros((32, 32, 3), np.uint8)
    item = feature_map(np.arange(16).reshape(4, 4))
    smooth, cells, grid = (
        parts(FeatMapVisualizer(alpha=1, **options).draw_maps(image, [item]))[1]
        for options in ({}, {'interpolation': 'nearest'}, {'interpolation': 'nearest', 'grid': True})
    )
    assert (cells[:8, :8] == cells[0, 0]).all()
    assert not (smooth[:8, :8] == smooth[0, 0]).all()
    assert (grid[8] != cells[8]).any(axis=-1).all()
    label = FeatMapVisualizer(grid=True).draw_maps(image, [item]).panels[1].label
    assert ' · stride 8 = 8 px of the image · ' in label


@pytest.mark.parametrize(
    'options', [{'background': 'gray'}, {'interpolation': 'cubic'}, {'crop': 'box'}, {'panel_size': 3}]
)
def test_options_that_are_none(options):
    (name,) = options
    with pytest.raises(OptionError, match=f'^{name}=.*expected'):
        FeatMapVisualizer(**options)


def test_masks_and_segments_are_zoomed_too():
    instances = np.zeros((2, 120, 160), bool)
    instances[0, 20:40, 20:60] = True
    instances[1, 60:70, 100:110] = True
    classes = np.zeros((120, 160), int)
    classes[:, 105:] = 1
    masks, segments = Masks.of(instances, (120, 160)), Segments.of(classes, lambda numbers: numbers, 'semantic')
    seen = replace(BOXES, masks=masks, segments=segments).seen(View.of((120, 160), 60, (90, 50, 120, 80)))
    assert (len(seen), len(seen.masks), seen.labels.tolist()) == (1, 1, [1])
    np.testing.assert_array_equal(seen.masks.whole(0), instances[1, 50:80, 90:120].repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(seen.segments.numbers == 2, classes[50:80, 90:120].repeat(2, 0).repeat(2, 1) == 1)
    whole = replace(BOXES, masks=masks, segments=segments).seen(View.of((120, 160)))
    assert whole.masks is masks
    assert whole.segments is segments
