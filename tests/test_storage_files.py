"""The pair of files that holds raw maps: how it is found and loaded, and where it is refused."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featmap import arrays, sinks, storage
from featmap.errors import MissingPackageError, OutputError, SourceError
from featmap.storage import load_maps, save_maps, sidecar_of
from tests.conftest import ROOT, files_under
from tests.storage_helpers import PICTURE, a_map, a_record, assert_same_map, forge, rewrite, sidecar


@pytest.fixture
def path(tmp_path) -> Path:
    """A complete pair on disk."""
    return save_maps(tmp_path / 'maps.npz', a_record(a_map()))


def test_the_sidecars_path_will_do_and_both_can_be_renamed(path):
    moved = path.with_name('moved.NPZ')
    path.rename(moved)
    sidecar_of(path).rename(sidecar_of(moved))
    assert_same_map(load_maps(sidecar_of(moved)).maps[0], a_map())
    assert_same_map(load_maps(str(moved)).maps[0], a_map())


def test_a_name_that_leads_nowhere_is_told_as_it_was_given(tmp_path):
    with pytest.raises(SourceError, match=r"nope\.npz' does not exist"):
        load_maps(tmp_path / 'nope.npz')


def test_loading_and_drawing_need_no_detector_packages(path, tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / 'p.png')
    save_maps(path, a_record(a_map(), location='p.png'))
    code = (
        'import sys; from featmap.storage import load_maps; '
        'print(load_maps("maps.npz").draw(panel_size="full").image.sum(), '
        '[name for name in ("mmdet", "mmyolo", "mmcv") if name in sys.modules])'
    )
    command = [sys.executable, '-c', f'import sys; sys.path.insert(0, {str(ROOT)!r}); {code}']
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == f'{a_record(a_map()).draw(PICTURE, panel_size="full").image.sum()} []'


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
        (b'{"format": "featmap maps", "version": 3}', r'of the format 3; featmap \S+ reads up to 2'),
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
        {'shape': [64, 12, 12.0]},
        {'shape': [64, 12]},
        {'stride': [0, 8]},
        {'channels': [None]},
        {'channels': [True, 1, 2]},
        {'names': 'dog'},
        {'fixed_ranges': [[0, 1]]},
        {'noise': [-1]},
        {'kind': ['heat']},
        {'kind': 'image', 'shape': [64, 12, 12], 'channels': [1, 2]},
        {'layer': 5},
        {'call': -1},
        {'arrays': None},
        {'arrays': {'values': ['map0'], 'features': None}},
        {'geometry': {'image_shape': [60], 'input_shape': [96, 96], 'scale': [1, 1], 'offset': [0, 0], 'flip': [0, 0]}},
        {'geometry': []},
        {'geometry': {}},
        {'geometry': {'image_shape': [60, 100], 'input_shape': [9, 9]}},
        {'arrays': {'values': 'map1', 'features': None}},
    ],
    ids=str,
)
def test_maps_that_are_described_wrongly(path, changes):
    rewrite(path, maps=[{**sidecar(path)['maps'][0], **changes}])
    with pytest.raises(SourceError, match='does not describe maps') as caught:
        load_maps(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('geometry', 'message'),
    [
        ({'scale': [0.96]}, r'maps\[0\]\.geometry\.scale is a list of 1, expected a list of 2'),
        ({'scale': [0.96, None]}, r'geometry\.scale\[1\] is None, expected a finite number from 1e-06 to 1e\+06'),
        ({'scale': [float('inf'), 1]}, r'geometry\.scale\[0\] is inf'),
        ({'scale': [10**400, 1]}, r'geometry\.scale\[0\] is a number of over 20 digits'),
        ({'flip': [1, 0]}, r'geometry\.flip\[0\] is 1, expected true or false'),
        ({'input_shape': '96'}, r"geometry\.input_shape is '96', expected a list of 2"),
        ({'offset': [0, 9000]}, 'does not fit|lies in the network input'),
    ],
    ids=str,
)
def test_a_geometry_that_is_short_or_wild(path, geometry, message):
    entry = sidecar(path)['maps'][0]
    rewrite(path, maps=[{**entry, 'geometry': {**entry['geometry'], **geometry}}])
    with pytest.raises(SourceError, match=f'does not describe maps: .*({message})'):
        load_maps(path)


@pytest.mark.parametrize(
    'changes',
    [
        {'image': {'name': 'x', 'location': '', 'height': 10**6, 'width': 10**6}},
        {'image': {'name': 'x', 'location': 7, 'height': 60, 'width': 100}},
        {'run_range': [1]},
        {'run_range': [1, 2, 3, 4]},
        {'run_range': 'wide'},
        {'provenance': [1]},
        {'provenance': {'settings': 'alpha'}},
        {'maps': {}},
        {'maps': None},
        {'detections': []},
        {'detections': {'classes': [3]}},
        {'detections': {'classes': []}},
    ],
    ids=str,
)
def test_a_sidecar_of_another_form(path, changes):
    rewrite(path, **changes)
    with pytest.raises(SourceError, match='does not describe maps') as caught:
        load_maps(path)
    assert '\n' not in str(caught.value)


def test_arrays_that_announce_more_than_they_are(path):
    grown = io.BytesIO()
    np.savez_compressed(grown, map0=np.zeros((3, 12, 12), np.float32))
    forge(path, grown.getvalue())
    with pytest.raises(SourceError, match='it is compressed'):
        load_maps(path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {'descr': '<f4', 'fortran_order': False, 'shape': (1 << 40, 12, 12)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('map0.npy', header.getvalue() + bytes(64))
    forge(path, file.getvalue())
    with pytest.raises(SourceError, match='64 bytes are held for an array of float32'):
        load_maps(path)


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
        arrays.to_array(a_map().values.astype(object))
    (tmp_path / 'folder.npz').mkdir()
    with pytest.raises(OutputError, match='cannot be written'):
        save_maps(tmp_path / 'folder.npz', a_record(a_map()))
    assert files_under(tmp_path) == []


def test_a_sidecar_without_end(path):
    with sidecar_of(path).open('r+b') as file:
        file.truncate(65 << 20)
    with pytest.raises(SourceError, match='larger than 64 MiB'):
        load_maps(path)
