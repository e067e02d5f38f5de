"""What a figure tells beside its panels: names, classes and colour bars."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from featmap.norm import Norm
from featmap.rendering.colors import categories, color_table
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look
from tests.figure_helpers import FLAT, axes_of, detections, fmap, outputs, planes, texts

NAN = float('nan')


def ticks(figure: Figure) -> list[list[str]]:
    """The texts at each colour bar."""
    found = []
    for axes in axes_of(figure, 'bar'):
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
        found.append([label.get_text() for label in labels])
    return found


def upright(figure: Figure) -> list[bool]:
    return [axes.bbox.height > axes.bbox.width for axes in axes_of(figure, 'bar')]


def norm(*args, **options) -> Look:
    return Look(norm=Norm(*args, **options))


# --- texts


def test_what_holds_for_all_panels_of_a_row_is_said_once(draw):
    figure = draw([*outputs(2), fmap(planes(1, 2), 'head', channels=(5, 7))])
    assert texts(figure).count('neck') == 1
    assert {'squeeze_mean · 8×2×2 · stride 16×24', '[0]', '[1]'} <= set(texts(figure))
    assert {'head', 'squeeze_mean · 8×2×2 · stride 16×24', 'channel 5', 'channel 7'} <= set(texts(figure))


def test_a_row_of_one_output_has_its_name(draw):
    figure = draw([fmap(planes(1, 2), path='[1]', channels=(5, 7))])
    assert 'neck[1]' in texts(figure)


def test_calls_are_told_apart(draw):
    figure = draw([fmap(call=0, calls=2), fmap(call=1, calls=2)])
    assert {'neck', '#0', '#1'} <= set(texts(figure))


def test_the_image_says_its_size_and_detections(draw):
    figure = draw(outputs(1), detections(), name='$\\frac$ two\nlines')
    assert {'$\\frac$ two lines', '48×32 · 2 detections'} <= set(texts(figure))


def test_boxes_stand_on_every_panel_and_their_classes_on_the_image(draw):
    figure = draw(outputs(2), detections())
    (corner,), panels = axes_of(figure, 'image'), axes_of(figure, 'panel')
    assert [text.get_text() for text in corner.texts] == ['cat 0.90', 'a $dog$ 0.50']
    for axes in panels:
        assert len(axes.texts) == 0
        outlines = {patch.get_bbox().bounds for patch in axes.patches}
        assert outlines == {(4, 8, 16, 22), (30, 4, 16, 16)}


def test_a_constant_map_says_its_value_and_has_no_bar(draw):
    figure = draw([fmap([[-2.5, -2.5]], path='[0]'), fmap(path='[1]')])
    assert any(text.endswith('· constant −2.5') for text in texts(figure))
    assert ticks(figure) == [['0', '3']]
    shown = axes_of(figure, 'panel')[0].images[0].get_array()
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 1


def test_cells_that_are_not_finite_show_the_bare_image_and_are_counted(draw):
    figure = draw([fmap([[NAN, 1], [NAN, 3]])])
    shown = axes_of(figure, 'panel')[0].images[0].get_array()
    assert (shown[:, :20] == FLAT[:, :20]).all()
    assert (shown[:, 28:] != FLAT[:, 28:]).any()
    assert any('2 non-finite' in text for text in texts(figure))


def test_concepts_have_the_colours_of_their_frames(draw):
    figure = draw([fmap(planes(1, 9), kind='concepts', names=('one', 'two'), channels=(None, None))])
    *parts, whole = axes_of(figure, 'panel')
    frames = [axes.spines['left'].get_edgecolor()[:3] for axes in parts]
    assert np.allclose(frames, categories(2) / 255)
    assert not whole.spines['left'].get_visible()
    assert {'one', 'two', 'all 2 concepts'} <= set(texts(figure))


# --- colour bars


@pytest.mark.parametrize(
    ('maps', 'look', 'expected', 'right'),
    [
        (outputs(2), Look(), [['0', '3'], ['0', '4']], [False, False]),
        (outputs(1), Look(), [['0', '3']], [False]),
        (outputs(1), norm('layer'), [['0', '3']], [False]),
        (outputs(2), norm('layer'), [['0', '4']], [True]),
        (outputs(2) + outputs(3, 'b'), norm('layer'), [['0', '4'], ['0', '5']], [True, True]),
        (outputs(2) + outputs(1, 'b'), norm('layer'), [['0', '4'], ['0', '3']], [True, True]),
        (outputs(8), norm('layer'), [['0', '10']], [True]),
        (outputs(2) + outputs(3, 'b'), norm('run'), [['0', '5']], [True]),
        (outputs(2) + outputs(3, 'b'), norm('image'), [['0', '5']], [True]),
        (outputs(2) + outputs(3, 'b'), norm('fixed', 0, 9), [['0', '9']], [True]),
        (outputs(1) + outputs(1, 'b'), norm('fixed', 0, 9), [['0', '9']], [True]),
        (outputs(2), norm('fixed', 1, 4), [['≤ 1', '4']], [True]),
        (outputs(2), norm('fixed', -1, 2), [['−1', '≥ 2', '0']], [True]),
        (outputs(1), norm(symmetric=True), [['−3', '3', '0']], [False]),
        ([fmap(planes(1, 9), kind='concepts', names=('a', 'b'))], Look(), [['0', '9']], [True]),
        ([fmap(kind='segments', names=('4 segments',))], Look(), [], []),
        ([fmap(planes(1, 2, 3), kind='image')], norm('layer'), [], []),
        ([fmap(ranges=((-2.0, 2.0),))], norm('run'), [['−2', '≥ 2', '0']], [False]),
        ([], Look(), [], []),
    ],
)
def test_each_range_has_one_bar(draw, maps, look, expected, right):
    figure = draw(maps, look=look)
    assert ticks(figure) == expected
    assert upright(figure) == right


def test_the_range_of_the_run_is_that_given(draw):
    figure = draw(outputs(2), look=norm('run'), run=Range(-10, 30))
    assert ticks(figure) == [['−10', '30', '0']]
    assert any('scale: run' in text for text in texts(figure))


def test_a_shared_bar_reaches_over_its_rows(draw):
    figure = draw(outputs(2) + outputs(2, 'b'), look=norm('run'))
    (bar,) = (axes.get_position() for axes in axes_of(figure, 'bar'))
    panels = [axes.get_position() for axes in axes_of(figure, 'panel')]
    assert bar.y1 == pytest.approx(max(box.y1 for box in panels))
    assert bar.y0 == pytest.approx(min(box.y0 for box in panels))
    assert bar.x0 > max(box.x1 for box in panels)


def test_bars_and_panels_have_the_colours_of_the_look(draw):
    table = color_table('viridis')
    figure = draw([fmap([[0, 1]])], look=Look(alpha=1.0, table=table))
    (bar,), (panel,) = axes_of(figure, 'bar'), axes_of(figure, 'panel')
    assert (bar.images[0].get_array() == table[None]).all()
    shown = panel.images[0].get_array()
    assert (shown[:, 0] == table[0]).all()
    assert (shown[:, -1] == table[255]).all()


def test_the_highest_colour_is_at_the_right_or_at_the_top(draw, tmp_path):
    table = color_table('viridis')
    for look in (Look(1.0, table), Look(1.0, table, Norm('layer'))):
        figure = draw(outputs(2), look=look, dpi=200)
        picture = np.array(Image.open(tmp_path / 'figure.png').convert('RGB'))[::-1].astype(int)  # the origin below
        box = axes_of(figure, 'bar')[0].bbox
        near, far = (int(box.y0) + 4, int(box.x0) + 4), (int(box.y1) - 4, int(box.x1) - 4)
        assert np.abs(picture[near] - table[0]).max() < 30
        assert np.abs(picture[far] - table[255]).max() < 30
