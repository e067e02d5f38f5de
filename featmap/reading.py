"""One image to be read: a file, what comes through a pipe, or a URL."""

from __future__ import annotations

import io
import itertools
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from featmap.decoding import MAX_PIXELS, decode_image
from featmap.download import DownloadError, download, is_url
from featmap.errors import SourceError, first_line, nearest

_MAX_FILE_BYTES = 2**31
_MAX_DOWNLOAD_BYTES = 2**30
_MAX_DOWNLOAD_SECONDS = 300
STDIN = '-'
"""Stands for the image on standard input."""


@dataclass(frozen=True)
class Source:
    """One image to be read.

    Attributes:
        location: the path or URL to open.
        name: a relative path with ``/`` under which the result is filed; not always unique.
        max_pixels: the size from which on it is not decoded.
    """

    location: str
    name: str
    max_pixels: int = field(default=MAX_PIXELS, compare=False, repr=False)

    @property
    def origin(self) -> str:
        """Where it can be read again; empty for standard input."""
        return '' if self.location == STDIN else self.location

    def read(self) -> np.ndarray:
        """Fetch and decode the image: RGB (H, W, 3), uint8, contiguous. Raises SourceError."""
        if self.location == STDIN:
            return decode_image(_bounded(sys.stdin.buffer, 'standard input'), 'standard input', self.max_pixels)
        if is_url(self.location):
            return decode_image(_download(self.location), self.location, self.max_pixels)
        return read_image(Path(self.location), self.max_pixels)


@dataclass(frozen=True)
class KeptSource(Source):
    """A source that is read once and kept, or why it cannot be read: a pipe gives its image but once."""

    _found: list[np.ndarray | str] = field(default_factory=list, compare=False, repr=False)

    def read(self) -> np.ndarray:
        """As :meth:`Source.read`; the same array each time."""
        if not self._found:
            try:
                self._found.append(super().read())
            except SourceError as error:
                self._found.append(str(error))
                raise
        if isinstance(self._found[0], str):
            raise SourceError(self._found[0])
        return self._found[0]


def read_image(data_or_path: bytes | str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file, or the bytes of one: RGB (H, W, 3), uint8, contiguous.

    Raises:
        SourceError: the file cannot be opened or decoded, or has more than ``max_pixels``; the message says why.
    """
    if isinstance(data_or_path, (bytes, bytearray, memoryview)):
        return decode_image(bytes(data_or_path), 'the given bytes', max_pixels)
    path = Path(data_or_path)
    if not os.path.exists(path):
        raise missing(path)
    try:
        with path.open('rb') as file:
            data = _bounded(file, str(path))
    except OSError as error:
        raise unreadable(path, error) from error
    return decode_image(data, str(path), max_pixels)


def _bounded(file: IO[bytes], name: str) -> bytes:
    data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:  # of a device, such as /dev/zero, there is no end
        raise SourceError(f'{name!r} is larger than {_MAX_FILE_BYTES >> 20} MiB: scale it down or cut it up')
    return data


def _download(url: str) -> bytes:
    data = io.BytesIO()
    try:
        download(url, data, _MAX_DOWNLOAD_BYTES, _MAX_DOWNLOAD_SECONDS)
    except DownloadError as error:
        raise unreachable(url, error) from error
    return data.getvalue()


def missing(path: Path) -> SourceError:
    """The error for a path that is not there, with the names in its folder that are most like it."""
    first = path  # the first of its components that is not there
    while not os.path.exists(first.parent) and first.parent != first:
        first = first.parent
    folder = first.parent
    try:
        with os.scandir(folder) as entries:  # not all: comparing names takes its time
            names = [e.name for e in itertools.islice(entries, 2000) if e.name[:1] != '.' or first.name[:1] == '.']
    except OSError as error:
        return unreadable(folder, error)
    near = ', '.join(repr(name) for name in nearest(first.name, names))
    where = f'there is no {first.name!r} in the folder {str(folder)!r}'
    hint = f'the names most like it are {near}' if near else 'the folder is empty'
    return SourceError(f'{str(path)!r} does not exist: {where}; {hint}')


def unreadable(path: Path, error: OSError) -> SourceError:
    """The error for a file or folder that the system does not open."""
    reason = error.strerror or first_line(error)
    return SourceError(f'{str(path)!r} cannot be opened ({reason}): check the path and its rights')


def unreachable(url: str, error: DownloadError) -> SourceError:
    """The error for a URL."""
    return SourceError(
        f'{url!r} cannot be had ({error}): check the address and the network, and that no login is needed, or download '
        'the image and give its path'
    )
