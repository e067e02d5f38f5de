"""What may stand in a file, said once: a check for each value, with an error that names the place, what is there and
what was expected.

A check is a function of a value and its place in the file. It returns the value, with lists as tuples, or raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from featmap.errors import FeatMapError

Check = Callable[[Any, str], Any]


class SchemaError(FeatMapError):
    """A value is not what is expected at its place; whoever reads the file says which file."""

    def __init__(self, place: str, value: Any, expected: str) -> None:
        super().__init__(f'{place or "it"} is {described(value)}, expected {expected}')


def described(value: Any) -> str:
    """A value in a few words. Not repr, which for lists within lists has no end."""
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else 'a number of over 20 digits'
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else f'{value[:40]!r}… of {len(value)} characters'
    if isinstance(value, (list, tuple, Mapping)):
        return f'a {"dict" if isinstance(value, Mapping) else "list"} of {len(value)}'
    return f'a {type(value).__name__}'


def anything(value: Any, place: str) -> Any:
    """No check."""
    return value


def flag(value: Any, place: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise SchemaError(place, value, 'true or false')
    return value


def text(most: int = 10_000) -> Check:
    """A text of up to so many characters."""

    def check(value: Any, place: str) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise SchemaError(place, value, f'a text of up to {most} characters')
        return value

    return check


def whole(low: int, high: int) -> Check:
    """A whole number from ``low`` to ``high``."""

    def check(value: Any, place: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise SchemaError(place, value, f'a whole number from {low} to {high}')
        return value

    return check


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """A finite number from ``low`` to ``high``."""

    def check(value: Any, place: str) -> int | float:
        if not isinstance(value, bool) and isinstance(value, (int, float)) and low <= value <= high:
            try:
                if math.isfinite(value):
                    return value
            except OverflowError:  # a whole number beyond floats
                pass
        limits = '' if low == -math.inf and high == math.inf else f' from {low:g} to {high:g}'
        raise SchemaError(place, value, f'a finite number{limits}')

    return check


def one_of(*known: str) -> Check:
    """One of some texts."""

    def check(value: Any, place: str) -> str:
        if not isinstance(value, str) or value not in known:
            raise SchemaError(place, value, f'one of {", ".join(known)}')
        return value

    return check


def maybe(check: Check) -> Check:
    """What another check lets pass, or nothing (None)."""
    return lambda value, place: None if value is None else check(value, place)


def many(check: Check, length: int | None = None, most: int = 1_000_000) -> Check:
    """A list of values that each pass, as a tuple; of this length, or of up to so many."""

    def check_all(value: Any, place: str) -> tuple[Any, ...]:
        fits = isinstance(value, (list, tuple)) and (len(value) <= most if length is None else len(value) == length)
        if not fits:
            raise SchemaError(place, value, f'a list of {length if length is not None else f"up to {most}"}')
        return tuple(check(each, f'{place}[{position}]') for position, each in enumerate(value))

    return check_all


def mapping(check: Check = anything) -> Check:
    """A dict whose keys are texts and whose values each pass."""

    def check_all(value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise SchemaError(place, value, 'a dict with texts for keys')
        return {key: check(each, _below(place, key)) for key, each in value.items()}

    return check_all


def record(needed: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A dict with these entries; what else is in it passes unseen, for versions to come."""

    def check_all(value: Any, place: str) -> dict[str, Any]:
        checked = mapping()(value, place)
        for key in needed:
            if key not in checked:
                raise SchemaError(place, value, f'one with the entry {key!r}')
        for key, check in {**(optional or {}), **needed}.items():
            if key in checked:
                checked[key] = check(checked[key], _below(place, key))
        return checked

    return check_all


def _below(place: str, key: str) -> str:
    return f'{place}.{key[:100]}' if place else key[:100]
