"""The two forms in which ``torch.save`` writes: a zip archive, and before PyTorch 1.6 one pickle after another.

Both are read here and not by ``torch.load``, for which a file can pass as something else than what was checked. No more
is read than the file holds: what it announces is compared with its size first.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from featmap.models.constructors import LimitError, Storage, StorageType, shown, width_of
from featmap.models.unpickling import Unpickler

MAX_PICKLE_BYTES = 256 << 20
"""Of the pickle alone, without the tensors' numbers."""
_MAX_RECORDS = 1_000_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_BLOCK = 1 << 20


class FormatError(ValueError):
    """The file is no checkpoint of PyTorch's, or a damaged one."""


def read_zip(path: Path) -> Any:
    """The object in a zip archive that ``torch.save`` wrote, with tensors on the CPU.

    Raises:
        FormatError: it is no such archive, or is damaged.
        LimitError: it would grow when it is read.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise LimitError('it is compressed, which PyTorch never does')
        # Records that overlap, or more of them than a file has tensors.
        if sum(record.file_size for record in records) > path.stat().st_size or len(records) > _MAX_RECORDS:
            raise LimitError('it announces more than it holds')
        by_name = {record.filename: record for record in records}
        pickles = [name for name in by_name if name.endswith('/data.pkl') and name.count('/') == 1]
        if len(pickles) != 1 or len(by_name) != len(records):
            raise FormatError('it has several records of one name')
        folder = pickles[0].partition('/')[0]
        if by_name[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise LimitError(f'its pickle is larger than {MAX_PICKLE_BYTES >> 20} MiB')
        order = f'{folder}/byteorder'
        if order in by_name and archive.read(by_name[order])[:10].decode('ascii', 'replace') != sys.byteorder:
            raise FormatError('it was written on a machine of another byte order')
        storages: dict[str, Storage] = {}

        def storage(reference: tuple[Any, ...]) -> Storage:
            dtype, key, count = _reference(reference)
            if key not in storages:
                record = by_name.get(f'{folder}/data/{key}')
                if record is None:
                    raise FormatError(f'it has no numbers for the tensor {shown(key)}')
                # Fewer than the record has is what old PyTorch writes for an empty storage.
                if count * width_of(dtype) > record.file_size:
                    raise FormatError(f'{record.file_size} bytes are held for {count} numbers')
                with archive.open(record) as file:
                    storages[key] = _filled(file, count, dtype)
            return _same(storages[key], dtype, count)

        return Unpickler(io.BytesIO(archive.read(by_name[pickles[0]])), storage).load()


def read_pickles(path: Path) -> Any:
    """The object in a file that PyTorch before 1.6 wrote, with tensors on the CPU.

    Raises:
        FormatError: it is no such file, or is damaged, or announces more than it holds.
    """
    with path.open('rb') as raw:
        file = _Bounded(raw, path.stat().st_size)
        if Unpickler(file).load() != _LEGACY_MAGIC or Unpickler(file).load() != _LEGACY_VERSION:
            raise FormatError('it is a pickle, but not of PyTorch')
        machine = Unpickler(file).load()
        if not isinstance(machine, dict) or machine.get('little_endian') is not (sys.byteorder == 'little'):
            raise FormatError('it was written on a machine of another byte order')
        storages: dict[str, Storage] = {}

        def storage(reference: tuple[Any, ...]) -> Storage:
            dtype, key, count = _reference(reference)
            if key not in storages:
                file.reserve(count * width_of(dtype))
                storages[key] = Storage(torch.UntypedStorage(count * width_of(dtype)), dtype, 0, count)
            whole = _same(storages[key], dtype, count)
            view = reference[4] if len(reference) > 4 else None
            if view is None:
                return whole
            if not isinstance(view, tuple) or len(view) != 3 or not all(type(part) is int for part in view[1:]):
                raise FormatError(f'a part of a tensor is told by {shown(view)}')
            _, start, length = view
            if start < 0 or length < 0 or start + length > count:
                raise FormatError(f'a part from {shown(start)} of {count} numbers')
            return whole._replace(start=start, length=length)

        content = Unpickler(file, storage).load()
        keys = Unpickler(file).load()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages):
            raise FormatError('the tensors that it names are not those that it holds')
        for key in dict.fromkeys(keys):
            held = storages[key]
            (count,) = struct.unpack('<q', file.read(8))
            if count != held.length:
                raise FormatError(f'{count} numbers are held for {held.length}')
            _fill(file, held)
        return content


def _reference(reference: tuple[Any, ...]) -> tuple[torch.dtype, str, int]:
    """The type, key and length of a storage that a pickle refers to."""
    kind, key, count = (*reference[:2], reference[3]) if len(reference) > 3 else (None, None, None)
    if not isinstance(kind, StorageType) or not isinstance(key, str) or type(count) is not int or count < 0:
        raise FormatError(f'a storage is told by {", ".join(shown(part) for part in reference[:5])}')
    return kind.dtype, key, count


def _same(storage: Storage, dtype: torch.dtype, count: int) -> Storage:
    """The storage under the type that this reference names; two references must agree on what there is."""
    if count * width_of(dtype) != storage.length * width_of(storage.dtype):
        raise FormatError(f'{shown(count)} numbers are wanted where {storage.length} are held')
    return storage._replace(dtype=dtype, length=count)


def _filled(file: IO[bytes], count: int, dtype: torch.dtype) -> Storage:
    storage = Storage(torch.UntypedStorage(count * width_of(dtype)), dtype, 0, count)
    _fill(file, storage)
    return storage


def _fill(file: Any, storage: Storage) -> None:
    whole = torch.empty(0, dtype=torch.uint8).set_(storage.memory)
    memory = memoryview(whole.numpy())  # type: ignore[arg-type]
    position = 0
    while position < len(memory):
        block = file.read(min(_BLOCK, len(memory) - position))
        if not block:
            raise FormatError('it ends within a tensor')
        memory[position : position + len(block)] = block
        position += len(block)


class _Bounded:
    """A file that gives no more than there is, however much is asked for: buffers are made before they are filled."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._reserved = 0

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes."""
        return self._file.read(max(0, min(count, self._size - self._file.tell())))

    def readline(self) -> bytes:
        """The bytes up to the end of the line."""
        return self._file.readline(MAX_PICKLE_BYTES)

    def reserve(self, count: int) -> None:
        """Note that so many bytes are to come.

        Raises:
            FormatError: there are not so many.
        """
        self._reserved += count
        if self._reserved > self._size - self._file.tell():
            raise FormatError('it announces more than it holds')
