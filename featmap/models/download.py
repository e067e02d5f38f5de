"""A checkpoint fetched by its URL into PyTorch's cache."""

from __future__ import annotations

import re
import uuid
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch
from rich.console import Console
from rich.progress import Progress

from featmap.download import DownloadError, check_url, download
from featmap.errors import CheckpointError, first_line

MAX_BYTES = 16 << 30
MAX_SECONDS = 3600
# OpenMMLab and torchvision end a file's name in the beginning of its SHA-256.
_HASHED = re.compile(r'-([0-9a-f]{8,64})\.\w+$')


def fetch(url: str, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> Path:
    """The local copy of the file at ``url``, downloaded unless it is there already.

    It lies in ``checkpoints`` under ``torch.hub.get_dir()``, under a name that stands for the whole address: another
    address never finds it. It gets that name when it is complete and has the hash that the address names, if it does
    (``-0123abcd.pth``); a copy that has lost that hash is fetched again.

    Raises:
        CheckpointError: the address cannot be reached, sends too much, for too long, less than it announced, or
            another file than its name promises.
    """
    try:
        check_url(url)
        target = Path(torch.hub.get_dir()) / 'checkpoints' / _cache_name(url)
        promised = _HASHED.search(_file_name(url))
        if target.is_file() and (promised is None or _digest(target).startswith(promised[1])):
            return target
        part = target.with_name(f'{target.name}.{uuid.uuid4().hex}.part')
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _download(url, part, max_bytes, max_seconds)
            if promised is not None and not (digest := _digest(part)).startswith(promised[1]):
                raise DownloadError(
                    f'its name promises the SHA-256 {promised[1]}…, but what came has {digest[: len(promised[1])]}…'
                )
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except (DownloadError, OSError) as error:
        raise CheckpointError(
            f"cannot download the checkpoint '{url}': {first_line(error)}; fetch it yourself and give the file's path"
        ) from error
    return target


def _download(url: str, part: Path, max_bytes: int, max_seconds: float) -> None:
    console = Console(stderr=True)
    with (
        part.open('wb') as file,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task(re.sub(r'[^\w.-]', '_', _file_name(url))[-40:], total=None)

        def watch(got: int, expected: int | None) -> None:
            progress.update(task, completed=got, total=expected)

        download(url, file, max_bytes, max_seconds, watch)


def _file_name(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition('/')[2]


def _cache_name(url: str) -> str:
    """Readable, short enough for any file system, and one for each address."""
    stem, dot, suffix = re.sub(r'[^\w.-]+', '_', _file_name(url)).rpartition('.')
    if not dot:
        stem, suffix = suffix, 'pth'
    return f'{stem[:40] or "checkpoint"}-{sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:24]}.{suffix[:8]}'


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open('rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()
