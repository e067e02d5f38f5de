"""Named arrays as the bytes of one file, ``.npz`` or ``.safetensors``: numbers only, and nothing is pickled."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featmap.errors import MissingPackageError, OutputError, SourceError, first_line

DATA_SUFFIXES = ('.npz', '.safetensors')


def to_array(values: Any) -> np.ndarray:
    """A contiguous array; of a tensor too, and of bfloat16, which files of arrays do not hold, as float32."""
    if hasattr(values, 'detach'):
        values = values.detach().cpu()
        values = values.float().numpy() if str(values.dtype) == 'torch.bfloat16' else values.numpy()
    values = np.asarray(values)
    if values.dtype.kind not in 'biuf':
        if values.dtype.name != 'bfloat16':
            raise OutputError(f'an array of {values.dtype} cannot be saved: expected numbers')
        values = values.astype(np.float32)
    return np.ascontiguousarray(values)


def pack(path: Path, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a file of this suffix. Raises MissingPackageError where safetensors is not installed."""
    if path.suffix.lower() == '.safetensors':
        return _safetensors().save(arrays)
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpack(path: Path, data: bytes) -> dict[str, np.ndarray]:
    """The arrays in ``data``, the content of ``path``.

    Raises:
        SourceError: the data are no such file, or would have to be unpickled.
        MissingPackageError: safetensors is not installed.
    """
    safe = _safetensors() if path.suffix.lower() == '.safetensors' else None
    try:
        if safe is not None:
            return safe.load(data)
        return read_npz(data)
    except Exception as error:  # safetensors has an error type of its own, and a damaged zip many
        raise SourceError(f'{str(path)!r} cannot be read: {type(error).__name__}: {first_line(error)}') from error


def read_npz(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of numbers in an .npz file as ``np.savez`` writes it: what is announced must be there.

    Raises:
        ValueError: it is compressed, or a header announces something else than numbers, or more than there is.
        Exception: a damaged archive can fail in any way.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError('it is compressed, expected an archive as np.savez writes it')
        if sum(record.file_size for record in records) > len(data):
            raise ValueError('it announces more than it holds')
        return {record.filename.removesuffix('.npy'): _array(archive.read(record)) for record in records}


def _array(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f'an array of format {version}, expected 1.0 or 2.0')
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.kind not in 'biuf':
        raise ValueError(f'an array of {dtype}, expected numbers')
    count = math.prod(shape)
    if min((0, *shape)) < 0 or count * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f'{len(data) - file.tell()} bytes are held for an array of {dtype} {shape}')
    values = np.frombuffer(data, dtype, count, file.tell())
    return values.reshape(shape, order='F' if by_columns else 'C').copy()


def _safetensors() -> Any:
    try:
        from safetensors import numpy as safetensors
    except ImportError as error:
        raise MissingPackageError(
            '.safetensors files need a package: pip install safetensors; .npz files need none'
        ) from error
    return safetensors


def sidecar_of(path: str | os.PathLike[str]) -> Path:
    """The JSON file that belongs to a data file: ``dog.npz.json`` for ``dog.npz``."""
    path = Path(path)
    return path.with_name(f'{path.name}.json')
