"""Which font has the glyphs of a text: the chosen one, DejaVu Sans, else the first of the system's that draws them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont

from featmap.errors import FeatMapWarning, OptionError, first_line
from featmap.wording import option as written

# Every character of these blocks has a glyph in DejaVu Sans, so that most texts need no look into any font.
_PLAIN = re.compile('[ -~¡-ɏΑ-ΡΣ-ώЀ-ѿ‐-‧‰-⁞←-⋿]*')
_SUFFIXES = ('.ttf', '.otf', '.ttc', '.otc')
_HAN = re.compile('[\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]')
_LANGUAGES = (('ja', re.compile('[\u3041-\u30ff]')), ('ko', re.compile('[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]')))
_EMOJI = re.compile('[\u2600-\u27bf\U0001f000-\U0001faff]')


class Face(NamedTuple):
    """A font file, and the number of the face in a collection."""

    path: str
    number: int = 0


_WARNED: set[str] = set()
_CHOSEN: ContextVar[Face | None] = ContextVar('featmap_font', default=None)


@contextmanager
def chosen_font(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Draw and measure text with this font file first, within the ``with`` block; None changes nothing.

    Raises:
        OptionError: where the file is no TrueType or OpenType font.
    """
    if path is None:
        yield
        return
    token = _CHOSEN.set(open_font(os.path.expanduser(path)))
    try:
        yield
    finally:
        _CHOSEN.reset(token)


@cache
def open_font(path: str) -> Face:
    """A font file as a face. Raises OptionError where it is none."""
    face = Face(path)
    try:
        ImageFont.truetype(face.path, 12)
        if not glyphs(face):
            raise OSError('no character map')
    except OSError as error:
        raise OptionError(
            f'the font {face.path!r} cannot be read ({first_line(error)}): expected a .ttf, .otf or .ttc file'
        ) from error
    return face


def base_face() -> Face | None:
    """The font that is asked first: the chosen one, else DejaVu Sans; None where there is neither."""
    return _CHOSEN.get() or _dejavu()


@cache
def _dejavu() -> Face | None:
    """DejaVu Sans from matplotlib's data; importing matplotlib is not needed for it."""
    spec = find_spec('matplotlib')
    if spec and spec.origin:
        path = Path(spec.origin).parent / 'mpl-data' / 'fonts' / 'ttf' / 'DejaVuSans.ttf'
        if path.is_file():
            return Face(str(path))
    return None


@cache
def glyphs(face: Face) -> frozenset[int]:
    """The characters that a face has glyphs for, as numbers; none where it cannot be read."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(face.path, fontNumber=face.number & 0xFFFF, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except (TTLibError, OSError, KeyError, AssertionError):  # one damaged font of a system is none of our business
        return frozenset()


def is_plain(text: str) -> bool:
    """Whether the base font draws all of the text, and in the order of its characters."""
    return _CHOSEN.get() is None and _PLAIN.fullmatch(text) is not None


def clusters(text: str) -> list[str]:
    """Characters with the marks, joiners and modifiers that belong to them, which take one font together."""
    found: list[str] = []
    for char in text:
        if found and (_belongs(char) or found[-1].endswith('\u200d')):
            found[-1] += char
        else:
            found.append(char)
    return found


def _belongs(char: str) -> bool:
    return unicodedata.category(char) in ('Mn', 'Mc', 'Me', 'Cf') or '\U0001f3fb' <= char <= '\U0001f3ff'


def face_for(cluster: str, language: str = '') -> Face | None:
    """The first face that draws the cluster; the base, after one warning, where none does."""
    return _face_for(cluster, language, base_face())


@lru_cache(maxsize=4096)
def _face_for(cluster: str, language: str, base: Face | None) -> Face | None:
    candidates = [base, _dejavu()] if base else []
    seen = [char for char in cluster if unicodedata.category(char) != 'Cf' and not '\ufe00' <= char <= '\ufe0f']
    for wanted in (seen, seen[:1]):  # a letter without its mark rather than no letter
        for face in _unique(candidates, language):
            if all(ord(char) in glyphs(face) for char in wanted) and _draws(face, cluster[0]):
                return face
    _warn_of(_package(cluster), cluster)
    return base


def _unique(first: list[Face | None], language: str) -> Iterator[Face]:
    known = set()
    for face in first:
        if face is not None and face not in known:
            known.add(face)
            yield face
    yield from (face for face in system_faces(language) if face not in known)


@cache
def load(face: Face, size: int) -> ImageFont.FreeTypeFont:
    """The font at a size in pixels; one that holds pictures of a few sizes only at the nearest of those."""
    try:
        return ImageFont.truetype(face.path, size, face.number)
    except OSError:
        sizes = _strikes(face)
        if not sizes:
            raise
        return ImageFont.truetype(
            face.path, min(sizes, key=lambda other: (other < size, abs(other - size))), face.number
        )


def _strikes(face: Face) -> list[int]:
    """The sizes of a font of bitmaps, in pixels an em."""
    from fontTools.ttLib import TTFont

    with TTFont(face.path, fontNumber=face.number & 0xFFFF, lazy=True) as font:
        if 'CBLC' in font:
            return [strike.bitmapSizeTable.ppemY for strike in font['CBLC'].strikes]
        return sorted(font['sbix'].strikes) if 'sbix' in font else []


@lru_cache(maxsize=4096)
def _draws(face: Face, char: str) -> bool:
    """Whether the glyph is more than a name: FreeType leaves some kinds of coloured glyphs empty."""
    if char.isspace():
        return True
    try:
        left, top, right, bottom = load(face, 32).getbbox(char)
    except OSError:
        return False
    return right > left and bottom > top


def language_of(text: str) -> str:
    """The language whose forms of Chinese characters suit the text; empty where it has none of them.

    Kana mean Japanese, hangul Korean; else the user's language decides, and simplified Chinese where it is another.
    """
    for language, letters in _LANGUAGES:
        if letters.search(text):
            return language
    if not _HAN.search(text):
        return ''
    name = next(filter(None, map(os.environ.get, ('LC_ALL', 'LC_CTYPE', 'LANG'))), '').partition('.')[0]
    return name.replace('_', '-').lower() if name[:2] in ('zh', 'ja', 'ko') else 'zh-cn'


@cache
def system_faces(language: str = '') -> tuple[Face, ...]:
    """The system's fonts for plain text in a language, best first: by fontconfig, else by their names."""
    if shutil.which('fc-match'):
        pattern = f'sans-serif:lang={language}' if language else 'sans-serif'
        made = subprocess.run(
            ['fc-match', '--sort', '--format', '%{file}\t%{index}\n', f'{pattern}:variable=false'],
            capture_output=True, text=True, errors='surrogateescape', timeout=60, check=False,
        )  # fmt: skip
        rows = [line.rpartition('\t') for line in made.stdout.splitlines()]
        faces = [Face(path, int(index)) for path, _, index in rows if path.lower().endswith(_SUFFIXES)]
        if faces:
            return tuple(faces)
    from matplotlib.font_manager import findSystemFonts

    files = [path for path in findSystemFonts() if path.lower().endswith(_SUFFIXES)]
    return tuple(Face(path) for path in sorted(files, key=_rank))


def _rank(path: str) -> tuple[bool, bool, str]:
    """Upright sans-serif of regular weight first, as far as a file's name tells."""
    name = os.path.basename(path).lower()
    odd = re.search('bold|italic|oblique|light|thin|black|medium|mono|serif|condensed', name.replace('sansserif', ''))
    return bool(odd), not name.startswith('noto'), name


def _package(text: str) -> str:
    if language_of(text):
        return 'fonts-noto-cjk'
    return 'fonts-noto-color-emoji' if _EMOJI.search(text) else 'fonts-noto-core'


def _warn_of(package: str, text: str) -> None:
    if package in _WARNED:
        return
    _WARNED.add(package)
    install = f'install one (on Debian and Ubuntu: apt install {package})' if sys.platform == 'linux' else 'install one'
    warnings.warn(
        f'no font on this machine draws {text!r}: {install} or choose a file with {written("font")}',
        FeatMapWarning,
        stacklevel=2,
    )


def faces_for(texts: str | Iterable[str]) -> list[Face]:
    """The faces that these texts take, the base first."""
    base = base_face()
    found = dict.fromkeys([base] if base else [])
    for text in [texts] if isinstance(texts, str) else texts:
        if not is_plain(text):
            language = language_of(text)
            found.update(dict.fromkeys(filter(None, (face_for(each, language) for each in clusters(text)))))
    return list(found)


def font_files_for(texts: str | Iterable[str]) -> list[Path]:
    """The font files that these texts take, the base first."""
    return [Path(path) for path in dict.fromkeys(face.path for face in faces_for(texts))]


def font_families(texts: str | Iterable[str]) -> list[str]:
    """Families for matplotlib's ``fontfamily``, which it asks in turn for each glyph; their files are made known to it.

    Fonts of coloured bitmaps are left out, which matplotlib cannot draw.
    """
    from matplotlib import font_manager

    families: dict[str, None] = {}
    for path in font_files_for(texts):
        try:
            entry = font_manager.ttfFontProperty(font_manager.get_font(str(path)))
        except RuntimeError:  # of FreeType's, for a font without outlines
            continue
        if not any(os.path.samefile(each.fname, path) for each in font_manager.fontManager.ttflist
                   if each.name == entry.name and os.path.exists(each.fname)):  # fmt: skip
            font_manager.fontManager.addfont(str(path))
        families[entry.name] = None
    return list(families)
