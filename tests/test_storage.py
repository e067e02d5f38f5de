"""Raw maps on disk: what is read back is what was saved, and draws the same picture without the model."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featmap import arrays, sinks, storage
from featmap.errors import DrawError, MissingPackageError, OptionError, OutputError, SourceError
from featmap.geometry import ImageGeometry
from featmap.inferencer import FeatMapInferencer
from featmap.results import Result
from featmap.storage import SavedImage, load_maps, save_maps, sidecar_of, versions
from featmap.structures import KINDS, Detections, FeatureMap
from featmap.visualizer import FeatMapVisualizer
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, ROOT, files_under

SHAPE = (60, 100)
PICTURE = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
LETTERBOXED = ImageGeometry(SHAPE, (96, 96), (0.96, 0.9599999785), (0, 19), (True, False))
KEYS = (
    'layer', 'call', 'calls', 'path', 'shape', 'stride', 'geometry', 'reducer', 'channels', 'kind', 'names',
)  # fmt: skip


def a_map(kind: str = 'heat', planes: int = 3, **fields: Any) -> FeatureMap:
    """A 12 x 12 map of a letterboxed image."""
    values = np.random.default_rng(planes).random((planes, 12, 12), dtype=np.float32)
    if kind == 'segments':
        values = np.floor(values * 4)
    fields = {'values': values, 'layer': 'neck', 'reducer': 'r', 'channels': (None,) * planes, **fields}
    return FeatureMap(shape=(64, 12, 12), stride=(8.0, 8.0), geometry=LETTERBOXED, kind=kind, **fields)


def a_record(*maps: FeatureMap, **fields: Any) -> SavedImage:
    return SavedImage(**{'name': 'dog.jpg', 'location': '', 'image_shape': SHAPE, 'maps': maps, **fields})


def round_trip(folder: Path, saved: SavedImage, features: bool = False, suffix: str = '.npz') -> SavedImage:
    return load_maps(save_maps(folder / f'maps{suffix}', saved, features))


def sidecar(path: Path) -> dict[str, Any]:
    """The JSON beside a data file, read by a reader that knows no NaN."""
    return json.loads(sidecar_of(path).read_text(encoding='utf-8'), parse_constant=pytest.fail)


def rewrite(path: Path, **changes: Any) -> None:
    sidecar_of(path).write_text(json.dumps({**sidecar(path), **changes}), encoding='utf-8')


def assert_same_array(found: np.ndarray | None, expected: np.ndarray | None) -> None:
    if expected is None or found is None:
        assert found is expected
        return
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()  # NaNs and signed zeros too


def assert_same_map(found: FeatureMap, expected: FeatureMap) -> None:
    for field in dataclasses.fields(FeatureMap):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if field.name in ('values', 'features'):
            assert_same_array(one, other)
        else:
            assert (repr(one), one) == (repr(other), other), field.name


@pytest.fixture
def path(tmp_path) -> Path:
    """A complete pair on disk."""
    return save_maps(tmp_path / 'maps.npz', a_record(a_map()))


@pytest.fixture(params=['.npz', '.safetensors'])
def suffix(request) -> str:
    if request.param == '.safetensors':
        pytest.importorskip('safetensors', reason='safetensors is optional and not installed')
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
    found = round_trip(tmp_path, a_record(a_map(values=values), a_map(values=turned[:, ::-1])), suffix=suffix)
    assert_same_array(found.maps[0].values, values)
    assert_same_array(found.maps[1].values, turned[:, ::-1])
    described = sidecar(tmp_path / f'maps{suffix}')['maps']
    assert described[0]['value_ranges'] == [[0.0, 0.0]]  # of what is finite
    save_maps(tmp_path / f'maps{suffix}', a_record(a_map(values=values[..., :1].repeat(12, 2))))
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
        'flip': [True, False],
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
    assert text.startswith('{\n "format": "featmap maps",\n "version": 1,\n')
    content = sidecar(path)
    assert content['image'] == {'name': 'dog.jpg', 'location': '', 'height': 60, 'width': 100}
    assert content['data'] == {
        'file': 'dog.npz',
        'bytes': path.stat().st_size,
        'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert content['detections'] == {
        'classes': ['cat', 'dog'], 'boxes': [[1.0, 2.0, 3.5, 4.0]], 'scores': [0.5], 'labels': [1],
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


def test_the_sidecars_path_will_do_and_both_can_be_renamed(path):
    moved = path.with_name('moved.NPZ')
    path.rename(moved)
    sidecar_of(path).rename(sidecar_of(moved))
    assert_same_map(load_maps(sidecar_of(moved)).maps[0], a_map())
    assert_same_map(load_maps(str(moved)).maps[0], a_map())


def test_versions_name_what_is_installed():
    found = versions()
    assert {'featmap', 'torch', 'mmengine', 'mmdet', 'mmyolo', 'numpy'} <= set(found)
    assert any(name.startswith('mmcv') for name in found)
    assert any(name.startswith('opencv') for name in found)


# Redrawing


def record_of(vis: FeatMapInferencer, result: Result) -> SavedImage:
    run = None if vis.run is None else (vis.run.low, vis.run.high)
    return SavedImage(
        result.name,
        result.location,
        result.original.shape[:2],
        result.maps,
        result.predictions,
        {'settings': dataclasses.asdict(vis.settings), 'versions': versions()},
        run,
    )


@pytest.mark.parametrize(
    'options',
    [
        {'channel_reduction': 'squeeze_mean', 'colorbar': True, 'norm': 'p2,p98'},
        {'channel_reduction': None, 'topk': 4, 'arrangement': (4, 1), 'symmetric': True, 'norm': 'run'},
        {'channel_reduction': 'channels', 'channels': 'all', 'labels': False, 'alpha': 0.8, 'colormap': 'viridis'},
        {'channel_reduction': 'pca'},
        {'channel_reduction': 'nmf', 'components': 3, 'boxes': False},
        {'channel_reduction': 'kmeans', 'components': 4},
    ],
    ids=lambda options: str(options['channel_reduction']),
)
def test_the_picture_of_the_shipped_detector_is_drawn_again(tmp_path, options):
    layers = ['neck[2]', 'backbone.stage1'] if options.get('channels') != 'all' else ['neck[2]']
    vis = FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', target_layers=layers, **options)
    result = vis(str(IMAGE))
    saved = round_trip(tmp_path, record_of(vis, result))
    pages = saved.draw_sheets()
    assert len(pages) == len(result.renderings)
    for page, expected in zip(pages, result.renderings):
        assert_same_array(page.image, expected.image)
        assert page.panels == expected.panels
    assert_same_array(saved.draw(result.original).image, result.image)
    for item, expected in zip(saved.maps, result.maps):
        assert_same_map(item, expected)


def test_a_layer_of_very_many_planes_is_drawn_on_all_its_pages(tmp_path, suffix):
    saved = a_record(a_map(planes=70, channels=tuple(range(70))), a_map())
    expected = FeatMapVisualizer().draw_sheets(PICTURE, saved.maps, title='dog.jpg')
    found = round_trip(tmp_path, saved, suffix=suffix).draw_sheets(PICTURE)
    assert len(found) == len(expected) == 3
    assert all(np.array_equal(one.image, other.image) for one, other in zip(found, expected))


def test_a_look_given_wins_over_the_saved_one(tmp_path):
    settings = {'alpha': 0.25, 'arrangement': (3, 1), 'colorbar': True, 'topk': 9}
    saved = round_trip(tmp_path, a_record(a_map(), provenance={'settings': settings}))
    look = {'alpha': 0.25, 'arrangement': (3, 1), 'colorbar': True}
    for more in ({}, {'alpha': 1.0}, {'colormap': 'viridis', 'arrangement': None}, {'norm': '0,2'}):
        expected = FeatMapVisualizer(**{**look, **more}).draw_maps(PICTURE, saved.maps, title='dog.jpg')
        assert_same_array(saved.draw(PICTURE, **more).image, expected.image)
    assert_same_array(
        a_record(a_map()).draw(PICTURE).image,
        FeatMapVisualizer().draw_maps(PICTURE, saved.maps, title='dog.jpg').image,
    )


@pytest.mark.parametrize('look', [{'alfa': 0.5}, {'topk': 3}, {'alpha': 2}, {'norm': 'x'}])
def test_a_look_that_is_none(look):
    with pytest.raises(OptionError):
        a_record(a_map()).draw(PICTURE, **look)


def test_an_image_that_is_not_the_one(tmp_path, photo):
    with pytest.raises(SourceError, match='give the image'):
        a_record(a_map()).draw()
    with pytest.raises(SourceError, match='does not exist'):
        a_record(a_map(), location=str(tmp_path / 'gone.png')).draw()
    with pytest.raises(DrawError, match=r'photo\.png.* \(64, 96, 3\).*\(60, 100, 3\)'):
        a_record(location=str(photo)).draw()
    for wrong in (PICTURE[:, :-1], PICTURE[..., 0], PICTURE.astype(float)):
        with pytest.raises(DrawError, match='given image'):
            a_record().draw(wrong)


def test_loading_and_drawing_need_no_detector_packages(path, tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / 'p.png')
    save_maps(path, a_record(a_map(), location='p.png'))
    code = (
        'import sys; from featmap.storage import load_maps; print(load_maps("maps.npz").draw().image.sum(), '
        '[name for name in ("mmdet", "mmyolo", "mmcv") if name in sys.modules])'
    )
    command = [sys.executable, '-c', f'import sys; sys.path.insert(0, {str(ROOT)!r}); {code}']
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == f'{a_record(a_map()).draw(PICTURE).image.sum()} []'


# What can go wrong


def broken_at(monkeypatch, ending: str, error: BaseException) -> None:
    """Let the file whose name ends so fail when it takes its name."""
    replace = sinks.os.replace

    def fail(temporary, target):
        if str(target).endswith(ending):
            raise error
        replace(temporary, target)

    monkeypatch.setattr(sinks.os, 'replace', fail)


@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(('ending', 'left'), [('.npz', []), ('.json', ['maps.npz'])])
def test_writing_that_breaks_off_leaves_nothing_that_looks_complete(tmp_path, monkeypatch, error, ending, left):
    broken_at(monkeypatch, ending, error)
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
        save_maps(tmp_path / 'maps.npz', a_record(a_map()))
    assert files_under(tmp_path) == left
    with pytest.raises(SourceError, match='broken off' if left else 'does not exist'):
        load_maps(tmp_path / 'maps.npz')


@pytest.mark.parametrize('ending', ['.npz', '.json'])
def test_replacing_that_breaks_off_never_pairs_new_with_old(path, monkeypatch, ending):
    broken_at(monkeypatch, ending, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        save_maps(path, a_record(a_map(planes=5)))
    assert files_under(path.parent) == ['maps.npz']


def test_a_full_disk_leaves_the_old_pair(path, monkeypatch):
    before = load_maps(path)

    def full(size: bytes) -> None:
        raise OSError(28, 'No space left on device')

    real = storage.atomic_write

    class Full:
        def __init__(self, target):
            self.inner = real(target)

        def __enter__(self):
            file = self.inner.__enter__()
            return type('File', (), {'write': staticmethod(full), 'name': file.name})()

        def __exit__(self, *error):
            return self.inner.__exit__(*error)

    monkeypatch.setattr(storage, 'atomic_write', Full)
    with pytest.raises(OutputError, match='No space left'):
        save_maps(path, a_record(a_map(planes=5)))
    assert_same_map(load_maps(path).maps[0], before.maps[0])


def test_data_of_another_run_or_cut_short(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(SourceError, match=f'cut short: it has {len(whole) - 7} of {len(whole)} bytes'):
        load_maps(path)
    path.write_bytes(whole[:-7] + b'\0' * 7)
    with pytest.raises(SourceError, match=r'damaged, or .* belongs to other data'):
        load_maps(path)


def test_one_of_the_two_is_missing(path):
    content = sidecar_of(path).read_bytes()
    sidecar_of(path).unlink()
    with pytest.raises(SourceError, match=r"has no 'maps\.npz\.json' beside it"):
        load_maps(path)
    sidecar_of(path).write_bytes(content)
    path.unlink()
    for each in (path, sidecar_of(path)):
        with pytest.raises(SourceError, match=r"maps\.npz' does not exist"):
            load_maps(each)


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        (b'', 'no JSON'),
        (b'{"format": "featmap maps", "vers', 'no JSON'),
        (b'\xff\xfe\x00', 'no JSON'),
        (b'[' * 100_000, 'no JSON'),
        (b'[]', 'something else'),
        (b'{"shapes": [], "imagePath": "dog.jpg", "version": "5.0"}', 'something else'),
        (b'{"format": "featmap maps"}', 'of the format None'),
        (b'{"format": "featmap maps", "version": 2}', r'of the format 2; featmap \S+ reads up to 1'),
        (b'{"format": "featmap maps", "version": 1}', 'does not describe maps'),
        (b'{"format": "featmap maps", "version": 1, "data": []}', 'does not describe maps'),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else '',
)
def test_a_sidecar_that_is_none(path, text, match):
    sidecar_of(path).write_bytes(text)
    with pytest.raises(SourceError, match=match) as caught:
        load_maps(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'changes',
    [
        {'kind': 'heap'},
        {'shape': [64, 11, 12]},
        {'shape': 64},
        {'stride': [8]},
        {'geometry': {}},
        {'geometry': {'image_shape': [60, 100], 'input_shape': [9, 9]}},
        {'arrays': {'values': 'map1', 'features': None}},
    ],
    ids=str,
)
def test_maps_that_are_described_wrongly(path, changes):
    rewrite(path, maps=[{**sidecar(path)['maps'][0], **changes}])
    with pytest.raises(SourceError, match='does not describe maps'):
        load_maps(path)


def forge(path: Path, data: bytes) -> None:
    """Put other data there, with a sidecar that vouches for them."""
    path.write_bytes(data)
    rewrite(path, data={'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()})


class Payload:
    """Whoever unpickles it finds out."""

    def __reduce__(self) -> Any:
        return pytest.exit, ('a pickle was run',)


def test_pickles_are_never_run(path):
    file = io.BytesIO()
    np.savez(file, map0=np.array([[[Payload()]]], object))
    forge(path, file.getvalue())
    with pytest.raises(SourceError, match='cannot be read'):
        load_maps(path)


@pytest.mark.parametrize('data', [b'', b'PK\x03\x04', b'\x80\x04.', b'\xff' * 40], ids=repr)
def test_data_that_are_none(tmp_path, suffix, data):
    path = save_maps(tmp_path / f'maps{suffix}', a_record(a_map()))
    forge(path, data)
    with pytest.raises(SourceError, match='cannot be read') as caught:
        load_maps(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['maps.png', 'maps', 'maps.json', ''])
def test_other_suffixes(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r'\.npz or \.safetensors'):
        save_maps(name, a_record())
    with pytest.raises(SourceError, match=r'\.npz or \.safetensors'):
        load_maps(name)
    assert files_under(tmp_path) == []


def test_safetensors_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    with pytest.raises(MissingPackageError, match='pip install safetensors'):
        save_maps(tmp_path / 'maps.safetensors', a_record(a_map()))
    assert files_under(tmp_path) == []
    with pytest.raises(MissingPackageError, match='pip install safetensors'):
        arrays.unpack(Path('maps.safetensors'), b'')


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(OutputError, match='neck holds no features'):
        save_maps(tmp_path / 'maps.npz', a_record(a_map()), features=True)
    with pytest.raises(OutputError, match='array of object'):
        save_maps(tmp_path / 'maps.npz', a_record(a_map(values=a_map().values.astype(object))))
    (tmp_path / 'folder.npz').mkdir()
    with pytest.raises(OutputError, match='cannot be written'):
        save_maps(tmp_path / 'folder.npz', a_record(a_map()))
    assert files_under(tmp_path) == []
