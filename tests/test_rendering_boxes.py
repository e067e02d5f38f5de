"""Detections drawn as boxes with tags."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.rendering.boxes import class_color, draw_boxes, line_width, tag_size
from featmap.structures import Detections


def canvas(height: int = 480, width: int = 640) -> np.ndarray:
    return np.full((height, width, 3), 60, np.uint8)


def boxes(*rows, labels=None, scores=None) -> Detections:
    return Detections(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array(scores or [0.9] * len(rows), np.float32),
        np.array(labels or [0] * len(rows), np.int64),
        ('cat', 'dog'),
    )


def is_color(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    """Lines are smoothed, so their colour is not exact."""
    return bool(np.abs(pixel.astype(int) - color).max() <= 25)


def test_class_colours_are_bright_and_differ():
    assert class_color(0) == (242, 196, 36)
    assert len({class_color(label) for label in range(80)}) == 80
    assert all(max(class_color(label)) == 242 for label in range(80))


@pytest.mark.parametrize(('shape', 'width'), [((14, 20), 1), ((480, 640), 2), ((720, 1280, 3), 3), ((2160, 3840), 9)])
def test_line_width(shape, width):
    assert line_width(shape) == width


def test_boxes_are_drawn_in_rgb_where_they_are():
    image = canvas()
    drawn = draw_boxes(image, boxes([100, 200, 300, 400]), tags=False)
    for y, x in [(300, 100), (300, 300), (200, 200), (400, 200)]:
        assert is_color(drawn[y, x], (242, 196, 36))
    assert (drawn[210:390, 110:290] == 60).all()
    assert (drawn[:190] == 60).all()
    assert (drawn[410:] == 60).all()
    assert (drawn[:, :90] == 60).all()
    assert (drawn[:, 310:] == 60).all()
    assert (image == 60).all()


def test_a_tag_stands_above_its_box():
    drawn = draw_boxes(canvas(), boxes([100, 200, 300, 400], labels=[1]))
    plate = (drawn[150:199, 90:310] == class_color(1)).all(-1)
    assert plate.sum() > 200
    assert (drawn[150:199, 90:310] != drawn[150, 90]).any()
    assert (drawn[:150] == 60).all()
    without = draw_boxes(canvas(), boxes([100, 200, 300, 400], labels=[1]), tags=False)
    assert (without[150:190] == 60).all()


def test_the_name_of_a_class_and_its_number_where_it_has_none():
    found = boxes([0, 0, 1, 1], [0, 0, 1, 1], labels=[1, 7])
    assert (found.name(0), found.name(1)) == ('dog', '7')


@pytest.mark.parametrize('tags', [True, False])
def test_no_detections_change_nothing(tags):
    image = canvas(20, 30)
    drawn = draw_boxes(image, Detections(), tags)
    np.testing.assert_array_equal(drawn, image)
    assert drawn is not image
    assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize(
    'box',
    [
        [-50, -40, 60, 70],
        [600, 440, 900, 900],
        [-100, -100, 1000, 1000],
        [-300, 10, -200, 60],
        [700, 500, 800, 600],
        [50, 60, 50, 60],
        [1e6, 1e6, 2e6, 2e6],
    ],
)
def test_boxes_that_reach_out_of_the_image_are_cut(box):
    drawn = draw_boxes(canvas(), boxes(box))
    assert (drawn.shape, drawn.dtype) == ((480, 640, 3), np.uint8)
    left, top, right, bottom = box
    if left <= 60 <= right and top < 0 < bottom < 480:
        assert is_color(drawn[bottom, 30], (242, 196, 36))
        assert is_color(drawn[30, right], (242, 196, 36))


@pytest.mark.parametrize('shape', [(14, 20), (1, 1), (2, 300), (300, 2)])
def test_tags_fit_tiny_images(shape):
    assert draw_boxes(canvas(*shape), boxes([0, 0, *shape[::-1]])).shape == (*shape, 3)


@pytest.mark.parametrize('count', [2, 3])
def test_tags_of_boxes_in_one_place_do_not_cover_each_other(count):
    labels = list(range(count))
    alone = [draw_boxes(canvas(), boxes([100, 200, 400, 400], labels=[label])) for label in labels]
    places = [[100, 200, 400, 400]] * count
    drawn = draw_boxes(canvas(), boxes(*places, labels=labels, scores=[0.9 - label / 10 for label in labels]))
    for label, one in zip(labels, alone):
        plate = (one == class_color(label)).all(-1)[:198].sum()
        above, below = ((drawn == class_color(label)).all(-1)[rows].sum() for rows in (slice(198), slice(402, None)))
        # The upper corners first: left for the best, right for the next.
        assert (above, below) == (
            (pytest.approx(plate, rel=0.1), 0) if label < 2 else (0, pytest.approx(plate, rel=0.3))
        )


@pytest.mark.parametrize(
    ('shape', 'tagged'), [((96, 1280), True), ((1280, 96), True), ((70, 90), False), ((30, 900), False)]
)
def test_a_panorama_has_tags_and_a_thumbnail_none(shape, tagged):
    box = [20, shape[0] // 2, 40, shape[0] - 4]
    drawn = draw_boxes(canvas(*shape), boxes(box))
    plate = (drawn[: box[1] - 4] == class_color(0)).all(-1).sum()
    assert (plate > 100) == tagged


@pytest.mark.parametrize(
    ('shape', 'size'), [((640, 1024), 15), ((1280, 1280), 20), ((3000, 4000), 45), ((120, 160), 9)]
)
def test_tags_are_as_large_as_the_panel_is_seen(shape, size):
    assert tag_size(shape) == size


def test_a_thin_line_leaves_free_what_is_in_a_small_box():
    drawn = draw_boxes(canvas(), boxes([100, 200, 109, 209]))
    assert (drawn[202:208, 102:108] == 60).all()
    assert is_color(drawn[204, 100], class_color(0))
    assert is_color(drawn[204, 109], class_color(0))
    assert (drawn[204, [99, 110]] > 200).all()


def test_where_tags_have_no_room_the_best_can_be_read():
    crowd = [[100 + 3 * shift, 200, 220 + 3 * shift, 260] for shift in range(12)]
    drawn = draw_boxes(canvas(), boxes(*crowd, labels=[1] + [0] * 11, scores=[0.95] + [0.5] * 11))
    alone = draw_boxes(canvas(), boxes(crowd[0], labels=[1], scores=[0.95]))
    plate = (alone[:198] == class_color(1)).all(-1)
    assert plate.sum() > 200
    np.testing.assert_array_equal(drawn[:198][plate], alone[:198][plate])


def test_the_best_box_lies_on_top():
    place = [100, 200, 300, 400]
    for scores, best in (([0.4, 0.9], 1), ([0.9, 0.4], 0)):
        drawn = draw_boxes(canvas(), boxes(place, place, labels=[0, 1], scores=scores), tags=False)
        assert is_color(drawn[300, 100], class_color(best))


def test_an_image_that_is_not_contiguous():
    image = canvas()[:, ::-1]
    assert is_color(draw_boxes(image, boxes([100, 200, 300, 400]), tags=False)[300, 100], (242, 196, 36))
