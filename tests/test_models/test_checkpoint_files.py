import pickle
import struct
import sys
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from featmap.errors import CheckpointError, MissingPackageError
from featmap.models.checkpoint_files import read_file


def refused(path, trust=False):
    with pytest.raises(CheckpointError) as caught:
        read_file(path, trust)
    assert '\n' not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('zipped', [True, False])
def test_reads_what_torch_wrote(tmp_path, zipped):
    torch.save({'a': torch.arange(3)}, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)

    assert torch.equal(read_file(tmp_path / 'a.pth')['a'], torch.arange(3))


@pytest.mark.parametrize('name', ['model.safetensors', 'MODEL.SAFETENSORS'])
def test_reads_safetensors(tmp_path, name):
    tensors = {'a.weight': torch.arange(6.0).reshape(2, 3), 'b': torch.tensor([1.5, -2], dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / name)

    found = read_file(tmp_path / name)
    assert {key: (value.dtype, value.tolist()) for key, value in found.items()} == {
        'a.weight': (torch.float32, [[0, 1, 2], [3, 4, 5]]),
        'b': (torch.bfloat16, [1.5, -2]),
    }


def test_safetensors_needs_a_package(tmp_path, monkeypatch):
    save_file({'a': torch.ones(2)}, tmp_path / 'model.safetensors')
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)

    with pytest.raises(MissingPackageError, match='pip install safetensors'):
        read_file(tmp_path / 'model.safetensors')


def test_safetensors_that_are_cut_short_are_refused(tmp_path):
    save_file({'a': torch.ones(20)}, tmp_path / 'model.safetensors')
    content = (tmp_path / 'model.safetensors').read_bytes()
    for length in (0, 4, 30, len(content) - 1):
        (tmp_path / 'model.safetensors').write_bytes(content[:length])
        assert 'cut short or no safetensors file' in refused(tmp_path / 'model.safetensors')


def tar_of_the_first_pytorch(folder):
    (folder / 'storages').write_bytes(
        pickle.dumps(1, 2)
        + pickle.dumps(('s', 'cpu', torch.FloatStorage), 2)
        + struct.pack('<q3f', 3, 1.0, 2.0, 3.0)
        + pickle.dumps([], 2)
    )
    # A 1-d view of 2 elements from the second on. Its type is named in the file and not used.
    (folder / 'tensors').write_bytes(
        pickle.dumps(1, 2) + pickle.dumps((7, 's', None), 2) + struct.pack('<iiqqq', 1, 0, 2, 1, 1)
    )
    (folder / 'pickle').write_bytes(b'\x80\x02}X\x01\x00\x00\x00aK\x07Qs.')
    with tarfile.open(folder / 'old.pth', 'w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            archive.add(folder / name, name)
    return folder / 'old.pth'


def test_tar_archives_are_read_only_where_they_are_trusted(tmp_path):
    path = tar_of_the_first_pytorch(tmp_path)

    assert 'a tar archive, as PyTorch wrote before 2017' in refused(path)
    assert read_file(path, trust=True)['a'].tolist() == [2.0, 3.0]


def evil_tar(path, first='storages', mode='w'):
    """An archive whose link leads out of the folder that it is unpacked into, to a file whose mode it then sets."""
    outside = path.with_name('outside')
    outside.write_text('mine')
    outside.chmod(0o600)
    with tarfile.open(path, mode, format=tarfile.GNU_FORMAT) as archive:
        if first != 'storages':
            archive.addfile(tarfile.TarInfo(first))
        link = tarfile.TarInfo('storages')
        link.type, link.linkname, link.mode = tarfile.LNKTYPE, str(outside), 0o777
        archive.addfile(link)
    return outside


@pytest.mark.parametrize('kind', ['starts like a pickle', 'zip appended', 'gzip around it', 'plain'])
def test_what_passes_for_something_else_is_never_unpacked(tmp_path, monkeypatch, kind):
    path = tmp_path / 'old.pth'
    unpacked = []
    monkeypatch.setattr(tarfile.TarFile, 'extract', lambda *args, **options: unpacked.append(args))
    first = {'starts like a pickle': '\udc80x', 'zip appended': 'PK'}.get(kind, 'storages')
    outside = evil_tar(path, first, 'w:gz' if kind == 'gzip around it' else 'w')
    if kind == 'zip appended':
        with zipfile.ZipFile(path, 'a') as archive:
            archive.writestr('a/data.pkl', pickle.dumps({}))
    assert tarfile.is_tarfile(path)

    refused(path)

    assert unpacked == []
    assert outside.stat().st_mode & 0o777 == 0o600


def test_missing_with_its_neighbours(tmp_path):
    (tmp_path / 'epoch_12.pth').touch()

    assert 'nearest there: epoch_12.pth' in refused(tmp_path / 'epoch_21.pth')
    assert 'does not exist' in refused(tmp_path / 'no' / 'epoch_21.pth')


def test_a_folder(tmp_path):
    (tmp_path / 'epoch_12.pth').touch()

    assert 'is a folder; give a checkpoint file; there is epoch_12.pth' in refused(tmp_path)


@pytest.mark.parametrize(
    ('name', 'content', 'part'),
    [
        ('a.pth', b'', 'is empty'),
        ('a.pth', b'\xff\xd8\xff\xe0 picture', 'a JPEG image'),
        ('a.pth', b'\x89PNG\r\n', 'a PNG image'),
        ('a.pth', b'<!DOCTYPE html><html>', 'a web page'),
        ('a.pth', b'version https://git-lfs.github.com/spec/v1\noid', 'git lfs pull'),
        ('a.pth', b'just some text', 'some other file'),
        ('a.py', b'model = dict()', 'the order is IMG CONFIG CHECKPOINT'),
        ('a.safetensors', b'\x10\0\0\0\0\0\0\0{}', 'cut short or no safetensors file'),
    ],
)
def test_no_checkpoint(tmp_path, name, content, part):
    path = tmp_path / name
    path.write_bytes(content)

    assert part in refused(path)


def test_other_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        archive.writestr('text.txt', 'text')
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / 'script.pth')

    assert 'some other zip archive' in refused(tmp_path / 'a.pth')
    assert 'TorchScript' in refused(tmp_path / 'script.pth')


@pytest.mark.parametrize('zipped', [True, False])
def test_cut_short(tmp_path, zipped):
    path = tmp_path / 'a.pth'
    torch.save({'a': torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()

    for size in (40, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        assert 'cut short' in refused(path)


def test_a_pickle_that_torch_did_not_write(tmp_path):
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps({'a': 1}, protocol=2))

    assert 'no PyTorch checkpoint' in refused(tmp_path / 'a.pkl')


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), 'w')


@pytest.mark.parametrize('zipped', [True, False])
def test_code_runs_only_where_the_file_is_trusted(tmp_path, zipped):
    path, marker = tmp_path / 'a.pth', tmp_path / 'marker'
    torch.save({'a': torch.ones(1), 'b': Payload(marker)}, path, _use_new_zipfile_serialization=zipped)

    message = refused(path)
    assert 'open;' in message
    assert 'trust_checkpoint=True' in message
    assert not marker.exists()

    # An open file was made, which is what such a payload does.
    content = read_file(path, trust=True)
    content['b'].close()
    assert marker.exists()
    assert torch.equal(content['a'], torch.ones(1))


def test_the_variable_that_keeps_other_readers_out(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    torch.save({'a': torch.ones(1)}, tmp_path / 'a.pth')

    assert read_file(tmp_path / 'a.pth')['a'].tolist() == [1.0]
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' in refused(tmp_path / 'a.pth', trust=True)
