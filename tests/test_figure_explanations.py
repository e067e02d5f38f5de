"""Figures of explanations: lines, bold boxes, curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from featmap.faithfulness import Curves, Faithfulness, Figures, Protocol
from featmap.figure.curves import DELETION, INSERTION
from featmap.figure.explanations import draw_explanations
from tests.explanation_helpers import FOUND, PICTURE, SHAPE, explanation
from tests.figure_helpers import axes_of, texts


def figures(top: float) -> Figures:
    rising = np.linspace(0, top, 11, dtype=np.float32)
    return Figures((Curves('blur', rising, rising[::-1]),), 0.75, 0.1, 1.0)


def measured(each):
    return replace(each, faithfulness=Faithfulness(Protocol(steps=10), figures(0.8), {'box': figures(0.4)}))


def test_a_line_for_each_target_with_the_image_beside():
    figure = draw_explanations(PICTURE, [explanation(0), explanation(1)], FOUND, zoom=True, name='cat.jpg', dpi=50)
    assert len(axes_of(figure, 'image')) == 1
    assert len(axes_of(figure, 'panel')) == 6
    said = texts(figure)
    assert 'cat.jpg' in said
    assert 'box 0' in said
    assert 'cat 0.90' in said
    assert 'layercam, zoomed' in said
    assert len(axes_of(figure, 'bar')) == 1  # all panels share 0 … 1


def test_a_zoom_shows_its_window_in_pixels_of_the_original():
    figure = draw_explanations(PICTURE, [explanation(1)], FOUND, zoom=True, dpi=50)
    whole, zoomed = axes_of(figure, 'panel')[1:]
    assert (whole.get_xlim(), whole.get_ylim()) == ((0, 120), (80, 0))
    left, right = zoomed.get_xlim()
    assert 0 <= left < 50
    assert 58 < right < 120


def test_the_box_is_bold_and_the_others_thin():
    figure = draw_explanations(PICTURE, [explanation(2)], FOUND, dpi=50)
    patches = axes_of(figure, 'panel')[0].patches
    widths = {
        patch.get_xy(): max(p.get_linewidth() for p in patches if p.get_xy() == patch.get_xy()) for patch in patches
    }
    assert widths[70, 30] > 2 * widths[10, 20] == 2 * widths[50, 10]


def test_curves_stand_beside_with_their_figures_and_their_protocol():
    figure = draw_explanations(PICTURE, [measured(explanation(0)), explanation(1)], FOUND, dpi=50)
    (chart,) = axes_of(figure, 'chart')
    lines = {to_hex(line.get_color()): line for line in chart.lines}
    rising, falling = (lines[color.lower()].get_ydata() for color in (INSERTION, DELETION))
    assert rising[0] > rising[-1]
    assert falling[0] < falling[-1]
    control = [line for line in chart.lines if to_hex(line.get_color()) == to_hex('0.35')]
    assert len(control) == 2
    # Half as high as the curve of the explanation.
    high = control[0].get_ydata()[0] - control[0].get_ydata()[-1]
    assert high == pytest.approx((rising[0] - rising[-1]) / 2, rel=0.01)
    said = ' '.join(texts(figure))
    assert 'insertion 0.40' in said
    assert 'faithfulness: ' + Protocol(steps=10).name.partition(' · ')[0] in said
    assert {'insertion', 'deletion', 'the box itself'} <= {text.get_text() for text in chart.texts}


def test_a_region_is_outlined():
    region = np.zeros(SHAPE, bool)
    region[20:60, 30:90] = True
    figure = draw_explanations(PICTURE, [explanation(None, region=region)], None, dpi=50)
    (panel,) = axes_of(figure, 'panel')
    bounds = panel.patches[0].get_path().get_extents()
    assert (bounds.x0, bounds.y0, bounds.x1, bounds.y1) == pytest.approx((30.5, 20.5, 89.5, 59.5))
