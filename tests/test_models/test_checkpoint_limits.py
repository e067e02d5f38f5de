"""Checkpoints that are small and would take hours or gigabytes: each is refused at once, in one line."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
import zipfile

import pytest
import torch

from featmap.errors import CheckpointError
from featmap.models import unpickling
from featmap.models.checkpoint_files import read_file

TENSOR = b'ctorch._utils\n_rebuild_tensor_v2\n'
STORAGE = b'(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu%sNtQ'
HUGE = struct.pack('<Q', 1 << 40)


def number(value: int) -> bytes:
    """An integer as a pickle has it."""
    return pickle.dumps(value, 2)[2:-1]


def zipped(path, stream, records=(), **options):
    """A checkpoint whose pickle is this."""
    with zipfile.ZipFile(path, 'w', **options) as archive:
        archive.writestr('a/data.pkl', stream)
        for name, data in records:
            archive.writestr(f'a/data/{name}', data)
    return path


def old(path, stream, after=b''):
    """A checkpoint in the form before PyTorch 1.6 whose pickle is this."""
    head = [0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}]
    path.write_bytes(b''.join(pickle.dumps(part, 2) for part in head) + stream + after)
    return path


def refused(path) -> str:
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            read_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50 << 20
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def nested(wide: int = 2) -> bytes:
    """A tuple of 60 levels that each hold the one below ``wide`` times."""
    levels = (b'h%c' % level * wide + b'%cq%c0' % (0x84 + wide, level + 1) for level in range(60))
    return b')q\x000' + b''.join(levels) + b'h\x3c'


def tensor_of(size: bytes) -> bytes:
    return b'\x80\x02' + TENSOR + b'(' + STORAGE % b'K\x00' + b'K\x00' + size + b')\x89NtR.'


KEY, CALL, CUT = 'a key in it is larger', 'may run code: a call of a tuple', 'damaged, cut short'
STREAMS = {
    'a key of tuples in tuples': (b'\x80\x02}' + nested() + b'Ns.', KEY),
    'keys of tuples in tuples': (b'\x80\x02}(' + nested() + b'Nu.', KEY),
    'a dictionary of tuples in tuples': (b'\x80\x02(' + nested() + b'Nd.', KEY),
    'an element of tuples in tuples': (b'\x80\x04\x8f(' + nested() + b'\x90.', KEY),
    'a frozen set of tuples in tuples': (b'\x80\x04(' + nested() + b'\x91.', KEY),
    'a made set of tuples in tuples': (b'\x80\x02cbuiltins\nset\n](' + nested() + b'e\x85R.', KEY),
    'a made frozen set of them': (b'\x80\x02cbuiltins\nfrozenset\n](' + nested() + b'e\x85R.', KEY),
    'a made dictionary of them': (b'\x80\x02ccollections\nOrderedDict\n]' + nested() + b'N\x86a\x85R.', KEY),
    'a counter of them': (b'\x80\x02ccollections\nCounter\n]' + nested() + b'N\x86a\x85R.', KEY),
    'a call of tuples in tuples': (b'\x80\x02' + nested() + b')R.', CALL),
    'a made call of them': (b'\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(' + nested() + b'NNNtR.', CALL),
    'a reference of tuples in tuples': (b'\x80\x02' + nested() + b'Q.', 'the reference a tuple'),
    'a storage of tuples in tuples': (b'\x80\x02(X\x07\x00\x00\x00storage' + nested() + b'NNNNtQ.', 'told by a tuple'),
    'a state of tuples in tuples': (b'\x80\x02' + nested() + b'}b.', 'the state of a tuple'),
    'a deep key': (b'\x80\x02})' + b'\x85' * 40_000 + b'Ns.', KEY),
    'keys of one hash': (b'\x80\x02}(' + b''.join(number(n * (2**61 - 1)) + b'N' for n in range(1, 9)) + b'u.', KEY),
    'a size that holds itself': (tensor_of(b']q\x00h\x00a'), 'whose size is a list'),
    'a size of one that holds itself': (tensor_of(b']q\x00h\x00a\x85'), 'whose size is a tuple'),
    'a torch.Size that holds itself': (b'\x80\x02ctorch\nSize\n]q\x00h\x00a\x85R.', 'a size of a tuple'),
    'a torch.Size of tuples in tuples': (b'\x80\x02ctorch\nSize\n' + nested() + b'\x85R.', 'a size of a tuple'),
    'a device of tuples in tuples': (b'\x80\x02ctorch\ndevice\n' + nested() + b'\x85R.', 'a device of a tuple'),
    'a complex number of them': (b'\x80\x02cbuiltins\ncomplex\n' + nested() + b'\x85R.', 'a complex number of'),
    'text of tuples in tuples': (b'\x80\x02c_codecs\nencode\n' + nested() + b'\x85R.', '_codecs.encode'),
    'more steps than any': (b'\x80\x02' + b'N0' * 40_000 + b'N.', 'more steps than any'),
    'a list that is made a set again and again': (
        b'\x80\x02](' + b'K\x01' * 500 + b'eq\x000cbuiltins\nset\nq\x010' + b'h\x01h\x00\x85R0' * 200 + b'N.',
        'more steps than any',
    ),
    'a text that is encoded again and again': (
        b'\x80\x02X\x00\x20\x00\x00'
        + b'x' * 0x2000
        + b'q\x000c_codecs\nencode\nq\x010'
        + b'h\x01h\x00\x85R0' * 700
        + b'N.',
        'more steps than any',
    ),
    'a key that is looked at again and again': (
        b'\x80\x02}((' + b'K\x01' * 40 + b'tq\x00N' + b'h\x00N' * 1500 + b'u.',
        'more steps than any',
    ),
    'a key of more parts than any': (b'\x80\x02}(' + b'K\x01' * 60 + b'tNs.', KEY),
    'long bytes': (b'\x80\x04\x8e' + HUGE + b'x.', CUT),
    'a long text': (b'\x80\x04\x8d' + HUGE + b'x.', CUT),
    'a long frame': (b'\x80\x04\x95' + HUGE + b'x.', CUT),
    'a long array': (b'\x80\x05\x96' + HUGE + b'x.', CUT),
    'a long line': (b'\x80\x02V' + b'x' * 1000, CUT),
}


@pytest.mark.parametrize('form', [zipped, old])
@pytest.mark.parametrize(('stream', 'message'), STREAMS.values(), ids=STREAMS)
def test_a_pickle_without_end(tmp_path, monkeypatch, form, stream, message):
    monkeypatch.setattr(unpickling.Unpickler.__init__, '__defaults__', (None, 50_000))
    records = [('0', b'')] if form is zipped else b''
    assert message in refused(form(tmp_path / 'a.pth', stream, records))


@pytest.mark.parametrize(
    ('offset', 'size', 'stride'),
    [
        (0, (1 << 32,), (1,)),
        (0, (2, 1 << 31), (1 << 31, 1)),
        (3, (2,), (1,)),
        (0, (4,), (2,)),
        (0, (-1,), (1,)),
        (0, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (2, 2), (1,)),
        (0, (1 << 70,), (1,)),
    ],
)
def test_a_tensor_that_is_larger_than_its_numbers(tmp_path, offset, size, stride):
    parts = [pickle.dumps(part, 2)[2:-1] for part in (offset, size, stride)]
    stream = b'\x80\x02}X\x01\x00\x00\x00a' + TENSOR + b'(' + STORAGE % b'K\x04' + b''.join(parts) + b'\x89NtRs.'
    assert 'damaged' in refused(zipped(tmp_path / 'a.pth', stream, [('0', bytes(16))]))


@pytest.mark.parametrize('count', [5, 1 << 40, -1, 1 << 70])
@pytest.mark.parametrize('form', [zipped, old])
def test_a_storage_that_announces_more_than_there_is(tmp_path, form, count):
    stream = b'\x80\x02}X\x01\x00\x00\x00a' + TENSOR + b'(' + STORAGE % number(count) + b'K\x00))\x89NtRs.'
    after = [('0', bytes(16))] if form is zipped else b''
    assert 'damaged' in refused(form(tmp_path / 'a.pth', stream, after))


def test_a_zip_archive_that_grows(tmp_path):
    stream = b'\x80\x02}X\x01\x00\x00\x00a' + TENSOR + b'(' + STORAGE % number(1 << 20) + b'K\x00))\x89NtRs.'
    path = zipped(tmp_path / 'a.pth', stream, [('0', bytes(4 << 20))], compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    assert 'it is compressed, which PyTorch never does' in refused(path)


def test_records_that_share_their_bytes(tmp_path):
    path = zipped(tmp_path / 'a.pth', b'\x80\x02}.', [(f'{n:03}', b'x' * 5000 if n == 0 else b'') for n in range(100)])
    with zipfile.ZipFile(path, 'a') as archive:
        first = archive.getinfo('a/data/000')
        for record in archive.infolist()[2:]:
            record.header_offset, record.file_size, record.compress_size = first.header_offset, 5000, 5000
        archive._didModify = True
    assert 'it announces more than it holds' in refused(path)


def test_two_records_of_one_name(tmp_path):
    with pytest.warns(UserWarning, match='Duplicate name'):
        path = zipped(tmp_path / 'a.pth', b'\x80\x02}.', [('0', b'x'), ('0', b'y')])
    assert 'several records of one name' in refused(path)


def test_a_storage_that_many_share_is_read_once(tmp_path):
    shared = torch.zeros(1 << 18)
    torch.save({f'{n}': shared[n:] for n in range(2000)}, tmp_path / 'a.pth')
    tracemalloc.start()
    content = read_file(tmp_path / 'a.pth')
    tracemalloc.stop()
    assert len({tensor.untyped_storage().data_ptr() for tensor in content.values()}) == 1


@pytest.mark.parametrize('form', ['zip', 'old'])
def test_tensors_that_share_their_numbers_still_do(tmp_path, form):
    base = torch.arange(12.0)
    torch.save(
        {'a': base[2:8].reshape(2, 3).t(), 'b': base, 'c': base[:0]},
        tmp_path / 'a.pth',
        _use_new_zipfile_serialization=form == 'zip',
    )
    loaded = read_file(tmp_path / 'a.pth')
    assert loaded['a'].tolist() == [[2, 5], [3, 6], [4, 7]]
    loaded['b'][2] = 9
    assert loaded['a'][0, 0] == 9
    assert loaded['c'].shape == (0,)
