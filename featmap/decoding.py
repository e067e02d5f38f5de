"""From the bytes of an image file to an RGB array, or to an error that says what the bytes are."""

from __future__ import annotations

import codecs
import contextlib
import functools
import importlib
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from featmap.errors import SourceError, first_line
from featmap.wording import option as written

# fmt: off
IMAGE_SUFFIXES = (
    '.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.apng', '.bmp', '.dib', '.tif', '.tiff', '.webp',
    '.gif', '.ppm', '.pgm', '.pbm', '.pnm', '.avif', '.jp2', '.tga',
)
VIDEO_SUFFIXES = (
    '.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.wmv', '.flv', '.mpg', '.mpeg', '.ts', '.3gp',
)
# fmt: on
MAX_PIXELS = 200_000_000
"""The most pixels that are decoded unless more are asked for: at 4 bytes each in Pillow, and 3 in the result."""

# Pillow's other readers are none of ours: that of EPS starts Ghostscript, those of WMF and FITS are seldom looked at.
_COMMON = ('JPEG', 'PNG', 'BMP', 'DIB', 'GIF', 'PPM')  # Pillow loads these at once
_OTHERS = {'TIFF': 'Tiff', 'WEBP': 'WebP', 'AVIF': 'Avif', 'JPEG2000': 'Jpeg2K', 'TGA': 'Tga'}
_SCAN, _SCANS = b'\xff\xda', 20  # as many as the largest image may have; encoders make up to a dozen
_STRIP = 1 << 22  # pixels that are converted at a time, so that no second copy of the image is made
# The upright (H, W, 3) image as a view in which it lies as it is stored, by EXIF orientation.
_AS_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}
_ORIENTATION, _BITS, _PHOTOMETRIC, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = 274, 258, 262, 284, 322, 323
_YCBCR = 6  # of _PHOTOMETRIC

VIDEO = 'a video, which is not supported: extract frames first (ffmpeg -i VIDEO frames/%05d.png)'
_ORDER = 'the order of the arguments is IMG CONFIG CHECKPOINT'
_CHECKPOINT = f'a checkpoint or another pickle: {_ORDER}'
_KINDS = (
    (rb'%PDF', 'a PDF document: export its pages as PNG'),
    (rb'%!PS|\xc5\xd0\xd3\xc6', 'a PostScript drawing: export it as PNG'),
    (rb'PK\x03\x04.{0,200}data\.pkl', _CHECKPOINT),
    (rb'\x80[\x02-\x05]', _CHECKPOINT),
    (rb'PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!', 'an archive: unpack it first'),
    (rb'....ftyp(heic|heix|hevc|mif1|msf1)', 'a HEIC photo: convert it to JPEG or PNG'),
    (rb'....ftypavi[fs]', 'an AVIF image that is damaged, or this Pillow is older than 11.3'),
    (rb'....ftyp|RIFF....AVI |\x1aE\xdf\xa3|FLV\x01|\x00\x00\x01[\xb0-\xbf]', VIDEO),
    (rb'\x93NUMPY', 'a NumPy array: save it as PNG first'),
    (rb'version https://git-lfs', 'a Git LFS pointer: fetch the file itself with git lfs pull'),
    (rb'(?i)\s*<(!doctype html|html)', 'a web page: give the address of the image itself'),
    (rb'\s*(<\?xml.*)?<svg', 'an SVG drawing: export it as PNG'),
    (
        rb'II\*\x00|MM\x00\*',
        'a TIFF that is damaged, or of an unsupported kind (floats, or other than 1, 3 or 4 '
        'channels): convert it to 8-bit RGB',
    ),
    (rb'\xff\xd8|\x89PNG|GIF8|BM|P[1-7]\s|RIFF....WEBP', 'an image that is damaged or cut off'),
)

_globals_lock = threading.RLock()


def decode_image(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file's bytes to RGB: (H, W, 3), uint8, contiguous, writable.

    The EXIF orientation is applied, alpha is dropped, grey is repeated, 16 bits become 8, and of an
    animation the first frame is taken.

    Args:
        data: The file's content, in one of the formats of ``IMAGE_SUFFIXES``, whatever its name says.
        name: For messages only.
        max_pixels: The size from which on nothing is decoded.

    Raises:
        SourceError: ``data`` is empty, damaged, too large, no image, or one of floats.
    """
    with _explained(name, data):
        image = _open(io.BytesIO(data), name, max_pixels)
        _check_scans(image, data, name, max_pixels)
        large = image.width * image.height > (Image.MAX_IMAGE_PIXELS or max_pixels)
        with _no_bomb_check() if large else contextlib.nullcontext():
            image.load()
        if image.mode == 'I':
            _check_wide_grey(image, name)
        return to_rgb(image, _orientation(image, name))


def check_header(file: IO[bytes], name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Raise the error that decoding would raise, as far as the header of the file tells.

    Raises:
        SourceError: the file is empty, no image, too large, or of an unsupported kind.
    """
    head = file.read(4096)
    file.seek(0)
    with _explained(name, head):
        _open(file, name, max_pixels)


def describe(head: bytes, name: str) -> str:
    """Say what a file that is no readable image seems to be, and what to do about it.

    ``head`` is its first bytes (some thousand suffice); ``name`` is its path or URL.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return VIDEO
    for pattern, kind in _KINDS:
        if re.match(pattern, head[:4096], re.DOTALL):
            return kind
    if suffix in ('.pth', '.pt', '.ckpt', '.pkl'):
        return _CHECKPOINT
    if not _is_text(head[:4096]):
        return 'binary data of an unknown kind: convert it to PNG or JPEG'
    if suffix == '.py':
        return f'a Python file, such as a config: {_ORDER}'
    return 'a text file: give an image, a folder, a glob or a URL'


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder('utf-8')().decode(head)
    except UnicodeDecodeError:
        return False
    return re.search(rb'[\x00-\x08\x0e-\x1a\x1c-\x1f]', head) is None


@contextlib.contextmanager
def _explained(name: str, data: bytes) -> Iterator[None]:
    if not data:
        raise SourceError(f'{name!r} is empty (0 bytes): an image file was expected; get it again')
    try:
        yield
    except SourceError:
        raise
    except UnidentifiedImageError as error:
        kind = describe(data, name)
        raise SourceError(f'{name!r} cannot be read as an image. It seems to be {kind}') from error
    except MemoryError as error:
        raise SourceError(f'{name!r} does not fit into memory: scale it down') from error
    except Exception as error:  # on damaged data, Pillow's readers raise almost anything
        raise SourceError(
            f'{name!r} cannot be decoded ({first_line(error)}): it is damaged or cut off; get it again or save it anew'
        ) from error


@contextlib.contextmanager
def _no_bomb_check() -> Iterator[None]:
    # Pillow warns at 89 and refuses at 179 megapixels, less than aerial and slide images have. Its
    # limit is one global variable, so it is lifted for as short a time as possible.
    with _globals_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _libtiff() -> Iterator[None]:
    # Pillow's own reader, of what is not compressed, takes three bytes for each pixel, though four may share two of
    # them, and in older versions four.
    from PIL import TiffImagePlugin

    with _globals_lock:
        before, TiffImagePlugin.READ_LIBTIFF = TiffImagePlugin.READ_LIBTIFF, True
        try:
            yield
        finally:
            TiffImagePlugin.READ_LIBTIFF = before


@functools.lru_cache(maxsize=1)
def _others() -> tuple[str, ...]:
    """Those that this Pillow can read; asked for one that it does not know it fails."""
    for plugin in _OTHERS.values():
        with contextlib.suppress(ImportError):
            importlib.import_module(f'PIL.{plugin}ImagePlugin')
    return tuple(name for name in _OTHERS if name in Image.OPEN)


def _open(file: IO[bytes], name: str, max_pixels: int) -> Image.Image:
    with _no_bomb_check():
        try:
            image = Image.open(file, formats=_COMMON)
        except UnidentifiedImageError:
            file.seek(0)
            image = Image.open(file, formats=_others())
        if getattr(image, 'tag_v2', {}).get(_PHOTOMETRIC) == _YCBCR:
            file.seek(0)
            with _libtiff():
                image = Image.open(file, formats=('TIFF',))
    _check_size(image.size, 'pixels', name, max_pixels)
    width, height = image.size
    if width * height == 0:
        raise SourceError(f'{name!r} has no pixels: its size is {width} x {height}')
    if image.mode == 'F':
        raise SourceError(
            f'{name!r} is an image of floats, whose range of brightness is not known: '
            'scale it to 0..255 and save it with 8 bits'
        )
    tags = getattr(image, 'tag_v2', {})  # only a TIFF has them
    if _TILE_WIDTH in tags and _TILE_HEIGHT in tags:  # a tile is decoded whole, however little of it is drawn
        _check_size((tags[_TILE_WIDTH], tags[_TILE_HEIGHT]), 'pixels in a tile', name, max_pixels)
    bits = tags.get(_BITS, (1,))  # one number for each colour
    if tags.get(_PLANAR) == 2 and len(bits) > 1 and max(bits) > 8:
        # Pillow and OpenCV both take such planes for interleaved pixels, and return noise.
        raise SourceError(
            f'{name!r} stores more than 8 bits in separate colour planes, which is not supported: '
            'save it with interleaved colours (planar configuration 1)'
        )
    return image


def _check_size(size: tuple[int, int], what: str, name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise SourceError(
            f'{name!r} has {width} x {height} {what}, over the limit of {max_pixels / 10**6:g} million (the file may '
            f'be a decompression bomb): scale it down, cut it up, or raise the limit by {written("max_pixels")}'
        )


def to_rgb(image: Image.Image, orientation: int = 1) -> np.ndarray:
    """An image of Pillow's as (H, W, 3) RGB uint8: alpha is dropped, grey repeated, 16 bits become 8.

    Args:
        image: Of any mode but ``F``; wide grey values reach to 65535.
        orientation: By which it is turned upright, as EXIF numbers them.
    """
    white_is_zero = getattr(image, 'tag_v2', {}).get(_PHOTOMETRIC) == 0
    width, height = image.size
    upright = np.empty((width, height, 3) if orientation in (5, 6, 7, 8) else (height, width, 3), np.uint8)
    stored = _AS_STORED.get(orientation, lambda upright: upright)(upright)
    image.info.pop('transparency', None)  # alpha is dropped; Pillow would warn about it
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image if rows >= height else image.crop((0, top, width, bottom))
        if strip.mode.startswith('I'):
            grey = ((np.asarray(strip).astype(np.uint32) + 128) // 257)[:, :, None]
            # Pillow has inverted such a TIFF only if it has up to 8 bits.
            stored[top:bottom] = 255 - grey if white_is_zero else grey
        else:
            if strip.mode == 'RGBa':  # premultiplied
                strip = strip.convert('RGBA')
            # Colour of 16 bits has come as 8: Pillow keeps the high byte, at most one level off from /257.
            stored[top:bottom] = np.asarray(strip if strip.mode == 'RGB' else strip.convert('RGB'))
    return upright


def _check_scans(image: Image.Image, data: bytes, name: str, max_pixels: int) -> None:
    """Refuse a progressive JPEG that goes over its pixels again and again, for a few bytes each time."""
    scans = data.count(_SCAN) if image.format in ('JPEG', 'MPO') else 1
    if scans * image.width * image.height > _SCANS * max_pixels:
        raise SourceError(
            f'{name!r} is {scans} scans of {image.width} x {image.height} pixels (the file may be a '
            'decompression bomb): save it anew'
        )


def _check_wide_grey(image: Image.Image, name: str) -> None:
    low, high = (int(value) for value in image.getextrema())  # type: ignore[arg-type]
    if low < 0 or high > 65535:
        raise SourceError(
            f'{name!r} has grey values from {low} to {high}, and what is white is not known: '
            'scale it to 0..255 and save it with 8 bits'
        )


def _orientation(image: Image.Image, name: str) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # broken EXIF raises almost anything, and the pixels are still good
        warnings.warn(
            f'{name!r} has EXIF data that cannot be read ({first_line(error)}): drawn unrotated',
            stacklevel=2,
        )
        return 1
