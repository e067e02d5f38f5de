"""Labels as a file has them, before they are put into the model's classes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Label:
    """One labelled box.

    Attributes:
        kind: The class's name, or its number in the model where the file has numbers only.
        box: x1 y1 x2 y2; in pixels, or in shares of the image's sides.
        crowd: Whether it is a crowd.
        ignored: Whether it counts neither as found nor as missed.
    """

    kind: str | int
    box: tuple[float, float, float, float]
    crowd: bool = False
    ignored: bool = False


@dataclass(frozen=True)
class ImageLabels:
    """All labels of one image.

    Attributes:
        labels: The boxes.
        size: Width and height of the image that they are for, where the file says it.
        relative: Whether boxes are in shares of the image's sides.
    """

    labels: tuple[Label, ...] = ()
    size: tuple[int, int] | None = None
    relative: bool = field(default=False)


class NotLabelsError(ValueError):
    """A file is no labels of the format that it seems to be of; the text says why, without the file's name."""


def numbers(values: Any, count: int, what: str) -> tuple[float, ...]:
    """So many finite numbers. Raises NotLabelsError."""
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    try:
        found = tuple(float(value) for value in values if not isinstance(value, bool))
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) != count or not all(map(math.isfinite, found)):
        raise NotLabelsError(f'{what} is {str(values)[:60]}, expected {count} numbers')
    return found


def around(points: Iterable[tuple[float, float]]) -> tuple[float, float, float, float]:
    """The box around points."""
    corners = np.array(list(points))
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return float(left), float(top), float(right), float(bottom)
