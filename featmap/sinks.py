"""Where results go: planned before any work is done, and written whole or not at all."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from featmap.errors import OptionError, OutputError, first_line
from featmap.png import png_options
from featmap.sources import Source
from featmap.wording import option as written
from featmap.writing import refuse_overwriting, write_atomically

OUTPUT_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff')
_LONGEST_SIDE = {'.jpg': 65500, '.jpeg': 65500, '.webp': 16383}  # libjpeg's and libwebp's limits

_WRITERS = 2  # threads: encoders let others run, and files are waited for
_FEW = 8  # of more images the size of each matters less than the time of all


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
        raise OptionError(f'{written("out_file")} and {written("out_dir")} exclude each other: give one of them')
    if out_file is None:
        root = Path(os.path.expanduser('output' if out_dir is None else out_dir))
        paths = [root.joinpath(*PurePosixPath(name).parts) for name in _unique_names(sources, suffix)]
    elif len(sources) == 1:
        paths = [exact_file(out_file)]
    else:
        raise OptionError(
            f'{written("out_file", os.fspath(out_file))} takes the result of one image, but there are '
            f'{len(sources)}: use {written("out_dir")}'
        )
    refuse_overwriting(paths, {source.location: 'an input image' for source in sources})
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


def save_image(image_rgb: np.ndarray, path: str | os.PathLike[str], quality: int = 95, quickly: bool = False) -> None:
    """Write an image in the format of the path's suffix.

    Args:
        image_rgb: RGB (H, W, 3) or grey (H, W), uint8.
        path: the file; its folders are created.
        quality: Of JPEG and WebP, 1 to 100; the other formats lose nothing.
        quickly: As for :func:`encode_image`.

    Raises:
        OutputError: the array is no such image, the format cannot hold it, or writing fails.
    """
    path = Path(path)
    write_atomically(path, encode_image(image_rgb, _known_suffix(path), repr(str(path)), quality, quickly))


def save_images(images: Iterable[tuple[np.ndarray, Path]], quality: int = 95) -> list[Path]:
    """Write many images as :func:`save_image` does, two at a time while the next is drawn, and return their paths.

    Args:
        images: RGB (H, W, 3) uint8, each with its path; taken one by one, no more than three at a time.
        quality: Of JPEG and WebP, 1 to 100.

    Raises:
        OutputError: as for one; those before it are written.
    """
    paths: list[Path] = []
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(_WRITERS) as pool:
        try:
            for image, path in images:
                if len(pending) >= _WRITERS:
                    pending.popleft().result()
                pending.append(pool.submit(save_image, image, path, quality, len(paths) >= _FEW))
                paths.append(path)
            while pending:
                pending.popleft().result()
        finally:
            for each in pending:
                each.cancel()
    return paths


def encode_image(
    image: np.ndarray, suffix: str, name: str = 'the picture', quality: int = 95, quickly: bool = False
) -> bytes:
    """An image as the content of a file in the format of this suffix.

    Args:
        image: RGB (H, W, 3) or grey (H, W), uint8.
        suffix: One of ``OUTPUT_SUFFIXES``.
        name: What it is called in a message.
        quality: Of JPEG and WebP, 1 to 100.
        quickly: Whether PNG is written in two thirds of the time, and a fifth larger.

    Raises:
        OutputError: the array is no such image, or the format cannot hold it.
    """
    import cv2  # planning, which the command line does before it loads anything heavy, needs no codec

    _check_image(image, name, suffix)
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise OutputError(f'{name}: expected a quality from 1 to 100, got {quality!r}')
    options = {
        '.png': png_options(quickly),
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
        raise OutputError(f'{name} cannot be encoded: {first_line(error)}') from error
    if not done:
        raise OutputError(f'{name} cannot be encoded: OpenCV refused an image of shape {image.shape}; draw it smaller')
    return data.tobytes()


def _check_image(image: np.ndarray, name: str, suffix: str) -> None:
    given = f'{getattr(image, "dtype", type(image).__name__)} {np.shape(image)}'
    shaped = isinstance(image, np.ndarray) and (image.ndim == 2 or image.shape[2:] == (3,))
    if not shaped or image.dtype != np.uint8 or image.size == 0:
        raise OutputError(f'{name}: expected an image of uint8 (H, W, 3) or (H, W), got {given}')
    height, width = image.shape[:2]
    longest = _LONGEST_SIDE.get(suffix)
    if longest is not None and max(height, width) > longest:
        raise OutputError(
            f'{name}: {width} x {height} pixels are more than {suffix} can hold ({longest} on a side): use .png'
        )


def _known_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in OUTPUT_SUFFIXES:
        figure = f'; a figure is written by {written("figure")}' if suffix in ('.pdf', '.svg') else ''
        raise OutputError(
            f'{str(path)!r} has the suffix {path.suffix!r}: expected one of {" ".join(OUTPUT_SUFFIXES)}{figure}'
        )
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
