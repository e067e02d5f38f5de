"""Where tags stand at their boxes."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.rendering.tags import place_tags

SHAPE = (100, 200)


def places(boxes, width=40, **options):
    """Corners of 10-high tags as lists, and which of them fit."""
    boxes = np.array(boxes, float).reshape(-1, 4)
    placed, fits = place_tags(boxes, np.full(len(boxes), width), 10, SHAPE, **options)
    return placed.tolist(), fits.tolist()


def test_no_boxes_have_no_tags():
    assert places([]) == ([], [])


@pytest.mark.parametrize(
    ('box', 'place'),
    [
        ([20, 30, 100, 80], [20, 20, 60, 30]),  # above, on the left
        ([20, 5, 100, 80], [20, 0, 60, 10]),  # cut at the top: moved into the image
        ([180, 30, 199, 80], [160, 20, 200, 30]),
        ([-50, -50, -10, -10], [0, 0, 40, 10]),
        ([500, 500, 600, 600], [160, 90, 200, 100]),
    ],
)
def test_a_lone_tag_stands_above_its_box_within_the_image(box, place):
    assert places([box]) == ([place], [True])


def test_tags_of_one_place_take_its_corners_in_turn():
    placed, fits = places([[20, 30, 120, 80]] * 6)
    assert placed == [
        [20, 20, 60, 30], [80, 20, 120, 30], [20, 80, 60, 90], [80, 80, 120, 90], [20, 30, 60, 40], [80, 70, 120, 80]
    ]  # fmt: skip
    assert all(fits)


def test_a_tag_too_many_covers_the_least_or_takes_no_place():
    crowd = [[20, 30, 120, 80]] * 7 + [[150, 30, 190, 80]]
    placed, fits = places(crowd)
    assert fits == [True] * 6 + [False, True]
    assert placed[6] == [20, 20, 60, 30]
    assert places(crowd, insist=False)[1] == fits


def test_a_tag_that_takes_no_place_leaves_it_to_others():
    small = [[20, 22, 40, 28]]  # would be hidden by the tag above the first box
    boxes = [[20, 30, 60, 40]]
    wide = np.array(boxes * 1 + small, float)
    placed, fits = place_tags(wide, np.array([300.0, 30.0]), 10, SHAPE, insist=False)
    assert fits.tolist() == [False, True]
    assert placed[1].tolist() == [20, 12, 50, 22]


def test_a_tag_hides_no_box():
    placed, fits = places([[20, 30, 100, 80]], others=np.array([[22, 22, 32, 29]], float))
    assert placed == [[60, 20, 100, 30]]
    assert fits == [True]
    half = np.array([[22, 15, 32, 25]], float)  # just half of it
    assert places([[20, 30, 100, 80]], others=half)[0] == [[20, 20, 60, 30]]


def test_tags_that_stand_already_are_kept_clear():
    assert places([[20, 30, 100, 80]], taken=np.array([[0, 20, 30, 30]]))[0] == [[60, 20, 100, 30]]


@pytest.mark.parametrize('width', [201, 1000])
def test_a_tag_that_is_wider_than_the_image_is_cut_and_does_not_fit(width):
    assert places([[20, 30, 100, 80]], width) == ([[0, 20, 200, 30]], [False])
