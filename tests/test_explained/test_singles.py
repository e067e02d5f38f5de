"""Single panels of explanations, and the names of their files."""

from __future__ import annotations

import numpy as np

from featmap.drawer import MapDrawer
from featmap.explained import ExplanationDrawer
from featmap.options import Run
from tests.explanation_helpers import FOUND, PICTURE, explanation


def singles(explanations, zoom=False):
    return ExplanationDrawer(MapDrawer(Run()), zoom).draw_panels(PICTURE, explanations, FOUND)


def test_names_tell_target_method_layer_and_panel():
    assert list(singles([explanation(0)], zoom=True)) == [
        'original', 'box0.crop', 'box0.layercam.backbone.map', 'box0.layercam.backbone.zoom',
    ]  # fmt: skip
    assert list(singles([explanation(1, ('backbone', 'neck'))])) == ['original', 'box1.layercam.mean.map']
    both = singles([explanation(None), explanation(None, layers=('neck[0]',))])
    assert list(both) == ['original', 'cat.layercam.backbone.map', 'cat.layercam.neck.0.map']


def test_each_is_bare_and_says_what_it_shows():
    drawn = list(singles([explanation(0)], zoom=True).draw())
    assert [each.name for each in drawn] == list(singles([explanation(0)], zoom=True))
    assert {each.image.shape for each in drawn} == {PICTURE.shape}
    assert drawn[0].about == {'label': '3 detections'}
    crop, whole, zoom = (each.about for each in drawn[1:])
    assert (whole['method'], whole['layer'], whole['low'], whole['high']) == ('layercam', 'backbone', 0, 1)
    assert whole['target'] == 'box 0 · cat 0.90'
    assert 'window' not in whole
    assert crop['window'] == zoom['window']
    assert 'method' not in crop
    assert (drawn[2].image != PICTURE).any()
    assert not np.array_equal(drawn[2].image, drawn[3].image)
