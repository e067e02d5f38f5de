"""Instance masks and segments in a figure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch, Rectangle

from featmap.masks import Masks, Segments
from featmap.rendering.boxes import bright
from featmap.structures import Detections
from tests.figure_helpers import axes_of, outputs, texts

SHAPE = (32, 48)
GREEN, DARK = (0, 160, 40), (0, 0, 120)
RING = np.zeros(SHAPE, bool)
RING[8:24, 10:30] = True
RING[12:20, 15:25] = False
FOUND = Detections(
    np.array([[10, 8, 30, 24], [34, 4, 44, 12]], np.float32), np.array([0.9, 0.6], np.float32), np.array([0, 1]),
    ('cat', 'dog'), (GREEN, DARK), Masks.of([RING, np.zeros(SHAPE, bool)], SHAPE), kind='instance',
)  # fmt: skip
NUMBERS = np.repeat(np.array([[1, 1, 2, 0]], np.uint8), 12, axis=1).repeat(32, axis=0)
PARTS = Detections(
    classes=('sky', 'cat'), palette=(GREEN, DARK), segments=Segments(NUMBERS, (0, 1), 'semantic'), kind=''
)


def patches(axes, kind) -> list:
    return [patch for patch in axes.patches if type(patch) is kind and patch.get_linewidth() > 0]


def test_a_mask_is_filled_on_the_image_and_outlined_on_panels(draw):
    figure = draw(outputs(2), FOUND)
    (image,), panels = axes_of(figure, 'image'), axes_of(figure, 'panel')
    for axes, color in [(image, GREEN), *((panel, bright(GREEN)) for panel in panels)]:
        (mask,) = patches(axes, PathPatch)  # the empty one has none
        assert np.round(np.array(to_rgb(mask.get_edgecolor())) * 255).tolist() == list(color)
        inside = [mask.get_path().contains_point(point) for point in [(12, 10), (28, 22), (40, 28)]]
        assert inside == [True, True, False]
        corners = mask.get_path().get_extents()
        assert np.abs(corners.get_points() - [[10.5, 8.5], [29.5, 23.5]]).max() < 0.2
    assert patches(image, PathPatch)[0].get_facecolor()[3] == pytest.approx(0.35)
    assert patches(panels[0], PathPatch)[0].get_facecolor()[3] == 0
    assert patches(image, Rectangle)
    assert not patches(panels[0], Rectangle)  # the contour tells more than the box


def test_boxes_around_masks_that_are_not_the_models_are_not_drawn(draw):
    figure = draw(outputs(1), dataclasses.replace(FOUND, boxed=False))
    assert not patches(axes_of(figure, 'image')[0], Rectangle)
    assert [text.get_text() for text in axes_of(figure, 'image')[0].texts] == ['cat 0.90', 'dog 0.60']


def test_segments_are_coloured_on_the_image_and_bordered_on_panels(draw):
    figure = draw(outputs(1), PARTS)
    over = [axes_of(figure, label)[0].images[1] for label in ('image', 'panel')]
    for picture, middle in zip(over, (128, 0)):
        colors = np.asarray(picture.get_array())
        assert tuple(picture.get_extent()) == (0, 48, 32, 0)
        rows, columns = colors.shape[:2]
        assert colors[rows // 2, columns // 4, 3] == middle
        assert colors[rows // 2, columns * 5 // 8, 3] == middle
        assert not colors[:, columns * 7 // 8 :, 3].any()
        assert (colors[rows // 2, columns // 2 - 1 : columns // 2 + 1, 3] == 255).all()
    assert np.asarray(over[0].get_array())[2, 2, :3].tolist() == list(GREEN)
    seam = np.asarray(over[1].get_array())
    assert seam[5, seam.shape[1] // 2].tolist() == [*bright(DARK), 255]


def test_the_legend_names_classes_by_their_colours(draw):
    figure = draw(outputs(1), PARTS)
    said = texts(figure)
    assert any('2 classes' in text for text in said)
    assert [text for text in said if '%' in text] == ['sky, 50%', 'cat, 25%']
    plates = [np.round(np.array(to_rgb(patch.get_facecolor())) * 255).tolist() for patch in figure.artists]
    assert plates[-2:] == [list(GREEN), list(DARK)]


@pytest.mark.parametrize('found', [FOUND, PARTS], ids=['masks', 'segments'])
def test_a_window_shows_its_part(draw, found):
    figure = draw(outputs(1), found, crop=(24, 0, 48, 32))
    axes = axes_of(figure, 'image')[0]
    assert axes.get_xlim() == (24, 48)
    if found is PARTS:
        assert [text for text in texts(figure) if '%' in text] == ['cat, 50%']
