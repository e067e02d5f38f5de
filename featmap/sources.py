"""Where images come from: a file, a folder, a glob or a URL, listed before anything is decoded."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Union
from urllib.parse import unquote, urlsplit

from featmap.decoding import IMAGE_SUFFIXES, MAX_PIXELS, VIDEO, VIDEO_SUFFIXES, check_header
from featmap.download import DownloadError, check_url, is_url
from featmap.errors import SourceError
from featmap.reading import STDIN, KeptSource, Source, missing, read_image, unreachable, unreadable

__all__ = ['KeptSource', 'Source', 'list_sources', 'read_image']

_SUFFIX_HELP = f'images are recognised by their suffix: {" ".join(IMAGE_SUFFIXES)}'

_Parts = tuple[str, ...]
_Spec = Union[str, 'os.PathLike[str]']


def list_sources(
    spec: _Spec | Sequence[_Spec], exclude: _Spec | None = None, max_pixels: int = MAX_PIXELS
) -> list[Source]:
    """List the images that a file, folder, glob (with ``**`` too) or http(s) URL, or several, name.

    Folders are searched with their subfolders, in natural order (img2 before img10), leaving out
    hidden files and all below ``exclude``, the folder of the results. A path that exists is never
    read as a glob.

    Raises:
        SourceError: nothing is there, or a file that was named outright is no image.
    """
    if isinstance(spec, (str, os.PathLike)):
        return [replace(source, max_pixels=max_pixels) for source in _list_one(os.fspath(spec), exclude, max_pixels)]
    if not isinstance(spec, Sequence) or isinstance(spec, (bytes, bytearray)):
        raise SourceError(
            f'a {type(spec).__name__} was given as the image: '
            'expected a file, a folder, a glob, a URL or a list of those'
        )
    if not spec:
        raise SourceError('no image was given: expected a file, a folder, a glob or a URL')
    return [source for one in spec for source in list_sources(one, exclude, max_pixels)]


def _list_one(spec: str, exclude: _Spec | None, max_pixels: int) -> list[Source]:
    if not spec:
        raise SourceError('an empty text was given as the image: expected a path or a URL')
    if spec == STDIN:
        return [KeptSource(STDIN, 'stdin')]
    if is_url(spec):
        try:
            check_url(spec)
        except DownloadError as error:
            raise unreachable(spec, error) from error
        if urlsplit(spec).path.lower().endswith(VIDEO_SUFFIXES):
            raise SourceError(f'{spec!r} seems to be {VIDEO}')
        return [Source(spec, _url_name(spec))]
    if not os.path.exists(spec) and (scheme := re.match(r'([a-z][a-z0-9+]+)://', spec, re.I)):
        raise SourceError(
            f'{spec!r}: the scheme {scheme[1]!r} is not supported; give a path, or a URL that '
            'begins with http:// or https://'
        )
    path = Path(spec if os.path.exists(spec) else os.path.expanduser(spec))
    if os.path.isdir(path):
        return _list_folder(path, exclude)
    if os.path.exists(path):
        return [_file_source(path, max_pixels)]
    return _list_glob(path, exclude)


def _file_source(path: Path, max_pixels: int) -> Source:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return KeptSource(str(path), path.name)
        with path.open('rb') as file:
            check_header(file, str(path), max_pixels)
    except OSError as error:
        raise unreadable(path, error) from error
    return Source(str(path), path.name)


def _list_folder(root: Path, exclude: _Spec | None) -> list[Source]:
    if exclude is not None and os.path.realpath(root) == os.path.realpath(exclude):
        raise SourceError(
            f'the folder {str(root)!r} is also the folder for the results, which would be taken '
            'for images the next time: choose another one for the results'
        )
    files = list(_walk(root, exclude))
    found = _images(root, files)
    if not found:
        raise SourceError(
            f'the folder {str(root)!r} has no image among the {len(files)} files in it and its '
            f'subfolders{_suffix_counts(files)}; {_SUFFIX_HELP}'
        )
    return found


def _list_glob(path: Path, exclude: _Spec | None) -> list[Source]:
    parts = path.parts
    fixed = 0  # a component that exists is meant as it is, even with brackets in its name
    while fixed < len(parts) - 1 and os.path.exists(Path(*parts[: fixed + 1])):
        fixed += 1
    root, patterns = Path(*parts[:fixed]), parts[fixed:]
    if not os.path.isdir(root) or not re.search(r'[*?[]', patterns[0]):
        raise missing(path)
    hidden = any(pattern.startswith('.') for pattern in patterns)
    depth = None if '**' in patterns else len(patterns)
    files = [p for p in _walk(root, exclude, depth, hidden) if _matches(p, patterns)]
    found = _images(root, files)
    if files and not found:
        raise SourceError(
            f'{str(path)!r} matches {len(files)} files{_suffix_counts(files)}, none of them an image; {_SUFFIX_HELP}'
        )
    if not found:
        raise SourceError(
            f'{str(path)!r} matches no file below {str(root)!r}: check the pattern '
            '(* stands for one name, **/ for any depth of folders), or give the folder itself'
        )
    return found


def _images(root: Path, files: list[_Parts]) -> list[Source]:
    images = sorted((p for p in files if p[-1].lower().endswith(IMAGE_SUFFIXES)), key=_natural)
    return [Source(str(root.joinpath(*parts)), '/'.join(parts)) for parts in images]


def _walk(root: Path, exclude: _Spec | None, depth: int | None = None, hidden: bool = False) -> Iterator[_Parts]:
    # Yields the relative parts of each file. Links are followed last and each folder is entered
    # once, so that a loop of links ends and a file is named by its own folder where it has one.
    real_root = Path(os.path.realpath(root))
    skipped = None if exclude is None else Path(os.path.realpath(exclude))
    if skipped is not None and real_root.is_relative_to(skipped):
        skipped = None  # the results go somewhere above; that is no reason to skip everything
    seen = {_identity(parent) for parent in real_root.parents}
    folders: deque[_Parts] = deque([()])
    links: deque[_Parts] = deque()
    while folders or links:
        parts = (folders or links).popleft()
        folder = root.joinpath(*parts)
        try:
            if (identity := _identity(folder)) in seen:
                continue
            seen.add(identity)
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise unreadable(folder, error) from error
        for entry in entries:
            if entry.name.startswith('.') and not hidden:
                continue
            below = (*parts, entry.name)
            if os.path.isfile(entry.path):
                yield below
            elif os.path.isdir(entry.path) and (depth is None or len(below) < depth):
                real = Path(os.path.realpath(entry.path))
                if skipped is None or not real.is_relative_to(skipped):
                    (links if entry.is_symlink() else folders).append(below)


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _matches(parts: _Parts, patterns: _Parts) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == '**':
        deeper = bool(parts) and not parts[0].startswith('.') and _matches(parts[1:], patterns)
        return deeper or _matches(parts, patterns[1:])
    if not parts or (parts[0].startswith('.') and not patterns[0].startswith('.')):
        return False
    return fnmatch.fnmatch(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])


def _natural(parts: _Parts) -> tuple:
    pieces = [re.split(r'([0-9]+)', part.casefold()) for part in parts]
    # Text stands at the even places and numbers at the odd ones, so like is compared with like.
    return [[int(t) if i % 2 else t for i, t in enumerate(piece)] for piece in pieces], parts


def _suffix_counts(files: list[_Parts]) -> str:
    counts = Counter(os.path.splitext(parts[-1])[1].lower() or 'no suffix' for parts in files)
    text = ', '.join(f'{count} x {suffix}' for suffix, count in counts.most_common(5))
    video = ' (videos: extract frames first)' if set(counts) & set(VIDEO_SUFFIXES) else ''
    return f' ({text}){video}' if text else ''


def _url_name(url: str) -> str:
    last = unquote(urlsplit(url).path.rstrip('/')).rpartition('/')[2]
    # The end is kept, for it has the suffix; 60 characters fit any file system in any script.
    return re.sub(r'[^\w.()-]', '_', last)[-60:].lstrip('.') or 'image'
