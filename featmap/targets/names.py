"""Classes by name or number."""

from __future__ import annotations

from collections.abc import Sequence

from featmap.errors import TargetError, nearest

_FEW = 12  # classes that a message names all of
_MOST = 5  # classes of one name that a message lists


def class_number(name: str, classes: Sequence[str], count: int | None = None) -> int:
    """The number of a class that is asked for by its name, one of its synonyms, or its number.

    A name is compared as it is written first, then without regard to case, then with each of ``tench, Tinca tinca``.

    Args:
        name: What was asked for.
        classes: The classes' names; empty where they are not known.
        count: How many classes there are; as many as there are names by default.

    Raises:
        TargetError: where there is none of this name, or several.
    """
    count = len(classes) if count is None else count
    folded = name.casefold()
    readings = (
        lambda known: known == name,
        lambda known: known.casefold() == folded,
        lambda known: folded in [synonym.strip().casefold() for synonym in known.split(',')],
    )
    for same in readings:
        found = [number for number, known in enumerate(classes[:count]) if same(known)]
        if len(found) == 1:
            return found[0]
        if found:
            which = ', '.join(f'class:{number}' for number in found[:_MOST])
            raise TargetError(f'{len(found)} classes are called {name!r}: {which}')
    if name.isascii() and name.isdigit():
        if int(name) < count or (not classes and not count):
            return int(name)
        raise TargetError(f'class:{name}: the model has {count} classes, 0 to {count - 1}')
    if not classes:
        raise TargetError(f'class:{name}: the names of the classes are not known, expected a number from 0 up')
    if count <= _FEW:
        raise TargetError(f'class:{name}: the model knows no such class; it knows {", ".join(classes[:count])}')
    near = ', '.join(nearest(folded, {known.casefold(): known for known in classes[:count]}))
    raise TargetError(f'class:{name}: the model knows no such class; nearest: {near}')


def class_name(number: int | None, classes: Sequence[str]) -> str:
    """What a label calls a class: its first synonym, or its number."""
    if number is None:
        return ''
    return classes[number].partition(',')[0].strip() if 0 <= number < len(classes) else f'class {number}'
