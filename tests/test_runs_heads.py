"""Class maps of heads from the command line and Python to the labels of panels."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.errors import FeatMapError, OptionError
from featmap.inferencer import FeatMapInferencer
from featmap.storage import load_maps, save_maps
from tests.conftest import CHECKPOINT, CONFIG, IMAGE
from tests.test_models.test_openmmlab.test_families import FAMILIES

PIXELS = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)


def family(name: str, **options) -> FeatMapInferencer:
    chosen = next(item for item in FAMILIES if name in item.config)
    return FeatMapInferencer(
        chosen.config, cfg_options=chosen.options, score_thr=chosen.score_thr, device='cpu', **options
    )


@pytest.mark.parametrize(
    ('name', 'channels', 'levels', 'shows'),
    [
        ('retinanet_r18', ['traffic light'], [f'cls P{n}' for n in range(3, 8)], 'traffic light · sigmoid, max of 9'),
        ('yolov3_d53', ['dog:score'], ['pred P5', 'pred P4', 'pred P3'], 'dog · score = cls × obj, max of 3 anchors'),
        ('yolox_tiny_8xb8', 'objectness', ['obj P3', 'obj P4', 'obj P5'], 'sigmoid'),
    ],
)  # fmt: skip
def test_class_maps_of_a_head(name, channels, levels, shows):
    result = family(name, target_layers=['bbox_head'], channels=channels)(PIXELS)
    labels = [panel.label for panel in result.rendering.panels[1:]]
    assert len(labels) == len(levels)
    for label, level in zip(labels, levels):
        assert f' · {level} · {shows}' in label
    assert all(item.values.min() >= 0 and item.values.max() <= 1 for item in result.maps)


def test_queries_are_no_maps():
    with pytest.raises(FeatMapError, match='bbox_head puts out one row per object query'):
        family('detr/detr_r50', target_layers=['bbox_head'])(PIXELS)


def test_the_command_and_python_and_saved_maps_agree(run, tmp_path):
    options = ['--target-layers', 'bbox_head', '--channels', 'kite:score', 'objectness', '--device', 'cpu']
    done = run(IMAGE, CONFIG, CHECKPOINT, *options, '--out-file', 'a.png', '--save-maps', 'a.npz')
    assert done.status == 0, done.err
    vis = FeatMapInferencer(
        CONFIG, CHECKPOINT, device='cpu', target_layers='bbox_head', channels=['kite:score', 'objectness']
    )
    result = vis(str(IMAGE))
    saved = load_maps('a.npz')
    np.testing.assert_array_equal(saved.draw().image, result.image)
    assert [item.meaning for item in saved.maps] == ['cls P3', 'cls P4', 'cls P5', 'obj P3', 'obj P4', 'obj P5']
    again = load_maps(save_maps(tmp_path / 'b.npz', saved))
    assert [item.names for item in again.maps] == [item.names for item in result.maps]


def test_what_has_no_such_channel(run):
    error = run(IMAGE, CONFIG, CHECKPOINT, '--target-layers', 'bbox_head', '--channels', 'kit').error
    assert "the head has no class 'kit'; nearest: kite" in error
    error = run(IMAGE, CONFIG, CHECKPOINT, '--target-layers', 'neck', '--channels', 'kite').error
    assert (
        'it is no output of a detection head; class maps are those of a head, such as --target-layers bbox_head'
        in error
    )
    with pytest.raises(OptionError, match='target_layers='):
        FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', target_layers='neck', channels='kite')(str(IMAGE))
