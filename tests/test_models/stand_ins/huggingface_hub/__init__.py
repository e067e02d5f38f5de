"""A stand-in for the Hub: one model with pickled weights only, fetched into a folder by patterns of names."""

from __future__ import annotations

import fnmatch
from pathlib import Path

FILES: dict[str, bytes] = {}
FETCHED: list[str] = []
CACHE: list[Path] = []


def snapshot_download(repo_id, allow_patterns):
    if repo_id != 'someone/vit':
        raise OSError('404 Client Error.\nRepository Not Found')
    for name, content in FILES.items():
        if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
            FETCHED.append(name)
            (CACHE[0] / name).write_bytes(content)
    return str(CACHE[0])
