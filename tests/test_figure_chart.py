"""The best classes in a figure: text as text, bars of the right length, at any size."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from featmap.classification import Classification
from featmap.figure import draw_figure, save_figure
from featmap.rendering.chart import BAR
from featmap.structures import Detections
from tests.figure_helpers import FLAT, axes_of, fmap, planes, texts

NAMES = ('tench, Tinca tinca', 'crane', 'great white shark', 'crane', 'black-and-tan coonhound of a very long name')
SCORES = np.array([0.5, 0.25, 0.15, 0.0996, 0.0004], np.float32)
FOUND = Detections(classes=NAMES, kind='', classification=Classification(np.arange(5), SCORES, 'softmax', 1000))


def chart_of(figure):
    (axes,) = axes_of(figure, 'chart')
    return axes


def said(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize('maps', [[fmap()], [fmap(planes(1, 2, 3), channels=(0, 1, 2))], []])
def test_it_stands_before_the_maps(maps):
    figure, plain = draw_figure(FLAT, maps, FOUND), draw_figure(FLAT, maps, Detections(kind=''))
    assert len(axes_of(figure, 'panel')) == len(axes_of(plain, 'panel'))
    assert not axes_of(plain, 'chart')
    told = ' '.join(texts(figure))
    for part in ('top 5', 'of 1000 classes', 'tench 50.0%'):
        assert part in told
    assert said(chart_of(figure))[:4] == ['tench', '50.0%', 'crane #1', '25.0%']


@pytest.mark.parametrize(
    ('shape', 'width'), [((32, 48), 7.0), ((32, 48), 1.0), ((20, 600), 3.3), ((600, 20), 7.0), ((32, 32), 2.0)]
)
def test_it_is_readable_at_any_size(shape, width):
    image = np.full((*shape, 3), 100, np.uint8)
    figure = draw_figure(image, [fmap(layer=f'layer{n}', shape=shape) for n in range(4)], FOUND, width=width)
    axes = chart_of(figure)
    figure.canvas.draw()
    frame = axes.get_window_extent()
    names, shares = axes.texts[::2], axes.texts[1::2]
    for name, share in zip(names, shares):
        assert name.get_fontsize() >= 5
        left, right = name.get_window_extent(), share.get_window_extent()
        assert frame.x0 <= left.x0
        assert left.x1 < right.x0
        assert right.x1 <= frame.x1
        assert frame.y0 <= left.y0
        assert left.y1 <= frame.y1
    tops = [name.get_window_extent().y1 for name in names]
    assert (np.diff(tops) < -5).all()
    assert said(axes)[8].endswith('… #4') or said(axes)[8] == NAMES[4]
    assert all(0 <= part <= 1 for part in axes.get_position().extents)


def test_bars_are_as_long_as_classes_are_probable():
    axes = chart_of(draw_figure(FLAT, [fmap()], FOUND, style='dark_background'))
    bars = [patch for patch in axes.patches if np.allclose(to_rgb(patch.get_facecolor()), np.array(BAR) / 255)]
    tracks = [patch for patch in axes.patches if patch not in bars]
    np.testing.assert_allclose([bar.get_width() / track.get_width() for bar, track in zip(bars, tracks)], SCORES)
    assert len(tracks) == 5
    assert {text.get_color() for text in axes.texts} == {'black'}  # on light bars, whatever the style is


def test_it_is_written_as_text(tmp_path):
    save_figure(tmp_path / 'a.svg', FLAT, [fmap()], FOUND)
    content = (tmp_path / 'a.svg').read_text(encoding='utf-8')
    for part in ('>tench<', '>great white shark<', '&lt;0.1%<'):
        assert part in content
    save_figure(tmp_path / 'a.pdf', FLAT, [fmap()], FOUND, crop=(0, 0, 12, 12))
    assert (tmp_path / 'a.pdf').stat().st_size > 1000
