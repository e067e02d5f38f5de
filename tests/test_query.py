"""``--query`` from the option to the picture, on the shipped detector."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from featmap.errors import DrawError, OptionError
from featmap.inferencer import FeatMapInferencer
from featmap.options import Run
from featmap.storage import load_maps, save_maps
from tests.conftest import CHECKPOINT, CONFIG, IMAGE

BALLOON = (779, 130)
BOX = (707, 44, 851, 248)  # of that balloon


@pytest.fixture(scope='module')
def vis():
    return FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', target_layers=['neck'], boxes=False, panel_size=320)


@pytest.fixture(scope='module')
def photo():
    return np.asarray(Image.open(IMAGE).convert('RGB'))


def test_it_chooses_similarity_unless_a_reducer_stands_beside_it():
    assert Run.of({'query': '312,200'}).what.channel_reduction == 'similarity'
    assert Run.of({'query': (312, 200)}).what.query == (312, 200)
    assert Run.of({'query': [1.5, 2], 'channel_reduction': 'l2'}).what.channel_reduction == 'l2'
    assert Run.of({'query': (1, 2), 'channels': [3]}).what.channel_reduction == 'channels'
    assert Run.of({}).above({'query': (1, 2)}).what.channel_reduction == 'similarity'
    assert Run.of({'channel_reduction': 'l2'}).above({'query': (1, 2)}).what.channel_reduction == 'l2'


@pytest.mark.parametrize('value', ['3.5', -3, '1,2,3', 'a,b', (1, 'x'), (float('nan'), 2), True, '', ()])
def test_what_is_no_pixel_is_refused(value):
    with pytest.raises(OptionError, match='expected X,Y in pixels of the image, such as 312,200'):
        Run.of({'query': value})


def test_similarity_needs_a_query():
    with pytest.raises(OptionError, match='channel_reduction similarity is to a pixel of the image: query X,Y says'):
        Run.of({'channel_reduction': 'similarity'}).check()
    Run.of({'channel_reduction': 'similarity', 'query': (3, 4)}).check()


def test_the_queried_object_is_alike_throughout(vis, photo):
    result = vis(photo, query=BALLOON)
    assert [item.query for item in result.maps] == [(779.5, 130.5)] * 3
    labels = [panel.label for panel in result.rendering.panels[1:]]
    # 1024 x 640 to 640 x 400, 120 rows of padding above: 487.2 across, 201.6 down.
    for label, stride, cell in zip(labels, (8, 16, 32), ('60,25', '30,12', '15,6')):
        assert f'similarity to 779,130 (cell {cell})' in label
        assert label.endswith(f'stride {stride} · 0 … 1')
    for item in result.maps[1:]:
        warped = item.geometry.warp(item.values, item.stride, item.offset)[0]
        x1, y1, x2, y2 = BOX
        inside = warped[y1:y2, x1:x2].mean()
        outside = np.delete(warped, slice(x1, x2), axis=1).mean()
        assert inside > outside + 0.2
        assert item.values.max() == pytest.approx(1, abs=1e-6)


def test_a_norm_that_is_asked_for_stands_above_the_stated_scale(vis, photo):
    own = vis(photo, query=BALLOON, norm='layer').maps[0]
    assert own.ranges == ()
    assert vis(photo, query=BALLOON, symmetric=True).rendering.panels[1].label.endswith('-1 … 1')
    assert vis(photo, query=BALLOON, norm='-1,1').rendering.panels[1].label.endswith('-1 … 1 (fixed)')


def test_the_cell_follows_the_query_and_not_the_first_one(vis, photo):
    one, other = vis(photo, query=BALLOON), vis(photo, query=(100, 300))
    assert not np.array_equal(one.maps[2].values, other.maps[2].values)
    assert '(cell 1,9)' in other.rendering.panels[3].label  # 62.8 across, 307.8 down
    again = vis(photo, query=BALLOON)
    assert np.array_equal(one.maps[2].values, again.maps[2].values)


def test_a_query_outside_of_the_image_costs_no_forward(vis, photo):
    calls = []
    handle = vis.model.register_forward_hook(lambda *args: calls.append(1))
    try:
        with pytest.raises(DrawError, match=r'query=\(1024, 5\) lies outside of the image of 1024×640 pixels'):
            vis(photo, query=(1024, 5))
    finally:
        handle.remove()
    assert calls == []


def test_the_query_is_kept_with_saved_maps(vis, photo, tmp_path):
    result = vis(photo, query=BALLOON)
    path = save_maps(tmp_path / 'maps.npz', vis.record(result))
    saved = load_maps(path)
    assert [item.query for item in saved.maps] == [(779.5, 130.5)] * 3
    assert np.array_equal(saved.draw(photo).image, result.image)
    sidecar = path.with_name('maps.npz.json')
    content = json.loads(sidecar.read_text())
    for entry in content['maps']:
        del entry['query']  # as files of old have none
    sidecar.write_text(json.dumps(content))
    assert [item.query for item in load_maps(path).maps] == [None] * 3


def test_the_command(run, tmp_path):
    done = run(IMAGE, CONFIG, CHECKPOINT, '--target-layers', 'neck[2]', '--query', '779,130', '--no-boxes',
               '--out-file', 'a.png', '--panel-size', '200', '--figure', 'a.pdf')  # fmt: skip
    assert done.status == 0, done.err
    assert (tmp_path / 'a.png').exists()
    assert (tmp_path / 'a.pdf').exists()
    wrong = run(IMAGE, CONFIG, CHECKPOINT, '--target-layers', 'neck[2]', '--query', '2000,10', '--out-file', 'b.png')
    assert '--query 2000,10 lies outside of the image of 1024×640 pixels' in wrong.error
