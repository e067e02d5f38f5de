"""Text in pictures: label strips above panels, tags on boxes."""

from __future__ import annotations

import math
import re
import unicodedata
from functools import cache, lru_cache
from typing import NamedTuple, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from featmap.rendering.fonts import Face, base_face, clusters, face_for, is_plain, language_of, load

SEPARATOR = ' · '
_SCREEN = 1280  # pixels
_JOINERS = '\u200c\u200d'
_RAQM = features.check('raqm')


class Run(NamedTuple):
    """A part of a text that one face draws in one direction; None is Pillow's own font."""

    text: str
    face: Face | None
    rtl: bool = False


def printable(text: str) -> str:
    """The text on one line: line breaks as spaces, control characters as \ufffd, marks of direction left out."""
    if text.isprintable():
        return text
    return ''.join(filter(None, map(_shown, re.sub(r'\s+', ' ', text))))


def _shown(char: str) -> str:
    kind = unicodedata.category(char)
    if kind in ('Cc', 'Cs'):
        return '\ufffd'
    return '' if kind == 'Cf' and char not in _JOINERS and not '\U000e0020' <= char <= '\U000e007f' else char


@lru_cache(maxsize=4096)
def _runs(text: str, base: Face | None) -> tuple[Run, ...]:
    """The text's runs from left to right."""
    language = language_of(text)
    parts = clusters(text)
    stretches: list[tuple[bool, list[Run]]] = []
    for part, rtl in zip(parts, _directions(parts)):
        face = face_for(part, language)
        if not stretches or stretches[-1][0] != rtl:
            stretches.append((rtl, []))
        runs = stretches[-1][1]
        if runs and runs[-1].face == face:
            runs[-1] = Run(runs[-1].text + part, face, rtl)
        else:
            runs.append(Run(part, face, rtl))
    return tuple(run for rtl, runs in stretches for run in (reversed(runs) if rtl else runs))


def _directions(parts: list[str]) -> list[bool]:
    """Which clusters run from right to left: letters that do, and what stands between two of them.

    A label runs from left to right, so that a score stays behind an Arabic name, where plain bidirectional text would
    put it before.
    """
    kinds = ['L' if part == '·' else unicodedata.bidirectional(part[0]) for part in parts]
    found, last = [kind in ('R', 'AL') for kind in kinds], None
    for index, kind in enumerate(kinds):
        if found[index]:
            if last is not None:
                found[last:index] = [True] * (index - last)
            last = index
        elif kind == 'L':
            last = None
    return found


def _split(text: str) -> tuple[Run, ...]:
    text = printable(text)
    base = base_face()
    return (Run(text, base),) if is_plain(text) or base is None else _runs(text, base)


def font(size: int) -> ImageFont.FreeTypeFont:
    """The base font at a size in pixels; where it is missing, Pillow's own."""
    face = base_face()
    return _pillows_own(size) if face is None else load(face, size)


@cache
def _pillows_own(size: int) -> ImageFont.FreeTypeFont:
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))


def enlarged(shape: tuple[int, ...]) -> float:
    """How many times a picture of this (height, width) is longer than a screen shows it."""
    return max(max(shape[:2]) / _SCREEN, 1.0)


def font_size(height: int, width: int) -> int:
    """A readable text size in pixels for a picture of this size."""
    return int(min(max(min(height, width) / 28, 11), 28 * enlarged((height, width)), 64))


def text_width(text: str, size: int) -> int:
    """How many pixels wide the text is drawn."""
    return _text_width(text, size, base_face())


@lru_cache(maxsize=4096)
def _text_width(text: str, size: int, base: Face | None) -> int:
    return int(np.ceil(sum(_length(run, size) for run in _split(text))))


def _length(run: Run, size: int) -> float:
    pen, scale = _pen(run, size)
    return pen.getlength(_ordered(run), direction=_direction(run)) * scale


def _pen(run: Run, size: int) -> tuple[ImageFont.FreeTypeFont, float]:
    """A run's font, and by how much its glyphs are drawn larger than they are."""
    pen = font(size) if run.face is None else load(run.face, size)
    return pen, size / pen.size


def _direction(run: Run) -> str | None:
    return 'rtl' if run.rtl and _RAQM else None


def _ordered(run: Run) -> str:
    """The text in the order in which Pillow takes it: without raqm as it is seen, Arabic letters joined."""
    if not run.rtl or _RAQM:
        return run.text
    from featmap.rendering.shaping import visual

    return visual(run.text)


def wrap(text: str, size: int, width: int) -> list[str]:
    """Break a label at its separators into lines that fit ``width`` pixels; a part that is wider stands alone."""
    if width <= 0:
        return text.split(SEPARATOR)
    lines: list[str] = []
    for part in text.split(SEPARATOR):
        longer = f'{lines[-1]}{SEPARATOR}{part}' if lines else part
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def line_height(size: int) -> int:
    """Pixels from one line of text to the next."""
    return round(size * 1.3)


def draw_lines(
    lines: list[str],
    size: int,
    shape: tuple[int, int],
    color: tuple[int, int, int] = (20, 20, 20),
    background: tuple[int, int, int] = (255, 255, 255),
    margin: int = 0,
) -> np.ndarray:
    """Lines of text from the bottom up on a strip of ``shape`` (height, width): (H, W, 3) RGB uint8."""
    height, width = shape
    strip = Image.new('RGB', (width, height), background)
    pen = ImageDraw.Draw(strip)
    top = height - line_height(size) * len(lines) - size // 5
    for index, line in enumerate(lines):
        _write(strip, pen, (margin, top + index * line_height(size)), line, size, color)
    return np.array(strip)


def _write(
    strip: Image.Image, pen: ImageDraw.ImageDraw, corner: tuple[int, int], line: str, size: int, color: tuple[int, ...]
) -> None:
    runs = _split(line)
    if len(runs) == 1 and runs[0].face == base_face() and not runs[0].rtl:
        pen.text(corner, runs[0].text, fill=color, font=font(size))
        return
    x, base = float(corner[0]), font(size)
    baseline = corner[1] + base.getmetrics()[0]
    for run in runs:
        face, scale = _pen(run, size)
        text, way = _ordered(run), _direction(run)
        if scale == 1:
            pen.text((x, baseline), text, fill=color, font=face, anchor='ls', embedded_color=True, direction=way)
        else:
            _paste(strip, (x, baseline), text, face, scale)
        x += face.getlength(text, direction=way) * scale


def _paste(
    strip: Image.Image, place: tuple[float, float], text: str, face: ImageFont.FreeTypeFont, scale: float
) -> None:
    """Glyphs that are pictures of one size, made smaller."""
    left, top, right, bottom = face.getbbox(text, anchor='ls')
    width, height = max(round((right - left) * scale), 1), max(round((bottom - top) * scale), 1)
    glyphs = Image.new('RGBA', (math.ceil(right - left), math.ceil(bottom - top)))
    ImageDraw.Draw(glyphs).text((-left, -top), text, font=face, anchor='ls', embedded_color=True)
    small = glyphs.resize((width, height), Image.Resampling.BOX)
    strip.paste(small, (round(place[0] + left * scale), round(place[1] + top * scale)), small)
