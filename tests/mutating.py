"""Changes to files that are likely to find what a reader forgot: of bytes, of JSON, of arrays, of pickles."""

from __future__ import annotations

import io
import math
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SIZES = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """A file with a few bytes changed, left out, doubled or moved."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, length = rng.randrange(len(out) + 1), rng.choice((1, 2, 4, 8, 60))
        change = rng.randrange(8)
        if change == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            out[at : at + 1] = rng.randbytes(1)
        elif change == 2:
            width = rng.choice('BHIQ')
            number = rng.choice(SIZES) % (1 << 8 * struct.calcsize(width))
            packed = struct.pack(rng.choice('<>') + width, number)
            out[at : at + len(packed)] = packed
        elif change == 3:
            del out[at : at + length]
        elif change == 4:
            out[at:at] = rng.randbytes(length)
        elif change == 5:
            out[at:at] = out[at : at + length] * rng.choice((1, 1, 100))
        elif change == 6:
            other = rng.randrange(len(out) + 1)
            out[at : at + length] = out[other : other + length]
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def nasty_value(rng: random.Random) -> Any:
    """A value that few expect."""
    deep: Any = rng.choice((None, 1, 'x'))
    for _ in range(rng.choice((1, 60))):
        deep = [deep] if rng.random() < 0.7 else {'a': deep}
    return rng.choice(
        (None, True, False, -1, 0, 1, 7, -0.5, 1e-300, 1e308, math.nan, math.inf, -math.inf, 2**31, 2**64, 10**400,
         '', 'x', 'x' * 20_000, '\x1b[2J\n\u202e', '[bold]', '/etc/hostname', 'None', [], {}, [[], []], [0, 0], [1, 1],
         [-1, 5], [10**6, 10**6], [math.nan, 1], [None, None], [None] * 4, ['a', 'b', 'c'], {'': ''}, deep)
    )  # fmt: skip


def mutate_value(rng: random.Random, value: Any) -> Any:
    """JSON with a few of its values replaced, left out, doubled or exchanged."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _at_random(rng, value, rng.choice((0.1, 0.5)))
    return value


def _at_random(rng: random.Random, value: Any, stop: float) -> Any:
    if not isinstance(value, (dict, list)) or not value or rng.random() < stop * 0.1:
        if isinstance(value, (int, float)) and rng.random() < 0.3:
            return value * rng.choice((-1, 0, 2, 0.5, 1e6)) + rng.choice((0, 1, -1))
        return nasty_value(rng)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    out = value.copy()
    change = rng.random()
    if change < 0.1:
        del out[key]
    elif change < 0.15 and isinstance(out, list):
        out.append(out[key])
    elif change < 0.2:
        other = rng.choice(keys)
        out[key], out[other] = out[other], out[key]
    else:
        out[key] = _at_random(rng, out[key], stop)
    return out


def mutate_arrays(rng: random.Random, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays with one of another shape, type or content, or of another name."""
    out = dict(arrays)
    name = rng.choice(list(out))
    values = out.pop(name)
    if rng.random() < 0.2:
        name = rng.choice((name + '0', name[:-1], '', 'a/../b', 'x' * 300, name.replace('2', '-1')))
    change: Callable[[], np.ndarray] = rng.choice(
        (
            lambda: values.astype(rng.choice(('i4', 'u1', 'f2', 'f8', '>f4', 'c8', '?', 'U3', 'S2', 'M8[s]'))),
            lambda: np.full_like(
                values, rng.choice((0, 1)) if values.dtype.kind in 'bui' else rng.choice((0, 1e38, -1))
            ),
            lambda: values * rng.choice((0, -1, 10**4)),
            lambda: values[..., None],
            lambda: values[:0],
            lambda: values.reshape(-1),
            lambda: values.T,
            lambda: np.zeros([rng.choice((0, 1, 2, 5)) for _ in range(rng.randrange(5))], np.float32),
            lambda: np.where(np.arange(values.size).reshape(values.shape) % 3 == 0, np.nan, values),
            lambda: np.float32(np.inf) * values.astype(np.float32),
        )
    )
    with np.errstate(all='ignore'):
        if rng.random() < 0.9:
            out[name] = change()
    return out


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz file. Not ``savez``, which takes no names that are arguments of its own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, values in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)
            archive.writestr(f'{name}.npy', member.getvalue())
    return file.getvalue()


_OPCODES = [b'(', b')', b'}', b']', b'0', b'1', b'2', b'N', b'K\x01', b'J\xff\xff\xff\x7f', b'\x85',
            b'\x86', b'\x87', b't', b'a', b'e', b's', b'u', b'R', b'\x81', b'b', b'Q', b'q\x00',
            b'h\x00', b'h\x01', b'\x8f', b'\x90', b'\x91', b'.', b'd', b'l', b'G\x7f\xf0\0\0\0\0\0\0',
            b'X\x03\0\0\0a\nb', b'ccollections\nOrderedDict\n', b'cbuiltins\nset\n', b'cnumpy\ndtype\n',
            b'ctorch._utils\n_rebuild_tensor_v2\n', b'ctorch\nSize\n', b'ctorch\nFloatStorage\n',
            b'ctorch\nfloat32\n', b'\x8a\x09' + b'\xff' * 8 + b'\x7f', b'V\x1b[2J\n', b'\x93', b'\x94',
            b'\x95' + b'\xff' * 8]  # fmt: skip


def mutate_pickle(rng: random.Random, data: bytes) -> bytes:
    """A pickle with a few of its opcodes replaced, left out, doubled or exchanged."""
    try:
        starts = [position for _, _, position in pickletools.genops(data)]
    except Exception:  # it is broken already
        return mutate_bytes(rng, data)
    steps = [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)])]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, other = rng.randrange(len(steps) + 1), rng.randrange(len(steps) + 1)
        change = rng.randrange(5)
        if change == 0:
            del steps[at : at + rng.choice((1, 1, 3))]
        elif change == 1:
            steps.insert(at, rng.choice(_OPCODES))
        elif change == 2:
            steps[at : at + 1] = [rng.choice(_OPCODES)]
        elif change == 3:
            steps[at:at] = steps[other : other + rng.choice((1, 4))] * rng.choice((1, 1, 40))
        elif at < len(steps):
            steps[at] = steps[at][:1] + mutate_bytes(rng, steps[at][1:])
        if not steps:
            break
    return b''.join(steps)


def mutate_zip(rng: random.Random, data: bytes, pickle_name: str) -> bytes:
    """An archive with one of its records changed, and all else as it should be."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    name = pickle_name if rng.random() < 0.7 else rng.choice(list(records))
    content = records.pop(name)
    change = mutate_pickle if name == pickle_name else mutate_bytes
    if rng.random() < 0.95:
        records[name if rng.random() < 0.95 else name + 'x'] = change(rng, content)
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()
