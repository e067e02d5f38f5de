"""Explanations with their maps in a file: the same picture without the model, and no other file taken for one."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from featmap.drawer import MapDrawer
from featmap.errors import SourceError
from featmap.explained import ExplanationDrawer
from featmap.options import Run
from featmap.storage import SavedImage, load_maps, save_maps, sidecar_of
from tests.explanation_helpers import FOUND, PICTURE, SHAPE, explanation


@dataclass(frozen=True)
class Trace:
    """Stands for a raw prediction."""

    layer: str = 'head'
    stride: float = 8.0

    def __str__(self) -> str:
        return 'neck[0] · stride 8'


class Proof:
    """Stands for what was measured."""

    label = 'insertion 0.82 · deletion 0.003 · protocol-x'

    def as_dict(self):
        return {'protocol': 'protocol-x', 'blur': {'insertion': 0.82}}


def saved(*explanations, **settings):
    maps = tuple(item for each in explanations for item in each.maps)
    provenance = {'settings': {**MapDrawer(Run()).settings, **settings}}
    return SavedImage('cat.jpg', '', SHAPE, maps, FOUND, provenance, explanations=explanations)


def region():
    found = np.zeros(SHAPE, bool)
    found[3:20, 5:118] = True
    return found


def test_they_are_drawn_again_as_they_were(tmp_path):
    explanations = (
        replace(explanation(0, ('backbone', 'neck'), fuse='max'), trace=Trace(), faithfulness=Proof()),
        explanation(1, notes=('IoU 0.5',), class_agnostic=True),
        explanation(None, region=region()),
    )
    again = load_maps(save_maps(tmp_path / 'why.npz', saved(*explanations, zoom=True)))
    assert [each.headline for each in again.explanations] == [each.headline for each in explanations]
    np.testing.assert_array_equal(again.explanations[0].heat, explanations[0].heat)
    np.testing.assert_array_equal(again.explanations[2].region, region())
    drawer = ExplanationDrawer(MapDrawer(Run()), zoom=True)
    drawn = drawer.draw_sheets(PICTURE, explanations, FOUND, 'cat.jpg')[0]
    np.testing.assert_array_equal(again.draw(PICTURE).image, drawn.image)
    assert [each.label for each in again.draw(PICTURE).panels] == [each.label for each in drawn.panels]
    assert list(again.panels(PICTURE)) == list(drawer.draw_panels(PICTURE, explanations, FOUND))


def test_the_sidecar_says_what_was_explained_and_how_well_that_holds(tmp_path):
    one = replace(explanation(0), trace=Trace(), faithfulness=Proof())
    path = save_maps(tmp_path / 'why.npz', saved(one, explanation(0, method='odam')))
    first, second = json.loads(sidecar_of(path).read_text())['explanations']
    assert (first['label'], first['trace'], first['raw']) == (
        'box 0 · cat 0.90', 'neck[0] · stride 8', {'layer': 'head', 'stride': 8.0},
    )  # fmt: skip
    assert first['faithfulness'] == {'label': Proof.label, 'protocol': 'protocol-x', 'blur': {'insertion': 0.82}}
    assert (first['layers'], first['maps'], first['box']) == (['backbone'], [0], [10.0, 20.0, 30.0, 60.0])
    assert (second['method'], second['maps'], second['trace'], second['faithfulness']) == ('odam', [1], None, None)


def test_maps_alone_have_none(tmp_path):
    plain = replace(saved(explanation(0)), explanations=())
    path = save_maps(tmp_path / 'maps.npz', plain)
    assert 'explanations' not in json.loads(sidecar_of(path).read_text())
    assert load_maps(path).explanations == ()


@pytest.mark.parametrize(
    ('entry', 'value', 'said'),
    [
        ('maps', [3], 'an explanation of the maps'),
        ('maps', [], 'an explanation of the maps'),
        ('maps', 'all', 'explanations[0].maps'),
        ('fuse', 'sum', 'explanations[0].fuse'),
        ('box', [1, 2], 'explanations[0].box'),
        ('region', 'map0', 'a region of'),
        ('region', 'nowhere', 'there is no array'),
        ('label', None, 'explanations[0].label'),
        ('faithfulness', {}, 'explanations[0].faithfulness'),
    ],
)
def test_what_no_run_writes_is_refused(tmp_path, entry, value, said):
    path = save_maps(tmp_path / 'why.npz', saved(explanation(0)))
    sidecar = json.loads(sidecar_of(path).read_text())
    sidecar['explanations'][0][entry] = value
    sidecar_of(path).write_text(json.dumps(sidecar))
    with pytest.raises(SourceError) as caught:
        load_maps(path)
    assert said in str(caught.value)
