from __future__ import annotations

import numpy as np

from featmap.geometry import View
from featmap.rendering.marked import ASKED, Marked, color_for, draw_marked, others
from featmap.structures import Detections
from tests.explanation_helpers import FOUND, SHAPE

GREY = np.full((*SHAPE, 3), 128, np.uint8)


def test_nothing_marked_is_the_picture_itself():
    view = View.of(SHAPE, None)
    drawn = draw_marked(GREY, Marked(), None, view)
    np.testing.assert_array_equal(drawn, GREY)
    assert drawn is not GREY


def test_a_bold_box_has_the_color_of_its_class_where_nothing_else_was_found():
    none = Detections(classes=('cat', 'dog'), palette=((250, 10, 10), (20, 250, 20)))
    assert len(none) == 0
    assert color_for(none, 1) == (20, 250, 20)


def test_a_bold_box_is_drawn_around_what_is_in_it():
    marked = Marked(np.array([[40, 20, 80, 60]], np.float32), (), np.array([-1]))
    drawn = draw_marked(GREY, marked, None, View.of(SHAPE, None))
    assert (drawn[21:60, 41:80] == 128).all()
    assert (drawn[40, 40] == ASKED).all()
    assert (drawn[40, 37] == 0).all()


def test_a_small_box_has_a_thin_line():
    marked = Marked(np.array([[40, 20, 44, 24]], np.float32), (), np.array([-1]))
    drawn = draw_marked(GREY, marked, None, View.of(SHAPE, None))
    assert (drawn[22, 36] == 128).all()
    assert (drawn[22, 38] == 0).all()


def test_the_others_are_those_that_are_not_marked():
    rest = others(FOUND, (1,))
    np.testing.assert_array_equal(rest.boxes, FOUND.boxes[[0, 2]])
    assert rest.classes == FOUND.classes
    assert rest.masks is None
    assert len(others(Detections(), ())) == 0


def test_a_class_has_its_colour_and_what_was_asked_for_is_white():
    assert color_for(FOUND, 0) != color_for(FOUND, 1)
    assert color_for(None, -1) == ASKED


def test_what_lies_outside_of_the_view_is_left_out():
    view = View(SHAPE, (0, 0, 30, 20), (20, 30))
    marked = Marked(np.array([[70, 30, 110, 70]], np.float32), ('2 cat',), np.array([0]))
    picture = np.full((20, 30, 3), 128, np.uint8)
    np.testing.assert_array_equal(draw_marked(picture, marked, None, view), picture)


def test_a_box_that_nobody_found_is_dashed_black_and_white():
    drawn = draw_marked(GREY, Marked(asked=(20, 10, 100, 70)), None, View.of(SHAPE, None))
    top = drawn[10, 20:100].mean(axis=1)
    assert set(top) == {0, 255}
    assert (drawn[11:70, 21:100] == 128).all()


def test_a_region_of_one_pixel_is_a_place_and_is_marked_as_one():
    region = np.zeros(SHAPE, bool)
    region[40, 60] = True
    assert Marked(region=region).pixel == (60.5, 40.5)
    drawn = draw_marked(GREY, Marked(region=region), None, View.of(SHAPE, None))
    rows, columns = np.nonzero((drawn != 128).any(axis=2))
    assert (rows.min(), rows.max()) == (80 - rows.max(), rows.max())  # a ring around its middle
    assert rows.max() - rows.min() >= 6
    assert columns.min() < 60 < columns.max()
    region[40, 61] = True
    assert Marked(region=region).pixel is None
