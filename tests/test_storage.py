"""Raw maps on disk: what is read back is what was saved."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from featmap.errors import SourceError
from featmap.geometry import ImageGeometry
from featmap.storage import load_maps, save_maps, sidecar_of, versions
from featmap.structures import KINDS, Detections
from featmap.visualizer import FeatMapVisualizer
from tests.storage_helpers import (
    PICTURE,
    a_map,
    a_record,
    assert_same_array,
    assert_same_map,
    forge,
    rewrite,
    round_trip,
    sidecar,
)

KEYS = (
    'layer', 'call', 'calls', 'path', 'shape', 'stride', 'geometry', 'reducer', 'channels', 'kind', 'names',
)  # fmt: skip


@pytest.fixture(params=['.npz', '.safetensors'])
def suffix(request) -> str:
    return request.param


def test_no_maps_and_no_detections(tmp_path, suffix):
    found = round_trip(tmp_path, a_record(), suffix=suffix)
    assert (found.maps, found.detections, found.run_range, found.provenance) == ((), None, None, {})


def test_an_empty_list_of_detections_is_not_none(tmp_path, suffix):
    found = round_trip(tmp_path, a_record(detections=Detections(classes=('a',))), suffix=suffix).detections
    assert found is not None
    assert found.classes == ('a',)
    assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)


def test_a_measured_geometry_comes_back_equal(tmp_path, suffix):
    geometry = ImageGeometry((60, 100), (96, 96), (1.5, 0.9), (-20.25, 7.5), (True, False), (20.5, 0.0, 70.25, 60.0))
    saved = replace(a_map(), geometry=geometry)
    assert round_trip(tmp_path, a_record(saved), suffix=suffix).maps[0].geometry == geometry


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_map_comes_back_equal(tmp_path, suffix, kind):
    planes = 1 if kind == 'segments' else 3
    saved = a_map(
        kind, planes, path='[0]', call=1, calls=2, reducer='pca → nmf', channels=(7, None, 0)[:planes],
        names=('1st: 60%', 'zweite·二', '')[:planes], ranges=((-1.0, 0.1), (0.0, 1e-30), (2.5, 3.0))[:planes],
    )  # fmt: skip
    found = round_trip(tmp_path, a_record(saved, a_map()), suffix=suffix)
    assert_same_map(found.maps[0], saved)
    assert_same_map(found.maps[1], a_map())


def test_non_finite_values_and_odd_memory_come_back_equal(tmp_path, suffix):
    values = np.array([[[np.nan, np.inf, -np.inf, -0.0]]], np.float32).repeat(12, 1).repeat(3, 2)
    turned = np.asfortranarray(a_map().values)
    found = round_trip(
        tmp_path, a_record(a_map(values=values, channels=(None,)), a_map(values=turned[:, ::-1])), suffix=suffix
    )
    assert_same_array(found.maps[0].values, values)
    assert_same_array(found.maps[1].values, turned[:, ::-1])
    described = sidecar(tmp_path / f'maps{suffix}')['maps']
    assert described[0]['value_ranges'] == [[0.0, 0.0]]  # of what is finite
    save_maps(tmp_path / f'maps{suffix}', a_record(a_map(values=values[..., :1].repeat(12, 2), channels=(None,))))
    assert sidecar(tmp_path / f'maps{suffix}')['maps'][0]['value_ranges'] == [None]


@pytest.mark.parametrize(
    ('features', 'expected'),
    [
        (np.arange(6, dtype=np.float16), np.float16),
        (np.arange(6, dtype=np.float32), np.float32),
        (np.arange(6, dtype=np.int8), np.int8),
        (torch.arange(6, dtype=torch.float16), np.float16),
        (torch.arange(6, dtype=torch.bfloat16), np.float32),
    ],
    ids=str,
)
def test_features_keep_their_type_but_bfloat16(tmp_path, suffix, features, expected):
    saved = a_record(a_map(features=features.reshape(1, 2, 3)))
    kept = round_trip(tmp_path, saved, True, suffix).maps[0]
    assert_same_array(kept.features, np.arange(6, dtype=expected).reshape(1, 2, 3))
    assert_same_array(kept.values, a_map().values)
    assert sidecar(tmp_path / f'maps{suffix}')['maps'][0]['arrays'] == {'values': 'map0', 'features': 'map0_features'}
    assert round_trip(tmp_path, saved, False, suffix).maps[0].features is None


def test_names_of_any_script_and_of_none(tmp_path, suffix):
    name = 'Hündchen 犬\u2028"\\ \udcff.jpg'  # the last is how Python writes a byte that is no UTF-8
    found = round_trip(tmp_path / 'Ö 犬', a_record(a_map(layer='нек'), name=name, location=f'/x/{name}'), suffix=suffix)
    assert (found.name, found.location, found.maps[0].layer) == (name, f'/x/{name}', 'нек')
    assert 'Hündchen 犬' in sidecar_of(tmp_path / 'Ö 犬' / f'maps{suffix}').read_text(encoding='utf-8')


def test_the_sidecar_tells_all_of_it(tmp_path):
    geometry = {
        'image_shape': [60, 100], 'input_shape': [96, 96], 'scale': [0.96, 0.9599999785], 'offset': [0, 19],
        'flip': [True, False], 'crop': None,
    }  # fmt: skip
    item = a_map(channels=(1, 2, 3), ranges=((0.0, 1.0),) * 3, call=1, calls=2, path='[0]')
    found = Detections(
        np.array([[1, 2, 3.5, 4]], np.float32), np.array([0.5], np.float32), np.array([1]), ('cat', 'dog')
    )
    provenance = {
        'config': 'c.py', 'checkpoint': Path('c.pth'), 'checkpoint_sha256': 'ab', 'versions': {'torch': '2'},
        'settings': {'alpha': np.float32(0.5), 'arrangement': (2, 3), 'odd': float('nan')},
    }  # fmt: skip
    path = save_maps(tmp_path / 'dog.npz', a_record(item, detections=found, provenance=provenance, run_range=(0, 2.5)))
    text = sidecar_of(path).read_text(encoding='utf-8')
    assert text.startswith('{\n "format": "featmap maps",\n "version": 2,\n')
    content = sidecar(path)
    assert content['image'] == {'name': 'dog.jpg', 'location': '', 'height': 60, 'width': 100}
    assert content['data'] == {
        'file': 'dog.npz',
        'bytes': path.stat().st_size,
        'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert content['detections'] == {
        'classes': ['cat', 'dog'], 'boxes': [[1.0, 2.0, 3.5, 4.0]], 'scores': [0.5], 'labels': [1],
        'palette': [], 'kind': 'detection', 'boxed': True, 'undrawn': [], 'masks': False, 'segments': None,
        'classification': None,
    }  # fmt: skip
    assert content['provenance'] == {
        **provenance, 'checkpoint': 'c.pth', 'settings': {'alpha': 0.5, 'arrangement': [2, 3], 'odd': None},
    }  # fmt: skip
    assert content['run_range'] == [0, 2.5]
    (described,) = content['maps']
    assert {key: described[key] for key in KEYS} == {
        'layer': 'neck', 'call': 1, 'calls': 2, 'path': '[0]', 'shape': [64, 12, 12], 'stride': [8.0, 8.0],
        'geometry': geometry, 'reducer': 'r', 'channels': [1, 2, 3], 'kind': 'heat', 'names': [],
    }  # fmt: skip
    assert described['fixed_ranges'] == [[0.0, 1.0]] * 3
    assert described['value_ranges'] == [[float(p.min()), float(p.max())] for p in item.content]
    assert item.content.shape[1] < 12  # the ranges leave out the padding
    with np.load(path, allow_pickle=False) as archive:
        assert sorted(archive.files) == ['boxes', 'labels', 'map0', 'scores']
        assert_same_array(archive['map0'], item.values)


def test_where_the_cells_lie_comes_back(tmp_path, suffix):
    item = a_map(offset=(-0.4375, 1.25), stride_known=False)
    (found,) = round_trip(tmp_path, a_record(item), suffix=suffix).maps
    assert_same_map(found, item)
    assert found.offset == (-0.4375, 1.25)


def test_a_sidecar_that_says_nothing_of_offsets_is_of_nominal_cells(tmp_path, suffix):
    path = save_maps(tmp_path / f'maps{suffix}', a_record(a_map()))
    maps = [{k: v for k, v in entry.items() if k not in ('offset', 'stride_known')} for entry in sidecar(path)['maps']]
    rewrite(path, maps=maps)
    assert_same_map(load_maps(path).maps[0], a_map())


def test_versions_name_what_is_installed():
    found = versions()
    assert {'featmap', 'torch', 'mmengine', 'mmdet', 'mmyolo', 'numpy'} <= set(found)
    assert any(name.startswith('mmcv') for name in found)
    assert any(name.startswith('opencv') for name in found)


def test_a_layer_of_very_many_planes_is_drawn_on_all_its_pages(tmp_path, suffix):
    saved = a_record(a_map(planes=70, channels=tuple(range(70))), a_map())
    expected = FeatMapVisualizer().draw_sheets(PICTURE, saved.maps, title='dog.jpg')
    found = round_trip(tmp_path, saved, suffix=suffix).draw_sheets(PICTURE)
    assert len(found) == len(expected) == 3
    assert all(np.array_equal(one.image, other.image) for one, other in zip(found, expected))


@pytest.mark.parametrize('data', [b'', b'PK\x03\x04', b'\x80\x04.', b'\xff' * 40], ids=repr)
def test_data_that_are_none(tmp_path, suffix, data):
    path = save_maps(tmp_path / f'maps{suffix}', a_record(a_map()))
    forge(path, data)
    with pytest.raises(SourceError, match='cannot be read') as caught:
        load_maps(path)
    assert '\n' not in str(caught.value)
