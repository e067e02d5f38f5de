"""Classes at the boxes of a figure, and the legend of those that have no room there."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from featmap.rendering.boxes import class_color
from featmap.structures import Detections
from tests.figure_helpers import axes_of, fmap, outputs, texts
from tests.test_figure_layout import overlap_nowhere


def found(*boxes, scores=None, labels=None) -> Detections:
    return Detections(
        np.array(boxes, np.float32),
        np.array(scores or np.linspace(0.9, 0.3, len(boxes)), np.float32),
        np.array(labels or [0] * len(boxes)),
        ('cat', 'dog'),
    )


def tags(figure: Figure) -> list[str]:
    return [text.get_text() for text in axes_of(figure, 'image')[0].texts]


def legend(figure: Figure) -> list[tuple[str, str]]:
    """Numbers and what they stand for."""
    said = texts(figure)
    return [(number, said[index + 1]) for index, number in enumerate(said[:-1]) if number.isdigit()]


def crowd(count: int, shape=(320, 480)) -> Detections:
    """Boxes of all sizes all over an image."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.9, (count, 2)) * shape[::-1]
    boxes = np.hstack([corners, np.minimum(corners + rng.uniform(10, 80, (count, 2)), shape[::-1])])
    return found(*boxes, labels=[0, 1] * (count // 2))


def test_classes_stand_at_their_boxes_where_they_fit(draw):
    figure = draw(outputs(1), found([4, 12, 20, 30], [26, 12, 40, 30], labels=[0, 1]))
    assert tags(figure) == ['cat 0.90', 'dog 0.30']
    assert legend(figure) == []


def test_what_does_not_fit_is_numbered_and_listed(draw):
    boxes = [[4, 12, 20, 30]] * 12 + [[30, 12, 46, 30]]
    figure = draw(outputs(3), found(*boxes))
    assert tags(figure) == [str(number + 1) for number in range(13)]
    assert [number for number, _ in legend(figure)] == tags(figure)
    assert legend(figure)[0] == ('1', 'cat 0.90')
    assert legend(figure)[-1] == ('13', 'cat 0.30')


def test_one_that_does_not_fit_leaves_the_others_their_names(draw):
    # At any corner the tags of two small boxes would be over others.
    boxes = [[10, 60, 60, 110], [100, 60, 150, 110], [180, 60, 230, 110], [10, 200, 60, 250]]
    boxes += [[28, 65, 32, 69], [30, 66, 34, 70], [26, 66, 29, 70]]
    image = np.zeros((320, 480, 3), np.uint8)
    figure = draw([fmap(shape=(320, 480))], found(*boxes), image, width=2.6)
    named = [tag for tag in tags(figure) if tag.startswith('cat')]
    assert 0 < len(legend(figure)) < len(named)
    assert len(named) + len(legend(figure)) == 7


@pytest.mark.parametrize('width', [7.0, 3.4])
@pytest.mark.parametrize('count', [2, 40, 100])
def test_every_box_has_its_class_in_a_crowd(draw, count, width):
    detections = crowd(count)
    image = np.zeros((320, 480, 3), np.uint8)
    figure = draw(outputs(3, shape=(320, 480)), detections, image, width=width)
    listed = dict(legend(figure))
    told = sorted(listed.get(tag, tag) for tag in tags(figure))
    assert told == sorted(f'{detections.name(n)} {detections.scores[n]:.2f}' for n in range(count))
    overlap_nowhere(figure)


def test_a_number_has_the_colour_of_its_class_at_the_box_and_in_the_legend(draw):
    figure = draw(outputs(3), found(*[[4, 12, 20, 30]] * 8, labels=[1] * 8))
    (corner,) = axes_of(figure, 'image')
    color = np.array(class_color(1)) / 255
    for plates in (figure.artists, [patch for patch in corner.patches if patch.get_fill()]):
        assert len(plates) == 8
        assert all(np.allclose(plate.get_facecolor()[:3], color) for plate in plates)


def test_the_legend_takes_the_room_under_the_image_before_it_makes_the_figure_higher(draw):
    crowded = found(*[[4, 12, 20, 30]] * 5)
    image = np.zeros((320, 480, 3), np.uint8)

    def height(maps, detections):
        return draw(maps, detections, image).get_size_inches()[1]

    one, two = outputs(3, shape=(320, 480)), outputs(3, shape=(320, 480)) + outputs(3, 'b', shape=(320, 480))
    assert height(two, crowded) == height(two, None)
    assert height(one, crowded) > height(one, None)
