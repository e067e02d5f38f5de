"""How an option is written for whoever reads the message: a flag on the command line, an argument in Python."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_on_command_line = ContextVar('on_command_line', default=False)
_NOTHING = object()


@contextlib.contextmanager
def command_line() -> Iterator[None]:
    """Within, messages are read by someone at a command line."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


def on_command_line() -> bool:
    """Whether messages are read by someone at a command line."""
    return _on_command_line.get()


def option(name: str, value: Any = _NOTHING) -> str:
    """An option as the reader would type it: ``--topk 3`` or ``topk=3``; ``--no-boxes`` or ``boxes=False``.

    Args:
        name: Its name in Python.
        value: Its value; left out to name the option alone.
    """
    if not on_command_line():
        return name if value is _NOTHING else f'{name}={value!r}'
    flag = '--' + name.replace('_', '-')
    if value is _NOTHING or value is True:
        return flag
    if value is False:
        return '--no-' + name.replace('_', '-')
    words = value if isinstance(value, (list, tuple)) else [value]
    return ' '.join([flag, *(shlex.quote(str(word)) for word in words)])
