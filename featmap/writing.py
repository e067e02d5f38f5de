"""Files written whole or not at all, and never over one that is read."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from featmap.errors import OutputError, first_line

_HOST = f'{zlib.crc32(socket.gethostname().encode()):08x}'
_TEMPORARY = re.compile(r'\.featmap-([0-9a-f]{8})-(\d+)-[0-9a-f]{32}\.tmp')
_STALE_S = 24 * 3600


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise OutputError if no result can be written to ``path``; leave nothing behind."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise OutputError(f'{str(path)!r} is a folder: expected the name of a file')
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f'{str(path)!r} exists and is write-protected: choose another name')
    folder = _existing_folder(path)
    if not folder.is_dir():
        raise OutputError(f'{str(path)!r} cannot be written: {str(folder)!r} is a file where a folder is needed')
    # Rights alone do not tell: a read-only or virtual file system refuses even root.
    probe = folder / _temporary_name()
    try:
        with probe.open('xb'):
            pass
    except OSError as error:
        raise OutputError(
            f'{str(path)!r} cannot be written: {_reason(error)} in {str(folder)!r}; choose another folder'
        ) from error
    finally:
        if os.path.lexists(probe):
            probe.unlink()


def prepare(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Check each of the planned paths, one per folder in full, and clear the folders of what killed runs left.

    Raises:
        OutputError: where a result cannot be written.
    """
    folders: set[Path] = set()
    for path in paths:
        folder = Path(path).parent
        if folder not in folders or os.path.lexists(path):
            check_writable(path)
        if folder not in folders:
            remove_stale(folder)
        folders.add(folder)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that takes ``path``'s name on success and vanishes on any failure.

    Folders are created as needed. A link is kept, and what it points to replaced.

    Raises:
        OutputError: the file cannot be written, with the system's reason.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / _temporary_name()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open('xb') as file:
            yield file
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(
            f'{os.fspath(path)!r} cannot be written: {_reason(error)}; choose another place or make room'
        ) from error
    finally:
        if os.path.lexists(temporary):
            temporary.unlink()


def _temporary_name() -> str:
    # Windows cannot be asked for a process without touching it.
    process = os.getpid() if os.name == 'posix' else 0
    return f'.featmap-{_HOST}-{process}-{uuid.uuid4().hex}.tmp'


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all. Raises OutputError."""
    with atomic_write(path) as file:
        file.write(data)


def remove_stale(folder: str | os.PathLike[str]) -> None:
    """Remove what runs that were killed left half-written in a folder: temporaries whose process is no more.

    Those of another machine, whose processes cannot be asked for, are removed after a day.
    """
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        found = [(entry, match) for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
    for entry, match in found:
        with contextlib.suppress(FileNotFoundError, PermissionError):  # another run removes it at this moment
            here = match[1] == _HOST and match[2] != '0'
            if (here and not _runs(int(match[2]))) or time.time() - entry.stat().st_mtime > _STALE_S:
                os.unlink(entry.path)


def _runs(process: int) -> bool:
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs and is another user's
        return True
    return True


def refuse_overwriting(paths: Iterable[Path], inputs: Mapping[str, str]) -> None:
    """Refuse results that would replace a folder or something that the run reads, by whatever name.

    Args:
        paths: The planned results.
        inputs: What is read: paths, and what each is called in a message. URLs do no harm.

    Raises:
        OutputError: for the first of them.
    """
    known = {identity: kind for path, kind in inputs.items() if (identity := _identity(path))}
    for path in paths:
        if os.path.isdir(path):
            raise OutputError(f'the result {str(path)!r} would replace a folder: move it away')
        kind = known.get(_identity(path) or (0, 0))
        if kind:
            raise OutputError(f'the result {str(path)!r} would overwrite {kind}: choose another name or folder')


def _identity(path: str | Path) -> tuple[int, int] | None:
    if not os.path.exists(path):  # a URL, or a result that is yet to be written
        return None
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _existing_folder(path: Path) -> Path:
    folder = path.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder


def _reason(error: OSError) -> str:
    return error.strerror or first_line(error)
