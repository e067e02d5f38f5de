"""Text that runs from right to left, put in the order and the forms in which it is seen, where Pillow has no raqm."""

from __future__ import annotations

import re
import unicodedata
import warnings
from functools import cache
from typing import Any

from featmap.errors import FeatMapWarning
from featmap.rendering.fonts import clusters

_NUMBER = re.compile(r'\d+(?:[.,:/-]\d+)*')
_MIRRORED = str.maketrans('()[]{}<>«»‹›', ')(][}{><»«›‹')


def visual(text: str) -> str:
    """A stretch from right to left as its glyphs stand from left to right; numbers keep their order."""
    if any('ARABIC' in unicodedata.name(char, '') for char in text):
        text = _joined(text)
    pieces: list[str] = []
    start = 0
    for number in _NUMBER.finditer(text):
        pieces += [*clusters(text[start : number.start()]), number[0]]
        start = number.end()
    pieces += clusters(text[start:])
    return ''.join(piece.translate(_MIRRORED) for piece in reversed(pieces))


def _joined(text: str) -> str:
    """Arabic letters in the forms that they take in a word."""
    reshaper = _reshaper()
    return text if reshaper is None else reshaper.reshape(text)


@cache
def _reshaper() -> Any:
    try:
        import arabic_reshaper
    except ImportError:
        warnings.warn(
            'Arabic letters are drawn unjoined: pip install arabic-reshaper, or a Pillow that has raqm',
            FeatMapWarning,
            stacklevel=2,
        )
        return None
    return arabic_reshaper
