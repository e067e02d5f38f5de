"""The mark of a queried pixel in pictures."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.geometry import View
from featmap.rendering.query import LIGHT, draw_query
from featmap.visualizer import FeatMapVisualizer
from tests.visualizer_helpers import feature_map, photo

POSITION = (100.5, 60.5)


def marked(picture: np.ndarray, position=POSITION, view: View | None = None) -> np.ndarray:
    """Where the mark changed a picture: (H, W) bool."""
    drawn = draw_query(picture, position, view or View.of(picture.shape[:2]))
    return (drawn != picture).any(axis=-1)


@pytest.mark.parametrize('level', [0, 128, 255])
def test_it_is_seen_on_any_background_and_is_centred_on_the_pixel(level):
    picture = np.full((160, 240, 3), level, np.uint8)
    drawn = draw_query(picture, POSITION, View.of((160, 240)))
    assert (picture == level).all()
    assert (np.abs(drawn.astype(int) - level).max(axis=-1) > 100).sum() > 20
    rows, columns = np.nonzero((drawn != level).any(axis=-1))
    np.testing.assert_allclose((columns.mean() + 0.5, rows.mean() + 0.5), POSITION, atol=0.05)
    assert np.hypot(columns + 0.5 - 100.5, rows + 0.5 - 60.5).max() < 12
    assert (drawn[60, 100] == LIGHT).all()


def test_it_follows_the_view():
    image = photo(200, 300)
    view = View.of((200, 300), 640, (80, 50, 140, 90))
    rows, columns = np.nonzero(marked(view.picture(image), view=view))
    size = 640 / 60
    np.testing.assert_allclose(
        (columns.mean() + 0.5, rows.mean() + 0.5), ((100.5 - 80) * size, (60.5 - 50) * size), atol=0.6
    )
    assert not marked(image, (100.5, 60.5), View((200, 300), (120, 0, 300, 200), (200, 300))).any()


def test_every_panel_of_a_queried_map_and_the_original_are_marked():
    image = np.full((160, 240, 3), 128, np.uint8)
    values = np.zeros((2, 20, 30), np.float32)
    values[:, 0, 0] = 1
    asked, other = feature_map(values, query=POSITION), feature_map(values)
    visualizer = FeatMapVisualizer()
    with_mark, without = (visualizer.draw_maps(image, [each, other]) for each in (asked, other))
    changed = [
        (with_mark.image != without.image).any(axis=-1)[p.y : p.y + p.height, p.x : p.x + p.width]
        for p in with_mark.panels
    ]
    assert [part.any() for part in changed] == [True, True, True, False, False]
    for part in changed[:3]:
        rows, columns = np.nonzero(part)
        np.testing.assert_allclose((columns.mean() + 0.5, rows.mean() + 0.5), POSITION, atol=0.2)
    assert (with_mark.image != without.image).any(axis=-1).sum() == sum(part.sum() for part in changed)


def test_figures_mark_it_in_pixels_of_the_original():
    from featmap.figure import draw_figure

    values = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    figure = draw_figure(photo(160, 240), [feature_map(values, query=POSITION), feature_map(values, layer='other')])
    asked = {
        axes.get_label() + str(number): {tuple(map(float, line.get_xydata()[0])) for line in axes.lines}
        for number, axes in enumerate(axes for axes in figure.axes if axes.get_label() != 'bar')
    }
    assert asked == {'image0': {POSITION}, 'panel1': {POSITION}, 'panel2': set()}
