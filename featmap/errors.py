"""The exception types. A message says, in one line, what was given, what was expected and what to try."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from featmap.escaping import escape

_LONGEST = 2000


class FeatMapError(Exception):
    """Something that the user can put right. The command line prints its text and exits with 2.

    A message quotes names from files; as text it is one line that holds nothing a terminal acts upon.
    """

    def __str__(self) -> str:
        text = escape(super().__str__())
        # Names in files can have any length.
        return text if len(text) <= _LONGEST else f'{text[: _LONGEST * 3 // 4]} … {text[-_LONGEST // 5 :]}'


class OptionError(FeatMapError, ValueError):
    """An option, or the combination of options, makes no sense."""


class ConfigError(FeatMapError):
    """A config is missing, broken, or asks for something that cannot be built."""


class MissingPackageError(FeatMapError, ImportError):
    """A config or an op needs a package that is not installed; the message has the install command."""


class MissingOpError(MissingPackageError):
    """The model called an op that only full mmcv has."""


class CheckpointError(FeatMapError):
    """A checkpoint cannot be read, is unsafe to read, or belongs to another model."""


class LayerError(FeatMapError, LookupError):
    """A target layer does not exist, was never run, or puts out something that is no map."""


class TargetError(FeatMapError, LookupError):
    """What is to be explained is not there, or does not come from one raw prediction."""


class GeometryError(FeatMapError):
    """It cannot be told where in the image a feature cell lies."""


class SourceError(FeatMapError):
    """An input image is missing or cannot be decoded."""


class OutputError(FeatMapError):
    """A result cannot be written."""


class DrawError(FeatMapError, AssertionError):
    """A map cannot be drawn as asked. MMEngine asserts here, and callers catch that."""


class FeatMapWarning(UserWarning):
    """Something that the user should know; the command line prints its text."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The ``count`` known names that are most like ``name``, best first."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.0)


def first_line(error: BaseException) -> str:
    """The error's text on one line, cut to a readable length; its type where it has no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else text[:297] + '...'
