"""Named arrays as the bytes of one file, ``.npz`` or ``.safetensors``: numbers only, and nothing is pickled."""

from __future__ import annotations

import io
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
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # safetensors has an error type of its own, and a damaged zip many
        raise SourceError(f'{str(path)!r} cannot be read: {type(error).__name__}: {first_line(error)}') from error


def _safetensors() -> Any:
    try:
        from safetensors import numpy as safetensors
    except ImportError as error:
        raise MissingPackageError(
            '.safetensors files need a package: pip install safetensors; .npz files need none'
        ) from error
    return safetensors
