"""The table of options, docs/options.md."""

from __future__ import annotations

from featmap.options.declare import Option
from featmap.options.run import GROUPS, OPTIONS


def markdown_table() -> str:
    """All options of the command line, a row each, under the headings of their groups."""
    lines = ['| argument | meaning | default |', '|---|---|---|']
    for group, holder in GROUPS.items():
        options = [item for item in OPTIONS.values() if item.group == group and 'command' in item.places]
        lines.append(f'| **{str(holder.__doc__).rstrip(".").lower()}** | | |')
        lines += [f'| {_call(item)} | {item.help.replace("|", chr(92) + "|")} | {item.usual} |' for item in options]
    return '\n'.join(lines)


def _call(item: Option) -> str:
    words = [item.flag] if item.positional else [item.flag, item.kind.metavar]
    return f'`{" ".join(filter(None, words))}{"…" if item.kind.many and " " not in item.kind.metavar else ""}`'
