"""Text in pictures: label strips above panels, tags on boxes."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SEPARATOR = ' · '


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans from matplotlib's data (MMEngine brings it; importing it is not needed), else Pillow's own."""
    spec = find_spec('matplotlib')
    if spec and spec.origin:
        path = Path(spec.origin).parent / 'mpl-data' / 'fonts' / 'ttf' / 'DejaVuSans.ttf'
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


def font_size(height: int, width: int) -> int:
    """A readable text size in pixels for a picture of this size."""
    return int(min(max(min(height, width) / 28, 11), 64))


@lru_cache(maxsize=4096)
def text_width(text: str, size: int) -> int:
    """How many pixels wide the text is drawn."""
    return int(np.ceil(font(size).getlength(text)))


def wrap(text: str, size: int, width: int) -> list[str]:
    """Break a label at its separators into lines that fit ``width`` pixels; a part that is wider stands alone."""
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
        pen.text((margin, top + index * line_height(size)), line, fill=color, font=font(size))
    return np.array(strip)
