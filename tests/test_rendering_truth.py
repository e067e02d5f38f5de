"""Found, missed and false, told apart by dash, brightness and words."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.geometry import View
from featmap.matching import match
from featmap.rendering.truth import FALSE, FOUND, IGNORED, MISSED, draw_match
from featmap.structures import Detections, GroundTruth

SMALL = np.full((90, 90, 3), 128, np.uint8)  # too small for tags
FOUND_BOX, MISSED_BOX, FALSE_BOX, CROWD_BOX = (10, 10, 35, 35), (50, 10, 75, 35), (10, 50, 35, 75), (50, 50, 75, 75)


def matched(scale: float = 1):
    truth = GroundTruth(
        np.array([FOUND_BOX, MISSED_BOX, CROWD_BOX], np.float32) * scale,
        np.zeros(3, np.int64),
        np.array([False, False, True]),
        np.zeros(3, bool),
    )
    shifted = np.add(FOUND_BOX, 2)
    detections = Detections(
        np.array([shifted, FALSE_BOX], np.float32) * scale, np.array([0.9, 0.5]), np.zeros(2, np.int64), ('dog',)
    )
    return match(detections, truth)


def share(picture: np.ndarray, box: tuple[int, ...], color: tuple[int, int, int]) -> float:
    """How much of a box's top line is of a colour."""
    left, top, right, _ = box
    return float((picture[top, left : right + 1] == color).all(axis=-1).mean())


def test_each_has_a_line_of_its_own():
    before = SMALL.copy()
    picture = draw_match(SMALL, matched())
    np.testing.assert_array_equal(SMALL, before)
    assert picture.shape == SMALL.shape
    assert picture.dtype == np.uint8
    assert share(picture, FOUND_BOX, FOUND.color) > 0.9  # solid, and where the ground truth is
    assert 0.4 < share(picture, MISSED_BOX, MISSED.color) < 0.9  # dashed
    assert 0.1 < share(picture, FALSE_BOX, FALSE.color) < 0.6  # dotted
    assert 0.05 < share(picture, CROWD_BOX, IGNORED.color) < 0.5
    for left, top, right, bottom in (FOUND_BOX, MISSED_BOX, FALSE_BOX, CROWD_BOX):  # corners are closed
        for x, y in ((left, top), (right, top), (left, bottom), (right, bottom)):
            assert (picture[y, x] != 128).any()
    assert (picture[20:30, 15:30] == 128).all()  # nothing inside, and no detection that found something
    assert (picture[40:45] == 128).all()


def test_lines_differ_in_brightness_too():
    luma = sorted(np.dot(style.color, (0.299, 0.587, 0.114)) for style in (FOUND, MISSED, FALSE))
    assert min(np.diff(luma)) > 20
    assert len({style.dash for style in (FOUND, MISSED, FALSE, IGNORED)}) == 4


def test_tags_are_on_large_pictures():
    large = np.full((360, 360, 3), 128, np.uint8)
    bare = draw_match(SMALL, matched())
    assert (bare[:8] == 128).all()
    picture = draw_match(large, matched(4))
    for style, (left, top, _, _) in ((FOUND, FOUND_BOX), (MISSED, MISSED_BOX), (FALSE, FALSE_BOX)):
        above = picture[top * 4 - 12 : top * 4 - 5, left * 4 : left * 4 + 30]
        assert (above == style.color).all(axis=-1).mean() > 0.3


@pytest.mark.parametrize('scale', [1, 3])
def test_a_window_of_the_original(scale):
    """The upper left quarter, at another size: the found box alone is there, where the view has it."""
    view = View((90, 90), (0, 0, 45, 45), (45 * scale, 45 * scale))
    picture = draw_match(np.full((*view.shape, 3), 128, np.uint8), matched(), view)
    assert share(picture, tuple(scale * edge for edge in FOUND_BOX), FOUND.color) > 0.9
    for style in (MISSED, FALSE, IGNORED):
        assert not (picture == style.color).all(axis=-1).any()


def test_nothing_to_draw():
    empty = match(Detections(), GroundTruth())
    np.testing.assert_array_equal(draw_match(SMALL, empty), SMALL)
    large = np.full((200, 300, 3), 9, np.uint8)
    np.testing.assert_array_equal(draw_match(large, empty), large)


@pytest.mark.parametrize('box', [(-20, -20, 300, 300), (5, 5, 5, 5), (5, 5, 6, 60), (88, 88, 95, 95)])
def test_awkward_boxes(box):
    truth = GroundTruth(np.array([box], np.float32), np.zeros(1, np.int64), np.zeros(1, bool), np.zeros(1, bool))
    assert draw_match(SMALL, match(Detections(), truth)).shape == SMALL.shape
