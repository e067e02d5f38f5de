"""The pair of files that holds raw maps: how it is found and loaded, and where it is refused."""

from __future__ import annotations

import io
import subprocess
import sys
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
        'import sys; from featmap.storage import load_maps; print(load_maps("maps.npz").draw().image.sum(), '
        '[name for name in ("mmdet", "mmyolo", "mmcv") if name in sys.modules])'
    )
    command = [sys.executable, '-c', f'import sys; sys.path.insert(0, {str(ROOT)!r}); {code}']
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == f'{a_record(a_map()).draw(PICTURE).image.sum()} []'


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
        save_maps(tmp_path / 'maps.npz', a_record(a_map(values=a_map().values.astype(object))))
    (tmp_path / 'folder.npz').mkdir()
    with pytest.raises(OutputError, match='cannot be written'):
        save_maps(tmp_path / 'folder.npz', a_record(a_map()))
    assert files_under(tmp_path) == []
