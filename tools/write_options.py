#!/usr/bin/env python3
"""Write the table of options, docs/options.md, from their declarations."""

from __future__ import annotations

import re
from pathlib import Path

from featmap.options.markdown import markdown_table

DOCUMENT = Path(__file__).resolve().parents[1] / 'docs' / 'options.md'


def main() -> None:
    """Replace the table between the two marks."""
    text = DOCUMENT.read_text(encoding='utf-8')
    marks = r'(<!-- options: [^\n]*-->\n\n).*?(<!-- end of options -->)'
    written, count = re.subn(marks, lambda found: f'{found[1]}{markdown_table()}\n\n{found[2]}', text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f'{DOCUMENT.name} has {count} places for the table of options, expected one')
    DOCUMENT.write_text(written, encoding='utf-8')


if __name__ == '__main__':
    main()
