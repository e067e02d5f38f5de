"""What documents show, taken out of them to be run: code blocks, and calls of the command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

COMMAND = re.compile(r'(?:featmap|\.venv/bin/featmap|python demo/featmap_vis_demo\.py) (.*)')


def blocks(language: str, text: str) -> list[str]:
    """The code of all blocks in a language, in order."""
    return re.findall(rf'```{language}\n(.*?)```', text, re.DOTALL)


def commands(text: str, stands_for: Mapping[str, object] | None = None) -> list[list[str]]:
    """The arguments of every call of the command in blocks of a console.

    Args:
        text: A document in Markdown.
        stands_for: What is put in place of words.
    """
    lines = [line[2:] for block in blocks('console', text) for line in block.splitlines() if line.startswith('$ ')]
    calls = [COMMAND.match(line.rpartition('| ')[2].partition(' >')[0]) for line in lines]
    return [[str((stands_for or {}).get(word, word)) for word in shlex.split(call[1])] for call in calls if call]
