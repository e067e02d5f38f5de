"""Ground truth in a figure: a panel of its own, with lines that are told apart without colours."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from featmap.figure import draw_figure, write_figure
from featmap.matching import match
from featmap.rendering.truth import FALSE, FOUND, IGNORED, MISSED
from featmap.structures import Detections, GroundTruth
from tests.figure_helpers import FLAT, axes_of, fmap, planes, texts

BOXES = np.array([(1, 1, 9, 9), (10, 1, 19, 9), (1, 10, 9, 18), (10, 10, 19, 18)], np.float32)


@pytest.fixture
def matched():
    """One found, one missed, one false, one crowd that nothing fell on."""
    flags = np.array([False, False, True])
    truth = GroundTruth(BOXES[[0, 1, 3]], np.zeros(3, np.int64), flags, np.zeros(3, bool), left_out=2)
    return match(Detections(BOXES[[0, 2]], np.array([0.9, 0.8]), np.zeros(2, np.int64), ('dog',)), truth)


def panel_of(figure):
    """The axes of the ground truth: the first panel."""
    return axes_of(figure, 'panel')[0]


@pytest.mark.parametrize('maps', [[fmap()], [fmap(planes(1, 2, 3), channels=(0, 1, 2))], []])
def test_it_stands_before_the_maps(matched, maps):
    figure = draw_figure(FLAT, maps, matched.detections, match=matched)
    plain = draw_figure(FLAT, maps, matched.detections)
    assert len(axes_of(figure, 'panel')) == 1 + len(axes_of(plain, 'panel'))
    said = ' '.join(texts(figure))
    for part in ('ground truth', '1 found, solid', '1 missed, dashed', '1 false, dotted', '1 ignored', '2 of classes'):
        assert part in said
    assert 'ground truth' not in ' '.join(texts(plain))


def test_each_box_has_its_line_over_an_edge(matched):
    patches = panel_of(draw_figure(FLAT, [fmap()], matched.detections, match=matched)).patches
    lines, edges = patches[1::2], patches[::2]
    drawn = {tuple(round(255 * part) for part in to_rgb(line.get_edgecolor())): line for line in lines}
    assert set(drawn) == {style.color for style in (FOUND, MISSED, FALSE, IGNORED)}
    assert len({str(line.get_linestyle()) for line in lines}) == 4
    for line, edge in zip(lines, edges):
        assert line.get_bbox().bounds == edge.get_bbox().bounds
        assert line.get_linewidth() < edge.get_linewidth()
        assert edge.get_linestyle() in ('-', 'solid')
    for style, box in ((FOUND, BOXES[0]), (MISSED, BOXES[1]), (FALSE, BOXES[2]), (IGNORED, BOXES[3])):
        np.testing.assert_allclose(drawn[style.color].get_bbox().extents, box)


@pytest.mark.parametrize('suffix', ['pdf', 'svg', 'png'])
def test_it_is_written(matched, tmp_path, suffix):
    path = tmp_path / f'figure.{suffix}'
    write_figure(path, draw_figure(FLAT, [fmap()], matched.detections, match=matched, crop=(0, 0, 12, 12)))
    assert path.stat().st_size > 1000
