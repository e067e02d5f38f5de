"""Text that is not ours made harmless: what stands in a file may not move the cursor, hide a line or reorder one."""

from __future__ import annotations

import unicodedata
from typing import Any

# What no text needs and a terminal acts upon: controls, bidi overrides and the like, line separators, lone surrogates.
_HARMFUL = {'Cc', 'Cf', 'Zl', 'Zp', 'Cs'}
# Joiners are of that class too, and spell words in Persian and Hindi, and emoji.
_JOINERS = '\u200c\u200d'


def escape(text: object) -> str:
    r"""The text on one line, with every character that could act upon a terminal as Python writes it: ``\x1b``."""
    text = str(text)
    if text.isprintable():
        return text
    return ''.join(
        char.encode('unicode_escape').decode('ascii')
        if unicodedata.category(char) in _HARMFUL and char not in _JOINERS
        else char
        for char in text
    )


def tell(console: Any, text: object, style: str | None = None) -> None:
    """Print one line to a rich console: escaped, and with nothing in it taken for markup or the name of an emoji."""
    console.print(escape(text), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)
