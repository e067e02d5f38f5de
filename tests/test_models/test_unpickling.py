import io
import os
import pickle
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from featmap.models.checkpoint_files import read_file
from featmap.models.constructors import RefusedError
from featmap.models.unpickling import LeftOut, Unpickler


@pytest.fixture
def read(tmp_path):
    """What is read of what ``torch.save`` wrote: ``read(value, **options)``."""

    def call(value, **options):
        torch.save(value, tmp_path / 'a.pth', **options)
        return read_file(tmp_path / 'a.pth')

    return call


def unpickle(stream):
    return Unpickler(io.BytesIO(stream)).load()


@pytest.mark.parametrize('protocol', [2, 4, 5])
@pytest.mark.parametrize('zipped', [True, False])
def test_reads_tensors(read, protocol, zipped):
    base = torch.arange(12.0).reshape(3, 4)
    value = {
        'part': base[:, 1:3].t(),
        'half': torch.tensor([0.5, -1]).half(),
        'bfloat': torch.tensor([2.0]).bfloat16(),
        'flags': torch.tensor([True, False]),
        'scalar': torch.tensor(3),
        'empty': torch.zeros(0, 2),
        'parameter': torch.nn.Parameter(torch.ones(2)),
    }

    loaded = read(value, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)

    assert list(loaded) == list(value)
    for name, tensor in value.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
        assert not loaded[name].requires_grad


def test_reads_plain_values(read):
    value = {
        'list': [1, -(2**40), 0.5, None, True, 'text', b'bytes'],
        'tuple': (1, (2,), ()),
        'set': {1, 2},
        'ordered': OrderedDict(a=1),
        'counter': Counter('aab'),
        'default': defaultdict(list, {1: [2]}),
        'torch': [torch.float16, torch.device('cuda:1'), torch.Size([1, 2])],
    }

    assert read(value) == value


def test_keeps_the_versions_in_a_state_dict(read):
    state_dict = torch.nn.BatchNorm2d(2).state_dict()

    assert read(state_dict)._metadata == {'': {'version': 2}}


@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_leaves_out_numpy_and_training_history(read, protocol):
    value = {
        'array': np.arange(3),
        'objects': np.array([{}, None], dtype=object),
        'scalar': np.float64(0.5),
        'log': HistoryBuffer([1.0, 2.0], [1, 1]),
        'weight': torch.ones(2),
    }

    loaded = read(value, pickle_protocol=protocol)

    assert torch.equal(loaded.pop('weight'), torch.ones(2))
    assert all(isinstance(item, LeftOut) for item in loaded.values())
    assert repr(loaded['log']) == '<not loaded: mmengine.logging.history_buffer.HistoryBuffer>'


@pytest.mark.parametrize('module', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_numpy_may_be_of_any_version(module):
    # An array's outermost constructor, as the NumPy of either side names it.
    stream = f'\x80\x02c{module}\n_reconstruct\n)R.'.encode('latin1')

    assert isinstance(unpickle(stream), LeftOut)


class Call:
    """Pickles as the call of a function. The function can itself be the result of a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __call__(self):
        raise AssertionError('only there because pickle wants a callable')

    def __reduce__(self):
        return self.call


def through_getattr(marker):
    """``os.system('touch marker')``, reached from a function that checkpoints do name, by getattr alone."""
    space = Call(getattr, torch._utils._rebuild_tensor_v2, '__globals__')
    module = Call(Call(getattr, space, '__getitem__'), 'torch')
    return Call(Call(getattr, Call(getattr, module, 'os'), 'system'), f'touch {marker}')


@pytest.mark.parametrize(
    ('payload', 'named'),
    [
        (lambda marker: Call(os.system, f'touch {marker}'), 'posix.system'),
        (lambda marker: Call(eval, f'open({str(marker)!r}, "w")'), 'builtins.eval'),
        (lambda marker: Call(open, str(marker), 'w'), 'open'),
        (through_getattr, 'builtins.getattr'),
    ],
)
@pytest.mark.skipif(os.name != 'posix', reason='the payloads are shell commands; runs on Linux and macOS')
def test_runs_no_code(tmp_path, payload, named):
    marker = tmp_path / 'marker'
    stream = pickle.dumps({'weight': payload(marker)}, protocol=2)

    with pytest.raises(RefusedError) as caught:
        unpickle(stream)

    assert named in caught.value.name
    assert not marker.exists()
    # The payload is a live one.
    pickle.loads(stream)
    assert marker.exists()


class Mine:
    pass


@pytest.mark.parametrize(
    'stream',
    [
        pickle.dumps(Mine(), protocol=2),
        pickle.dumps(Mine, protocol=2),
        b'\x80\x02cbuiltins\ngetattr\ncbuiltins\nobject\nK\x01\x86R)R.',  # calls what getattr gave
        b'\x80\x02X\x01\x00\x00\x00a)R.',  # calls a string
        b"(S'x'\nios\nsystem\n.",  # INST
        b'(cos\nsystem\no.',  # OBJ
        b'\x80\x02\x82\x01.',  # EXT1
        b'\x80\x02ctorch.nn.parameter\nParameter\n}X\x08\x00\x00\x00__init__Nsb.',  # sets a class's attribute
        b'\x80\x02ccollections\nOrderedDict\nK\x01K\x02s.',  # sets a class's item
        b'\x80\x02cbuiltins\nset\nK\x01a.',  # appends to a class
        b'\x80\x04cbuiltins\nset\n(K\x01\x90.',  # adds to a class
        b'\x80\x02X\x06\x00\x00\x00modulecbuiltins\nset\nNN\x87\x85Q.',  # asks for a module's source
        b'Pmodule\n.',
        b'\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.',
        b'\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(NN)NtR.',
    ],
)
def test_refuses_all_else(stream):
    with pytest.raises(RefusedError):
        unpickle(stream)


def test_bytes_are_read():
    assert unpickle(pickle.dumps(b'\xff\x00', protocol=2)) == b'\xff\x00'
