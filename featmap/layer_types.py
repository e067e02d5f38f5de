"""Layers by the class of their module: ``type:Conv2d``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase

from torch import nn

from featmap.errors import LayerError, nearest

_SIGN = 'type:'
_MOST_NAMES = 6


def is_type(part: str) -> bool:
    """Whether a part of a layer name asks for a class."""
    return part.startswith(_SIGN)


def is_pattern(name: str) -> bool:
    """Whether a layer name stands for whatever it finds: it has a wildcard, or asks for a class."""
    return any(sign in name for sign in '*?') or any(map(is_type, name.split('.')))


def of_type(module: nn.Module, part: str) -> Iterator[tuple[str, nn.Module]]:
    """Every module inside another of the class that a part such as ``type:Conv2d`` asks for, with its name there.

    A class's own name decides, in which ``*`` and ``?`` are wildcards; only where no module has it, those of the
    classes that theirs derive from, such as ``_BatchNorm``.
    """
    wanted = _wanted(part)
    inside = [(name, each) for name, each in module.named_modules() if name]
    own = [(name, each) for name, each in inside if fnmatchcase(type(each).__name__, wanted)]
    yield from own or [
        (name, each) for name, each in inside if any(fnmatchcase(base.__name__, wanted) for base in type(each).mro())
    ]


def none_of_type(module: nn.Module, where: str, part: str) -> str:
    """Why nothing was found, with the classes that there are and how many modules each has.

    Args:
        module: The module that was searched.
        where: What it is called.
        part: The part of the layer name that asks for a class.
    """
    counts = Counter(type(each).__name__ for name, each in module.named_modules() if name)
    if not counts:
        return f'{where} has no layers inside'
    wanted = _wanted(part)
    near = nearest(wanted, counts)
    others = [name for name, _ in counts.most_common() if name not in near]
    named = ', '.join(f'{name} ({counts[name]})' for name in [*near, *others][:_MOST_NAMES])
    return f'{where} has no layer of type {wanted!r}; it has {named}{", …" if len(counts) > _MOST_NAMES else ""}'


def _wanted(part: str) -> str:
    wanted = part.removeprefix(_SIGN)
    if not wanted:
        raise LayerError(f'{part!r} names no class: expected one such as type:Conv2d')
    return wanted
