"""Kinds of values that options take: how they are read, from a command line, a config or Python alike."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from featmap.crop import numbers_in, parse_crop, parse_panel_size
from featmap.errors import OptionError
from featmap.norm import parse_norm
from featmap.wording import option as written


@dataclass(frozen=True)
class Kind:
    """How values of an option are read.

    Attributes:
        read: Any value to one of the option's type. Raises ValueError or TypeError, whose text says what was expected.
        metavar: What stands for the value in ``--help``; empty for an option that is on or off.
        many: Whether it takes several words on the command line.
        reads_file: Whether the value is the path of a file that the run reads, which no result may replace.
    """

    read: Callable[[Any], Any]
    metavar: str = ''
    many: bool = False
    reads_file: bool = False


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError('expected True or False')
    return value


FLAG = Kind(_flag)
"""On or off."""


def whole(metavar: str, expected: str, fits: Callable[[int], bool], word: str | None = None) -> Kind:
    """A whole number, or a word in its place."""

    def read(value: Any) -> int | str:
        if word is not None and value == word:
            return word
        number = _number(value, expected)
        if number != int(number) or not fits(int(number)):
            raise ValueError(f'expected {expected}')
        return int(number)

    return Kind(read, metavar)


def number(metavar: str, low: float, high: float, expected: str = '') -> Kind:
    """A number from ``low`` to ``high``."""
    expected = expected or f'a number from {low:g} to {high:g}'

    def read(value: Any) -> float:
        found = _number(value, expected)
        if not low <= found <= high:
            raise ValueError(f'expected {expected}')
        return found

    return Kind(read, metavar)


def _number(value: Any, expected: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise ValueError(f'expected {expected}')
    return found


def text(metavar: str, expected: str = 'a name') -> Kind:
    """A text that is not empty; paths become texts."""

    def read(value: Any) -> str:
        if not isinstance(value, str) and not hasattr(value, '__fspath__'):
            raise ValueError(f'expected {expected}')
        if not str(value):
            raise ValueError(f'expected {expected}, got an empty text')
        return str(value)

    return Kind(read, metavar)


def file(metavar: str = 'F') -> Kind:
    """The path of a file."""
    return text(metavar, 'the path of a file')


def read_file(metavar: str = 'F') -> Kind:
    """The path of a file that is read."""
    return replace(file(metavar), reads_file=True)


def one_of(metavar: str, *known: str) -> Kind:
    """One of a few words."""

    def read(value: Any) -> str:
        if value not in known:
            raise ValueError(f'expected {" or ".join(filter(None, [", ".join(known[:-1]), known[-1]]))}')
        return value

    return Kind(read, metavar)


def names(metavar: str, expected: str, reads_file: bool = False) -> Kind:
    """At least one name, as a tuple; a single one may stand alone."""

    def read(value: Any) -> tuple[str, ...]:
        found = (value,) if _is_name(value) else tuple(value if isinstance(value, Iterable) else ())
        if not found or not all(map(_is_name, found)):
            raise ValueError(f'expected {expected}')
        return found

    return Kind(read, metavar, many=True, reads_file=reads_file)


def _is_name(value: Any) -> bool:
    # A module of a model stands where its name could.
    return hasattr(value, 'named_modules') or (isinstance(value, str) and value != '')


def _backends(value: Any) -> tuple[Any, ...]:
    found = (value,) if isinstance(value, (str, dict)) else tuple(value or ())
    if not all(isinstance(each, str) or (isinstance(each, Mapping) and 'type' in each) for each in found):
        raise ValueError("expected names of vis backends, or dict(type='LocalVisBackend', ...)")
    return found


BACKENDS = Kind(_backends, 'B', many=True)
"""MMEngine vis backends: names or ``dict(type=...)``."""


def _reduction(value: Any) -> Any:
    if isinstance(value, str) and value.lower() == 'none':
        return None
    if not isinstance(value, (str, dict, list, tuple, type(None))):
        raise ValueError('expected a name, a dict, a list of them or None')
    return value


REDUCTION = Kind(_reduction, 'R')
"""A reducer: a name, a ``dict(type=...)``, a list of them; the word None, in any case, stands for no reduction."""


_MOST_PLACES = 100_000  # no layer has so many channels; a slip should not fill the memory


def _arrangement(value: Any) -> tuple[int, int] | None:
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    numbers = re.fullmatch(r'\s*[(\[]?\s*(\d+)\s*[x×,\s]\s*(\d+)\s*[)\]]?\s*', ' '.join(str(part) for part in parts))
    if not numbers or not 1 <= int(numbers[1]) * int(numbers[2]) <= _MOST_PLACES:
        raise ValueError(
            f'expected rows and columns, such as 2 3 or 2x3, each 1 or more, with up to {_MOST_PLACES} places in all'
        )
    return int(numbers[1]), int(numbers[2])


ARRANGEMENT = Kind(_arrangement, 'R C', many=True)
"""Rows and columns from ``(2, 3)``, ``['2', '3']``, ``'2x3'``, ``'2 3'`` or ``'(2,3)'``."""


def parse_channels(value: Any) -> tuple[int | str, ...] | str:
    """Channels from ``all``, ``[3, 17]``, ``'3 17 40-47'`` or ``['dog', 'traffic light', 3]``, in the order given.

    What does not begin with a digit is the name of a class. One text is split at commas, and at spaces where it holds
    numbers only: ``'traffic light'`` is one name.

    Raises:
        OptionError: for anything else.
    """
    try:
        return _channels(value)
    except ValueError as error:
        raise OptionError(f'{written("channels", value)}: {error}') from error


def _channels(value: Any) -> tuple[int | str, ...] | str:
    if value in ('all', ['all'], ('all',)):
        return 'all'
    channels: list[int | str] = []
    for part in value if isinstance(value, (list, tuple)) else _split_channels(str(value)):
        found = re.fullmatch(r'(\d+)(?:-(\d+))?', str(part))
        if found and 0 <= int(found[2] or found[1]) - int(found[1]) < _MOST_PLACES:
            channels.extend(range(int(found[1]), int(found[2] or found[1]) + 1))
        elif isinstance(part, str) and re.match(r'[^\W\d]', part) and part.split()[0] != 'all':
            channels.append(part)
        else:
            raise ValueError('expected numbers and ranges, such as 3 17 40-47, names of classes, or all')
    if not channels:
        raise ValueError('expected at least one channel')
    return tuple(dict.fromkeys(channels))


def _split_channels(value: str) -> list[str]:
    if re.search(r'[^\d\s,-]', value):
        return [part.strip() for part in value.split(',')]
    return value.replace(',', ' ').split()


CHANNELS = Kind(_channels, 'C', many=True)
"""Channels of a map."""


def _norm(value: Any) -> str:
    rule = ','.join(map(str, value)) if isinstance(value, (list, tuple)) else value
    parse_norm(rule)
    return rule


NORM = Kind(_norm, 'N')
"""A rule of the colour scale, see :func:`featmap.norm.parse_norm`."""


PANEL_SIZE = Kind(parse_panel_size, 'N')
"""Pixels, or ``full``."""

CROP = Kind(lambda value: str(parse_crop(value)), 'C')
"""A part of an image as text, see :func:`featmap.crop.parse_crop`."""


def _query(value: Any) -> tuple[float, float] | int:
    expected = 'X,Y in pixels of the image, such as 312,200, or the number of an object query'
    if isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r'\s*\d{1,6}\s*', value)):
        if isinstance(value, bool) or int(value) < 0:
            raise ValueError(f'expected {expected}')
        return int(value)
    found = numbers_in(value, 2)
    if not found:
        raise ValueError(f'expected {expected}')
    return found[0], found[1]


QUERY = Kind(_query, 'X,Y')
"""A pixel of an image, ``'312,200'`` or two numbers; or one number."""


def _overrides(value: Any) -> dict[str, Any] | tuple[str, ...]:
    return dict(value) if isinstance(value, Mapping) else tuple(value or ())


OVERRIDES = Kind(_overrides, 'K=V', many=True)
"""Overrides of a config: a dict, or ``key=value`` texts."""


def _visualizer(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("expected dict(type='FeatMapVisualizer', ...)")
    return {'type': 'FeatMapVisualizer', **value}


VISUALIZER = Kind(_visualizer)
"""``dict(type=...)`` of a visualizer and its arguments."""


def numbers(metavar: str, expected: str, fits: Callable[[float], bool] = lambda value: True) -> Kind:
    """One or more numbers, as a tuple."""

    def read(value: Any) -> tuple[float, ...]:
        parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        words = ' '.join(str(part) for part in parts).replace(',', ' ').split()
        found = tuple(_number(word, expected) for word in words)
        if not found or not all(map(fits, found)):
            raise ValueError(f'expected {expected}')
        return found

    return Kind(read, metavar, many=True)


_MOST_PIXELS = 32_768  # of a side; a slip should not fill the memory


def _size(value: Any) -> tuple[int, int]:
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    found = [int(digits) for digits in re.findall(r'\d+', ' '.join(map(str, parts)))]
    rest = re.sub(r'[\d\s,x×()\[\]]', '', ' '.join(map(str, parts)))
    if rest or len(found) not in (1, 2) or not all(1 <= each <= _MOST_PIXELS for each in found):
        raise ValueError(f'expected a height and a width, or one number for both, from 1 to {_MOST_PIXELS}')
    return found[0], found[-1]


SIZE = Kind(_size, 'H W', many=True)
"""Height and width from ``224``, ``(480, 640)``, ``'480x640'`` or ``['480', '640']``."""


def _function(value: Any) -> Any:
    if not callable(value) and not (isinstance(value, str) and value):
        raise ValueError('expected a function, or its name')
    return value


FUNCTION = Kind(_function, 'FUNCTION')
"""A function, or its name."""


def _classes(value: Any) -> Any:
    if isinstance(value, Mapping) or (isinstance(value, Iterable) and not isinstance(value, str)):
        return dict(value) if isinstance(value, Mapping) else tuple(map(str, value))
    return file().read(value)


CLASSES = Kind(_classes, 'F', reads_file=True)
"""Names of classes: the path of a file, or the names themselves."""
