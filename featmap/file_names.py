"""Any text as the name of a file, on every system."""

from __future__ import annotations

import re
import zlib

_LONGEST = 180  # bytes, which leaves room for a step and a suffix within the 255 of most file systems
_FOLDERS = re.compile(r'[/\\]+')
_UNFIT = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')


def file_name(text: str) -> str:
    """The text without what no file's name may hold: ``dog/neck.0`` becomes ``dog.neck.0``.

    A long one is cut, and told from others by a number that its end makes.
    """
    name = _UNFIT.sub('_', _FOLDERS.sub('.', text)).strip(' .') or '_'
    data = name.encode('utf-8', 'replace')
    if len(data) <= _LONGEST:
        return name
    return f'{data[:_LONGEST].decode("utf-8", "ignore")}~{zlib.crc32(data):08x}'
