"""Ground truth from its file to the picture: what the shipped detector finds, misses and invents."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from featmap.errors import OptionError, SourceError
from featmap.inferencer import FeatMapInferencer
from featmap.storage import load_maps, save_maps
from tests.conftest import CHECKPOINT, CONFIG, IMAGE

SIZE = (1024, 640)
NOWHERE = (900, 20, 950, 70)  # where the demo image has sky


@pytest.fixture(scope='module')
def detected():
    """The shipped detector's results on the demo image."""
    return FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', target_layers=['neck'])(str(IMAGE))


@pytest.fixture(scope='module')
def labels(detected, tmp_path_factory):
    """Labels of all that was detected but the first, of one object that is not there, and of a zebra."""
    found = detected.predictions
    names = [*found.classes, 'zebra']
    boxes = [(box.tolist(), int(label)) for box, label in zip(found.boxes[1:], found.labels[1:])]
    boxes += [(NOWHERE, 0), (NOWHERE, 8)]
    folder = tmp_path_factory.mktemp('labels')
    coco = {
        'images': [{'id': 1, 'file_name': 'demo.jpg', 'width': SIZE[0], 'height': SIZE[1]}],
        'categories': [{'id': number + 10, 'name': name} for number, name in enumerate(names)],
        'annotations': [
            {'id': number, 'image_id': 1, 'category_id': label + 10, 'bbox': [x, y, x2 - x, y2 - y]}
            for number, ((x, y, x2, y2), label) in enumerate(boxes)
        ],
    }
    (folder / 'coco.json').write_text(json.dumps(coco))
    (folder / 'yolo').mkdir()
    lines = [
        f'{label} {(x + x2) / 2 / SIZE[0]} {(y + y2) / 2 / SIZE[1]} {(x2 - x) / SIZE[0]} {(y2 - y) / SIZE[1]}'
        for (x, y, x2, y2), label in boxes
    ]
    (folder / 'yolo' / 'demo.txt').write_text('\n'.join(lines))
    return folder


def build(gt, **options) -> FeatMapInferencer:
    return FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', **{'target_layers': ['neck'], 'gt': gt, **options})


@pytest.mark.parametrize('name', ['coco.json', 'yolo', 'yolo/demo.txt'])
def test_the_counts_stand_beside_the_detections(labels, detected, name):
    vis = build(labels / name)
    result = vis(str(IMAGE))
    count = len(detected.predictions) - 1
    said = [panel.label for panel in result.rendering.panels]
    assert said[1] == (f'ground truth · {count} found · 1 missed · 1 false · 1 of classes unknown to the model')
    assert [label for number, label in enumerate(said) if number != 1] == [p.label for p in detected.rendering.panels]
    assert result.match.counts == (count, 1, 1)
    assert result.match.false.tolist() == [0]
    assert 'zebra' in vis.truth.note or 'number 8' in vis.truth.note


def test_saved_maps_draw_the_same_picture(labels, tmp_path):
    vis = build(labels / 'coco.json')
    result = vis(str(IMAGE))
    saved = load_maps(save_maps(tmp_path / 'maps.npz', vis.record(result)))
    np.testing.assert_array_equal(saved.draw().image, result.image)
    for name in ('boxes', 'labels', 'crowd', 'ignored'):
        np.testing.assert_array_equal(getattr(saved.truth, name), getattr(result.match.truth, name))
    assert saved.truth.left_out == 1
    sidecar = tmp_path / 'maps.npz.json'
    content = json.loads(sidecar.read_text())
    for wrong in ({'boxes': [[1, 2, 3]]}, {'labels': [0]}, {'crowd': 3}, {'left_out': -1}):
        sidecar.write_text(json.dumps({**content, 'ground_truth': {**content['ground_truth'], **wrong}}))
        with pytest.raises(SourceError):
            load_maps(tmp_path / 'maps.npz')
    sidecar.write_text(json.dumps({name: value for name, value in content.items() if name != 'ground_truth'}))
    assert load_maps(tmp_path / 'maps.npz').truth is None


def test_pages_of_many_channels_come_after_the_ground_truth(labels):
    result = build(labels / 'coco.json', target_layers=['neck[1]'], channels='all')(str(IMAGE))
    assert [len(rendering.panels) for rendering in result.renderings] == [2, 65, 65]


def test_a_crop_counts_the_whole_image(labels):
    result = build(labels / 'coco.json', crop='600,300,900,500')(str(IMAGE))
    assert result.rendering.panels[1].label.endswith('· in the whole image')


def test_what_cannot_be_compared(labels, detected, monkeypatch):
    vis = build(labels / 'coco.json')
    with pytest.raises(SourceError, match='an array has none: give a path'):
        vis(np.asarray(Image.open(IMAGE)))
    with pytest.raises(OptionError, match=r'gt has no effect with boxes=False'):
        build(labels / 'coco.json', boxes=False)
    proposals = replace(detected.predictions, kind='proposal')
    monkeypatch.setattr(vis.extractor, 'extract', lambda image: (detected.maps, proposals))
    with pytest.raises(OptionError, match='gt needs boxes with classes, and this model has 19 proposals'):
        vis(str(IMAGE))


def test_an_array_and_the_labels_of_one_image(labels):
    assert build(labels / 'yolo' / 'demo.txt')(np.asarray(Image.open(IMAGE))).match.counts[1:] == (1, 1)


def test_a_run_over_several_images(run, labels, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for name in ('demo.jpg', 'empty.jpg'):
        (folder / name).write_bytes(IMAGE.read_bytes())
    done = run(folder, CONFIG, CHECKPOINT, '--gt', labels / 'yolo', '--target-layers', 'neck', '--device', 'cpu')
    assert done.status == 0, done.err
    assert 'ground truth of 2 images: 18 found · 1 missed · 20 false' in done.err
    assert '1 box of the ground truth is of a class that the model does not have: number 8' in done.err
    done = run(folder, CONFIG, CHECKPOINT, '--gt', labels / 'coco.json', '--device', 'cpu')
    assert done.status == 1
    assert "coco.json' has nothing for" in done.err


def test_errors_before_the_model_is_loaded(run, labels, monkeypatch):
    monkeypatch.setattr('featmap.models.sources.openmmlab.Detector', None)
    assert "the ground truth 'nowhere' does not exist" in run(IMAGE, CONFIG, CHECKPOINT, '--gt', 'nowhere').error
    assert '--gt has no effect with --no-boxes' in run(IMAGE, CONFIG, CHECKPOINT, '--gt', 'x', '--no-boxes').error
