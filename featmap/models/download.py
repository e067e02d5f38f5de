"""A checkpoint fetched by its URL into PyTorch's cache."""

from __future__ import annotations

import http.client
import re
import shutil
import urllib.error
import urllib.request
import uuid
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch
from rich.console import Console
from rich.progress import wrap_file

from featmap.errors import CheckpointError, first_line

_TIMEOUT = 30
# OpenMMLab and torchvision end a file's name in its hash, so that the name says which file it is.
_HASHED = re.compile(r'-[0-9a-f]{8,}\.\w+$')


def is_url(text: str) -> bool:
    """Whether ``text`` is an http or https address."""
    return text.lower().startswith(('http://', 'https://'))


def fetch(url: str) -> Path:
    """The local copy of the file at ``url``, downloaded unless it is there already.

    It lies in ``checkpoints`` under ``torch.hub.get_dir()``, where MMEngine and torchvision put theirs. It gets its
    name when it is complete.

    Raises:
        CheckpointError: the address cannot be reached, or sends less than it announced.
    """
    target = Path(torch.hub.get_dir()) / 'checkpoints' / _cache_name(url)
    if target.is_file():
        return target
    part = target.with_name(f'{target.name}.{uuid.uuid4().hex}.part')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part)
        part.replace(target)
    # HTTPException covers broken answers and malformed addresses, ValueError impossible ports.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CheckpointError(
            f"cannot download the checkpoint '{url}': {_reason(error)}; fetch it yourself and give the file's path"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _download(url: str, part: Path) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, part.open('wb') as file:
        announced = answer.headers.get('Content-Length')
        if announced is None:
            shutil.copyfileobj(answer, file)
            return
        size, console = int(announced), Console(stderr=True)
        with wrap_file(answer, size, description=part.name[:40], console=console, transient=True) as reader:
            shutil.copyfileobj(reader, file)
    if part.stat().st_size != size:
        raise OSError(f'{part.stat().st_size} of {size} bytes came')


def _cache_name(url: str) -> str:
    name = re.sub(r'[^\w.-]+', '_', unquote(urlsplit(url).path).rpartition('/')[2]) or 'checkpoint'
    if _HASHED.search(name):
        return name
    # 'epoch_12.pth' may come from anywhere: two addresses must not share one file.
    stem, dot, suffix = name.rpartition('.')
    digest = sha256(url.encode()).hexdigest()[:8]
    return f'{stem}-{digest}.{suffix}' if dot else f'{name}-{digest}'


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f'HTTP {error.code} {error.reason}'
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return first_line(error)
