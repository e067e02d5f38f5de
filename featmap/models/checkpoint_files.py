"""What is in a checkpoint file, read without running code unless the user trusts the file."""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from featmap.errors import CheckpointError, MissingPackageError, first_line, nearest
from featmap.models.checkpoint_formats import read_pickles, read_zip
from featmap.models.constructors import LimitError, RefusedError
from featmap.wording import option as written

_SAFETENSORS = '.safetensors'
_KINDS = (
    (b'\xff\xd8\xff', 'a JPEG image'),
    (b'\x89PNG', 'a PNG image'),
    (b'version https://git-lfs', 'a Git LFS pointer, not the file itself; run: git lfs pull'),
    (b'\x1f\x8b', 'a gzip archive; unpack it first'),
    (b'7z\xbc\xaf', 'a 7z archive; unpack it first'),
    (b'\x89HDF', 'an HDF5 file'),
    (b'<', 'a web page or XML file, as a failed download leaves behind'),
)
_SUFFIXES = {
    '.py': 'a Python file; the order is IMG CONFIG CHECKPOINT',
    '.onnx': 'an ONNX model',
}


def read_file(path: Path, trust: bool = False) -> Any:
    """The object that ``torch.save`` wrote to ``path``, or the tensors in a safetensors file, all on the CPU.

    Args:
        path: a file of any PyTorch version, zipped or not, or ``.safetensors``.
        trust: unpickle in full; the file can then run any code.

    Raises:
        CheckpointError: there is no such file, it is no checkpoint, is damaged, or wants to run code.
        MissingPackageError: safetensors is not installed.
    """
    _check_present(path)
    if path.suffix.lower() == _SAFETENSORS:
        return _read_safetensors(path)
    zipped = _check_kind(path, trust)
    try:
        if trust:
            return _load_in_full(path)
        return read_zip(path) if zipped else read_pickles(path)
    except RefusedError as error:
        raise CheckpointError(
            f"'{path}' holds more than weights and may run code: {error.name}; if you trust where it comes from, load "
            f'it with {written("trust_checkpoint", True)}'
        ) from error
    except LimitError as error:
        raise CheckpointError(
            f"'{path}' is no checkpoint that training wrote: {first_line(error)}; if you trust where it comes from, "
            f'load it with {written("trust_checkpoint", True)}'
        ) from error
    except CheckpointError:
        raise
    # A damaged pickle is a program gone wrong: it can fail in any way.
    except Exception as error:
        raise CheckpointError(
            f"'{path}' cannot be read, it is damaged, cut short or no PyTorch checkpoint "
            f'({type(error).__name__}: {first_line(error)})'
        ) from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingPackageError(f"'{path}' needs a package to be read: pip install safetensors") from error
    try:
        return load_file(path)
    except Exception as error:  # of a type of its own, which comes from another language
        raise CheckpointError(
            f"'{path}' cannot be read, it is damaged, cut short or no safetensors file: {first_line(error)}"
        ) from error


def _load_in_full(path: Path) -> Any:
    forced = os.environ.get('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '').lower()
    if forced in ('1', 'y', 'yes', 'true'):
        raise CheckpointError(
            f"'{path}' cannot be loaded in full while TORCH_FORCE_WEIGHTS_ONLY_LOAD={forced} is set; unset it"
        )
    with path.open('rb') as file:
        return torch.load(file, map_location='cpu', pickle_module=pickle, weights_only=False)


def _check_present(path: Path) -> None:
    if path.is_dir():
        names = sorted(entry.name for entry in path.glob('*.pth'))
        hint = f'; there is {", ".join(names[:3])}' if names else ''
        raise CheckpointError(f"'{path}' is a folder; give a checkpoint file{hint}")
    if not path.exists():
        folder = path.parent
        names = [entry.name for entry in folder.iterdir() if entry.is_file()] if folder.is_dir() else []
        hint = f'; nearest there: {", ".join(nearest(path.name, names))}' if names else ''
        raise CheckpointError(f"the checkpoint '{path}' does not exist{hint}")


def _check_kind(path: Path, trust: bool) -> bool:
    """Whether it is a zip archive; a reason that helps where it is nothing that can be read."""
    try:
        with path.open('rb') as file:
            head = file.read(512)
    except OSError as error:
        raise CheckpointError(f"the checkpoint '{path}' cannot be opened: {error.strerror}") from error
    if not head:
        raise CheckpointError(f"the checkpoint '{path}' is empty")
    if head.startswith(b'PK\x03\x04'):
        _check_zip(path)
        return True
    if path.suffix in _SUFFIXES:
        raise CheckpointError(f"'{path}' is no checkpoint but {_SUFFIXES[path.suffix]}")
    if head.startswith(b'\x80') or (trust and tarfile.is_tarfile(path)):
        return False
    # Unpacking an archive puts files where it says.
    kind = 'a tar archive, as PyTorch wrote before 2017' if head[257:262] == b'ustar' else 'some other file'
    kind = next((kind for magic, kind in _KINDS if head.startswith(magic)), kind)
    hint = f'; if you trust where it comes from, load it with {written("trust_checkpoint", True)}'
    hint = hint if 'tar archive' in kind else ''
    raise CheckpointError(f"'{path}' is no checkpoint but {kind}{hint}")


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition('/')[2] for name in archive.namelist()}
    except Exception as error:  # a damaged directory can fail in any way
        raise CheckpointError(f"the checkpoint '{path}' is cut short; copy or download it again") from error
    if 'constants.pkl' in names:
        raise CheckpointError(f"'{path}' is a TorchScript model; give the checkpoint that training wrote")
    if 'data.pkl' not in names:
        raise CheckpointError(f"'{path}' is no checkpoint but some other zip archive")
