"""How a figure is set: fonts, sizes and colours, which a matplotlib style may choose."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Union

import matplotlib
import matplotlib.style
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.textpath import text_to_path

from featmap.errors import OptionError, first_line, nearest
from featmap.rendering.fonts import font_families
from featmap.rendering.shaping import visual
from featmap.rendering.text import SEPARATOR, printable
from featmap.wording import on_command_line
from featmap.wording import option as written

AnyStyle = Union[str, os.PathLike, Mapping[str, Any], Sequence[Any], None]

SMALLEST = 5.0
"""Points: what no text of a figure is smaller than."""

_SIZE = 7.0
_LEFT_TO_RIGHT = '\u200e'
_OWN: dict[str, Any] = {'pdf.fonttype': 42, 'svg.fonttype': 'none'}
# What a style may not change: texts are as wide as they were measured and are no TeX, and bytes repeat.
_FIXED: dict[str, Any] = {
    'text.hinting': 'no_hinting',
    'text.usetex': False,
    'svg.hashsalt': 'featmap',
    'image.composite_image': False,
}
_TAKEN = ('font.', 'text.', 'pdf.', 'svg.', 'figure.facecolor', 'axes.edgecolor', 'xtick.color', 'xtick.labelcolor',
          'ytick.color', 'ytick.labelcolor')  # fmt: skip


def settings_of(style: AnyStyle) -> dict[str, Any]:
    """What a figure takes from a style: its fonts, its colours, and how PDF and SVG hold text.

    Args:
        style: A name that matplotlib knows, the path of a style file, a dict of ``rcParams``, or a sequence of them,
            later ones winning; None for none.

    Raises:
        OptionError: for what is no style.
    """
    if style is None:
        return {}
    if isinstance(style, (str, os.PathLike)):
        chosen: Any = _named(os.fspath(style))
    elif isinstance(style, Mapping):
        chosen = _checked(style)
    elif isinstance(style, Sequence):
        return {name: value for each in style for name, value in settings_of(each).items()}
    else:
        raise OptionError(f'{_said(style)}: expected the name of a matplotlib style, a file, a dict or a list of them')
    return {name: value for name, value in chosen.items() if name.startswith(_TAKEN)}


def _named(style: str) -> Any:
    # Not by matplotlib.style.use, which would import packages and fetch URLs that a name asks for.
    if style == 'default':
        return {}
    if style in matplotlib.style.library:
        return matplotlib.style.library[style]
    path = os.path.expanduser(style)
    if not os.path.isfile(path):
        close = ', '.join(nearest(style, matplotlib.style.available))
        raise OptionError(f'{_said(style)} is no style of matplotlib and no file; nearest: {close}')
    try:
        return matplotlib.rc_params_from_file(path, use_default_template=False)
    except (OSError, ValueError, KeyError) as error:
        raise OptionError(f'{_said(style)} cannot be read: {first_line(error)}') from error


def _checked(style: Mapping[str, Any]) -> Any:
    try:
        return matplotlib.RcParams(style)
    except (KeyError, ValueError, TypeError) as error:
        raise OptionError(f'{_said(dict(style))}: {first_line(error)}') from error


def _said(style: Any) -> str:
    return written('figure_style', style) if on_command_line() else f'style={style!r}'


@contextmanager
def applied(settings: Mapping[str, Any]) -> Iterator[None]:
    """Draw by these settings and else by matplotlib's own defaults, whatever the user's are."""
    # Looking for fonts has said which glyphs are missing, and that a font has no bold face does no harm.
    logger = logging.getLogger('matplotlib.font_manager')
    level = logger.level
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph .* missing from', UserWarning)
        matplotlib.rcdefaults()
        current: Any = matplotlib.rcParams
        current.update({**_OWN, **settings, **_FIXED})
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def side_by_side(*parts: str) -> str:
    """Parts from left to right, whichever way the letters of each run."""
    shown = [printable(part) for part in parts]
    if not any(unicodedata.bidirectional(char) in ('R', 'AL') for part in shown for char in part):
        return ' '.join(shown)
    if matplotlib.__version_info__ < (3, 11):  # draws characters in their order, unjoined
        return ' '.join(map(_visual, shown))
    return ' '.join(f'{_LEFT_TO_RIGHT}{part}{_LEFT_TO_RIGHT}' for part in shown)


def _visual(text: str) -> str:
    """The text with its stretches from right to left in the order in which they are seen."""
    kinds = ''.join(map(_way, text))
    for found in reversed(list(re.finditer('R(?:[R ]*R)?', kinds))):
        text = text[: found.start()] + visual(text[slice(*found.span())]) + text[found.end() :]
    return text


def _way(char: str) -> str:
    if char.isspace():
        return ' '
    return 'R' if unicodedata.bidirectional(char) in ('R', 'AL', 'NSM') else 'L'


class Type:
    """The fonts and sizes of a figure's texts, to be made where its style is :func:`applied`; sizes are points.

    Args:
        size: Of labels; None for that of the style, else 7. Others follow.
        texts: All that will be written, for fonts that have its glyphs.
    """

    def __init__(self, size: float | None, texts: Iterable[str]) -> None:
        self.body = size or _SIZE
        self.title, self.head = self.body * 9 / 7, self.body * 8 / 7
        self.tick, self.tag = max(self.body * 6 / 7, SMALLEST), max(self.body * 5 / 7, SMALLEST)
        # By name: a generic family would be looked up again, by the user's settings, when the figure is drawn.
        installed = {entry.name for entry in fontManager.ttflist}
        wanted = [name for family in matplotlib.rcParams['font.family'] for name in _members(family)]
        own = [name for name in wanted if name in installed][:1]
        found = font_families(texts)
        chosen = [name for name in found[:1] if name != 'DejaVu Sans']
        families = dict.fromkeys([*chosen, *own, *found, 'DejaVu Sans'])
        self.families = (*families, 'sans-serif')  # the last is for viewers of SVG

    def how(self, size: float, bold: bool = False) -> dict[str, Any]:
        """Arguments for a text of matplotlib's."""
        weight = 'bold' if bold else 'normal'
        return {'size': size, 'weight': weight, 'family': list(self.families), 'parse_math': False}

    def width(self, text: str, size: float, bold: bool = False) -> float:
        """How wide the text is."""
        return _width(text, self.families, bold) * size

    def fold(self, parts: Sequence[str], size: float, room: float, bold: bool = False) -> list[str]:
        """Parts joined to lines that fit; only what is wider by itself is cut, after a dot or the like."""
        return self.fold_alike([parts], size, room, bold)[0]

    def fold_alike(
        self, rows: Sequence[Sequence[str]], size: float, room: float, bold: bool = False
    ) -> list[list[str]]:
        """As :meth:`fold`, rows that have as many parts as the others being broken between the same ones."""
        rows = [[part for part in parts if part] for parts in rows]
        if len({len(parts) for parts in rows}) > 1:
            return [line for parts in rows for line in self.fold_alike([parts], size, room, bold)]
        groups: list[list[int]] = []
        for number in range(len(rows[0]) if rows else 0):
            longer = [*groups[-1], number] if groups else []
            joined = [SEPARATOR.join(parts[index] for index in longer) for parts in rows]
            if longer and max(self.width(text, size, bold) for text in joined) <= room:
                groups[-1] = longer
            else:
                groups.append([number])
        lines = ([SEPARATOR.join(parts[index] for index in group) for group in groups] for parts in rows)
        return [[cut for line in each for cut in self._cut(line, size, room, bold)] for each in lines]

    def _cut(self, line: str, size: float, room: float, bold: bool) -> Iterator[str]:
        while len(line) > 1 and self.width(line, size, bold) > room:
            cut, over = 1, min(len(line), 64)
            while over < len(line) and self.width(line[:over], size, bold) <= room:
                cut, over = over, min(2 * over, len(line))
            while over - cut > 1:  # by halves: a name from a file may have thousands of characters
                middle = (cut + over) // 2
                fits = self.width(line[:middle], size, bold) <= room
                cut, over = (middle, over) if fits else (cut, middle)
            after_mark = max(line.rfind(mark, cut // 3, cut) for mark in '._/- ') + 1
            cut = after_mark or cut
            yield line[:cut]
            line = line[cut:]
        yield line


def _members(family: str) -> list[str]:
    generic = ('serif', 'sans-serif', 'cursive', 'fantasy', 'monospace')
    current: Any = matplotlib.rcParams
    return current[f'font.{family}'] if family in generic else [family]


@lru_cache(maxsize=4096)
def _width(text: str, families: tuple[str, ...], bold: bool) -> float:
    """In units of the size."""
    if not text:
        return 0.0
    font = FontProperties(family=list(families), weight='bold' if bold else 'normal', size=100)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0]) / 100
