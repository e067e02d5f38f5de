"""Names of classes that a user hands in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from featmap.errors import ConfigError
from featmap.wording import option as written

_MOST = 1_000_000


def read_classes(given: str | Path | Mapping[Any, Any] | Iterable[Any]) -> tuple[str, ...]:
    """The names by number, from a file or from what stands in one.

    Args:
        given: A list of names, a dict of names by number (``{"0": "cat"}``) or of numbers by name (``{"cat": 0}``), or
            the path of a file: JSON of either, or lines of text.

    Raises:
        ConfigError: where there is no such file, or no names are in it.
    """
    if not isinstance(given, (str, Path)):
        return _named(given, 'what was given')
    path = Path(given).expanduser()
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is no text'
        raise ConfigError(f'{written("classes", str(given))} cannot be read: {reason}') from error
    if not text.lstrip().startswith(('[', '{')):
        return _named([line.strip() for line in text.splitlines() if line.strip()], repr(str(given)))
    try:
        return _named(json.loads(text), repr(str(given)))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f'{written("classes", str(given))} is no JSON: {error}') from error


def _named(found: Any, place: str) -> tuple[str, ...]:
    names: Any = found
    if isinstance(found, Mapping):
        numbers = {key: value for key, value in found.items() if isinstance(value, int)}
        by_number = {value: key for key, value in numbers.items()} if len(numbers) == len(found) else found
        try:
            by_number = {int(key): name for key, name in by_number.items()}
        except (TypeError, ValueError):
            by_number = {}
        complete = 0 < len(found) < _MOST and set(by_number) == set(range(len(found)))
        names = [by_number[number] for number in range(len(by_number))] if complete else ()
    if not isinstance(names, (list, tuple)) or not 0 < len(names) < _MOST:
        raise ConfigError(f'no names of classes are in {place}: expected a list of names, or names by number from 0 on')
    # Data sets such as ImageNet's index have [id, name] for each.
    return tuple(str(name[-1]) if isinstance(name, (list, tuple)) and name else str(name) for name in names)
