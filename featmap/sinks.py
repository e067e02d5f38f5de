"""Where results go: planned before any work is done, and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from featmap.errors import OptionError, OutputError, first_line
from featmap.sources import Source

OUTPUT_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff')
_LONGEST_SIDE = {'.jpg': 65500, '.jpeg': 65500, '.webp': 16383}  # libjpeg's and libwebp's limits


def plan_outputs(
    sources: Sequence[Source],
    out_file: str | os.PathLike[str] | None = None,
    out_dir: str | os.PathLike[str] | None = None,
    suffix: str = '.png',
) -> list[Path]:
    """Decide the file of each source's result; nothing is created.

    With ``out_file`` the one result goes exactly there (``.png`` is added where it has no suffix).
    Otherwise the sources' folder structure is mirrored below ``out_dir`` (default ``output``):
    ``a/dog.jpg`` becomes ``a/dog.png``, or ``a/dog.jpg.png`` where two sources would meet. ``suffix`` is that of
    all of them.

    Raises:
        OptionError: the two options exclude each other, or ``out_file`` meets several sources.
        OutputError: a result would overwrite an input or a folder, or has an unknown suffix.
    """
    if out_file is not None and out_dir is not None:
        raise OptionError('--out-file and --out-dir exclude each other: give one of them')
    if out_file is None:
        root = Path(os.path.expanduser('output' if out_dir is None else out_dir))
        paths = [root.joinpath(*PurePosixPath(name).parts) for name in _unique_names(sources, suffix)]
    elif len(sources) == 1:
        paths = [exact_file(out_file)]
    else:
        raise OptionError(
            f'--out-file {os.fspath(out_file)!r} takes the result of one image, but there are '
            f'{len(sources)}: use --out-dir'
        )
    _refuse_overwriting(paths, sources)
    return paths


def exact_file(path: str | os.PathLike[str]) -> Path:
    """Complete the path of one result: ``~`` is expanded, and ``.png`` added where it has no suffix.

    Raises:
        OutputError: it is a folder, or its suffix is none of ``OUTPUT_SUFFIXES``.
    """
    text = os.path.expanduser(os.fspath(path))
    separators = tuple(filter(None, (os.sep, os.altsep)))
    if not text or text.endswith(separators) or os.path.isdir(text):
        raise OutputError(f'{text!r} is a folder: expected the name of a file, such as result.png')
    file = Path(text)
    if not file.suffix:
        return file.with_name(f'{file.name}.png')
    _known_suffix(file)
    return file


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
    probe = folder / f'.{uuid.uuid4().hex}.tmp'
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
    """Check each of the planned paths, one per folder in full. Raises OutputError."""
    folders: set[Path] = set()
    for path in paths:
        folder = Path(path).parent
        if folder not in folders or os.path.lexists(path):
            check_writable(path)
        folders.add(folder)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that takes ``path``'s name on success and vanishes on any failure.

    Folders are created as needed. A link is kept, and what it points to replaced.

    Raises:
        OutputError: the file cannot be written, with the system's reason.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / f'.{uuid.uuid4().hex}.tmp'
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


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all. Raises OutputError."""
    with atomic_write(path) as file:
        file.write(data)


def save_image(image_rgb: np.ndarray, path: str | os.PathLike[str], quality: int = 95) -> None:
    """Write an image in the format of the path's suffix.

    Args:
        image_rgb: RGB (H, W, 3) or grey (H, W), uint8.
        path: the file; its folders are created.
        quality: Of JPEG and WebP, 1 to 100; the other formats lose nothing.

    Raises:
        OutputError: the array is no such image, the format cannot hold it, or writing fails.
    """
    write_atomically(path, _encode(image_rgb, Path(path), quality))


def _encode(image: np.ndarray, path: Path, quality: int) -> bytes:
    import cv2  # planning, which the command line does before it loads anything heavy, needs no codec

    suffix = _known_suffix(path)
    _check_image(image, path, suffix)
    options = {
        '.png': _png_options(cv2),
        '.jpg': [cv2.IMWRITE_JPEG_QUALITY, quality],
        '.jpeg': [cv2.IMWRITE_JPEG_QUALITY, quality],
        '.webp': [cv2.IMWRITE_WEBP_QUALITY, quality],
    }
    image = np.ascontiguousarray(image)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    try:
        done, data = cv2.imencode(suffix, image, options.get(suffix, []))
    except cv2.error as error:
        raise OutputError(f'{str(path)!r} cannot be encoded: {first_line(error)}') from error
    if not done:
        raise OutputError(
            f'{str(path)!r} cannot be encoded: OpenCV refused an image of shape {image.shape}; draw it smaller'
        )
    return data.tobytes()


def _png_options(cv2: Any) -> list[int]:
    # Only run lengths: on photos under heat a third of the time of zlib's level 3, and a tenth larger. Paeth's
    # filter, where OpenCV offers a choice, makes up for that.
    options = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    if hasattr(cv2, 'IMWRITE_PNG_FILTER'):
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH]
    return options


def _check_image(image: np.ndarray, path: Path, suffix: str) -> None:
    given = f'{getattr(image, "dtype", type(image).__name__)} {np.shape(image)}'
    shaped = isinstance(image, np.ndarray) and (image.ndim == 2 or image.shape[2:] == (3,))
    if not shaped or image.dtype != np.uint8 or image.size == 0:
        raise OutputError(f'{str(path)!r}: expected an image of uint8 (H, W, 3) or (H, W), got {given}')
    height, width = image.shape[:2]
    longest = _LONGEST_SIDE.get(suffix)
    if longest is not None and max(height, width) > longest:
        raise OutputError(
            f'{str(path)!r}: {width} x {height} pixels are more than {suffix} can hold ({longest} on a side): use .png'
        )


def _known_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in OUTPUT_SUFFIXES:
        raise OutputError(f'{str(path)!r} has the suffix {path.suffix!r}: expected one of {" ".join(OUTPUT_SUFFIXES)}')
    return suffix


def _unique_names(sources: Sequence[Source], suffix: str) -> list[str]:
    paths = [PurePosixPath(source.name) for source in sources]
    for path in paths:
        if not path.name or path.is_absolute() or '..' in path.parts:
            raise OutputError(
                f'the source name {str(path)!r} leads out of the output folder: expected a relative path without ..'
            )
    names = [str(path.with_suffix(suffix)) for path in paths]
    folders = {_key(str(parent)) for path in paths for parent in path.parents}
    counts = Counter(map(_key, names))
    # All that meet get the long name, not only the later ones: the order must not matter.
    names = [
        f'{path}{suffix}' if counts[_key(name)] > 1 or _key(name) in folders else name
        for name, path in zip(names, paths)
    ]
    counts = Counter(map(_key, names))
    taken = folders | set(counts)
    for index, name in enumerate(names):
        if counts[_key(name)] > 1 or _key(name) in folders:
            names[index] = _numbered(name.removesuffix(suffix), suffix, taken)
            taken.add(_key(names[index]))
    return names


def _numbered(stem: str, suffix: str, taken: set[str]) -> str:
    number = 1
    while _key(candidate := f'{stem}_{number}{suffix}') in taken:
        number += 1
    return candidate


def _key(name: str) -> str:
    # File systems differ in whether they tell case and composed letters apart: assume the least.
    return unicodedata.normalize('NFC', name).casefold()


def _refuse_overwriting(paths: Sequence[Path], sources: Sequence[Source]) -> None:
    inputs = {_identity(source.location) for source in sources} - {None}
    for path in paths:
        if os.path.isdir(path):
            raise OutputError(f'the result {str(path)!r} would replace a folder: move it away')
        if _identity(path) in inputs:
            raise OutputError(
                f'the result {str(path)!r} would overwrite an input image: choose another --out-dir or --out-file'
            )


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
