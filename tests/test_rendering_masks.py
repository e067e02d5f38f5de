"""Masks and segments over a picture, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.masks import Masks, Segments
from featmap.rendering.boxes import bright, class_color, color_of, draw_boxes
from featmap.rendering.masks import contours, draw_results
from featmap.structures import Detections

RED, BLUE = (200, 20, 20), (0, 0, 120)
GREY = np.full((240, 320, 3), 100, np.uint8)
NEAR = 25  # lines are smoothed


def disc(y: int, x: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:240, :320]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


RING = disc(120, 160, 60) & ~disc(120, 160, 30)


def found(*masks: np.ndarray, scores: tuple[float, ...] = (), **fields) -> Detections:
    kept = Masks.of(masks, (240, 320))
    return Detections(
        kept.windows.astype(np.float32),
        np.array(scores or [0.9] * len(masks), np.float32),
        np.arange(len(masks)),
        ('a', 'b', 'c'),
        **{'masks': kept, 'kind': 'instance', 'palette': (RED, BLUE), **fields},
    )


def off(pixels: np.ndarray, color) -> np.ndarray:
    """How far from a colour, at most over RGB."""
    return np.abs(pixels.astype(int) - np.array(color)).max(axis=-1)


def test_a_mask_is_lightly_filled_and_its_holes_are_not():
    drawn = draw_results(GREY, found(RING, boxed=False))
    inside = disc(120, 160, 54) & ~disc(120, 160, 36)
    inside[:, 110:150] = False  # the tag stands somewhere there
    assert (drawn[inside] == np.round(np.array(GREY[0, 0]) * 0.65 + np.array(RED) * 0.35)).all()
    assert (drawn[disc(120, 160, 24)] == 100).all()
    assert (drawn[200:] == 100).all()


@pytest.mark.parametrize('radius', [59, 30])
def test_both_outlines_are_lines_of_the_class_colour(radius):
    for full in (True, False):
        drawn = draw_results(GREY, found(RING, boxed=False), full)
        line = (off(drawn, RED if full else bright(RED)) <= NEAR) & (
            disc(120, 160, radius + 3) & ~disc(120, 160, radius - 3)
        )
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        for angle in angles[2:6]:  # below, where no tag stands
            y, x = 120 + radius * np.sin(angle), 160 + radius * np.cos(angle)
            assert line[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].any()


def test_a_panel_has_contours_alone():
    drawn = draw_results(GREY, found(RING), full=False)
    assert (drawn[disc(120, 160, 54) & ~disc(120, 160, 36)] == 100).all()
    changed = (drawn != GREY).any(axis=-1)
    assert changed.any()
    assert not changed[:, :98].any()  # nor a box, nor a tag
    assert not changed[60:64, 98:120].any()


def test_boxes_of_the_model_are_drawn_on_the_image_and_boxes_around_masks_are_not():
    corner = (slice(58, 62), slice(218, 222))
    assert (off(draw_results(GREY, found(RING))[corner], RED) <= NEAR).any()
    assert (draw_results(GREY, found(RING, boxed=False))[corner] == 100).all()


def test_the_best_is_on_top_and_the_image_is_left_alone():
    two = found(disc(120, 140, 50), disc(120, 180, 50), scores=(0.9, 0.5), boxed=False)
    drawn = draw_results(GREY, two)
    filled = 100 * 0.65 + np.array(BLUE) * 0.35
    assert off(drawn[120, 160], np.array(filled) * 0.65 + np.array(RED) * 0.35) <= 2
    edge = off(drawn[118:123, 187:192], RED)  # the better one's outline runs over the other's fill
    assert edge.min() <= NEAR
    assert (GREY == 100).all()


def test_empty_masks_change_nothing():
    empty = found(np.zeros((240, 320), bool), boxed=False)
    assert (draw_results(GREY, empty, full=False) == GREY).all()
    assert contours(np.zeros((3, 3), bool)) == []


def test_detections_without_masks_are_drawn_as_boxes():
    plain = found(RING, masks=None)
    np.testing.assert_array_equal(draw_results(GREY, plain), draw_boxes(GREY, plain))
    np.testing.assert_array_equal(draw_results(GREY, plain, full=False), draw_boxes(GREY, plain, tags=False))


NUMBERS = np.zeros((240, 320), np.uint8)
NUMBERS[:120], NUMBERS[120:200, :160], NUMBERS[120:200, 160:] = 1, 2, 3
PARTS = Detections(
    classes=('sky', 'cat'), palette=((10, 200, 10), RED), segments=Segments(NUMBERS, (0, 1, 1), 'panoptic'), kind=''
)


def test_segments_are_filled_with_the_colours_of_their_classes():
    drawn = draw_results(GREY, PARTS)
    assert (drawn[20:100, 20:300] == (55, 150, 55)).all()
    assert (drawn[140:180, 20:140] == (150, 60, 60)).all()
    assert (drawn[140:180, 180:300] == (150, 60, 60)).all()
    assert (drawn[220:] == 100).all()
    assert (drawn[140:180, 159:161] == RED).all()  # two of one class are told apart
    assert (drawn[:100, :3] == (55, 150, 55)).all()  # the picture's edge is none of a segment


def test_panels_show_the_borders_of_segments_alone():
    drawn = draw_results(GREY, PARTS, full=False)
    assert (drawn[20:100] == 100).all()
    assert (drawn[119, 20] == bright((10, 200, 10))).all()
    assert (drawn[120, 20] == bright(RED)).all()
    assert (drawn[140:180, 20:140] == 100).all()
    assert (drawn[205:] == 100).all()


def test_a_class_colour_is_the_palettes_where_it_has_one():
    one = found(RING)
    assert color_of(one, 1) == BLUE
    assert color_of(one, 2) == class_color(2)
    assert color_of(Detections(), 0) == class_color(0)


@pytest.mark.parametrize(
    ('color', 'seen'),
    [(BLUE, (36, 36, 242)), ((0, 0, 0), (242, 242, 242)), ((242, 196, 36), (242, 196, 36)), ((255, 0, 0), (255, 0, 0))],
)
def test_dark_colours_are_lit_up_for_thin_lines(color, seen):
    assert bright(color) == seen


def test_boxes_of_a_palette_are_bright_on_panels():
    plain = found(RING, masks=None, palette=(BLUE,))
    line = draw_results(GREY, plain, full=False)[100, 98:103]
    assert off(line, (36, 36, 242)).min() <= NEAR
    assert off(draw_results(GREY, plain)[170, 98:103], BLUE).min() <= NEAR
