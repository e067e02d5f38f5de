"""The rules of what is drawn of an image: the corners of a crop, or a detection with a margin; the size of panels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featmap.errors import DrawError, OptionError
from featmap.wording import option as written

Window = tuple[int, int, int, int]
PANEL_SIZE = 1280
"""Pixels of the longer side of a panel, by default: half of a wide screen."""

_MARGIN = 0.5  # of the longer side of a detection, on each side of it
_LEAST_MARGIN = 16  # pixels: a detection of a few pixels says nothing without its surroundings


@dataclass(frozen=True)
class Crop:
    """A part of each image to draw.

    Attributes:
        corners: ``(x1, y1, x2, y2)`` in pixels of the original; None where the crop follows a detection.
        box: The number of that detection, from 0, in the order in which they are given.
        margin: How much is drawn around it on each side, as a share of its longer side.
    """

    corners: tuple[float, float, float, float] | None = None
    box: int = 0
    margin: float = _MARGIN

    def __str__(self) -> str:
        if self.corners is not None:
            return ','.join(f'{corner:.10g}' for corner in self.corners)
        return f'box:{self.box}' + (f':{self.margin:g}' if self.margin != _MARGIN else '')

    @property
    def name(self) -> str:
        """What a label calls it."""
        return 'crop' if self.corners is not None else f'box:{self.box}'

    def window(self, image_shape: tuple[int, int], boxes: Sequence[Sequence[float]] | None) -> Window:
        """``(left, top, right, bottom)`` in whole pixels of an image of (height, width), cut at its edges.

        Args:
            image_shape: Height and width of the image.
            boxes: (N, 4) x1 y1 x2 y2 of its detections; None where it gives no boxes, or was not asked.

        Raises:
            DrawError: where nothing of the image, or no such detection, is there.
            OptionError: where a detection is to be cropped, but there are none asked for.
        """
        height, width = image_shape
        x1, y1, x2, y2 = self._around(boxes) if self.corners is None else self.corners
        left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
        right, bottom = min(math.ceil(x2), width), min(math.ceil(y2), height)
        if left >= right or top >= bottom:
            raise DrawError(f'{written("crop", str(self))} lies outside of the image of {width}×{height} pixels')
        return left, top, right, bottom

    def _around(self, boxes: Sequence[Sequence[float]] | None) -> tuple[float, float, float, float]:
        if boxes is None:
            raise OptionError(
                f'{written("crop", str(self))} needs detections, and this model gives none, or was asked for none'
            )
        if self.box >= len(boxes):
            have = f'only box:0 to box:{len(boxes) - 1}' if len(boxes) else 'no detection at all'
            raise DrawError(
                f'{written("crop", str(self))}: the image has {have}; a lower {written("score_thr")} keeps more of them'
            )
        return self.around(*map(float, boxes[self.box]))

    def around(self, x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
        """A box with the margin on each side; it may leave the image."""
        around = max(self.margin * max(x2 - x1, y2 - y1), _LEAST_MARGIN if self.margin else 0)
        return x1 - around, y1 - around, x2 + around, y2 + around


def parse_crop(value: Any) -> Crop:
    """A crop from ``X1,Y1,X2,Y2`` (text or four numbers), ``box:N`` or ``box:N:MARGIN``.

    Raises:
        ValueError: for anything else, with what was expected.
    """
    found = re.fullmatch(r'\s*box:(\d{1,6})(?::(\d{1,3}(?:\.\d+)?))?\s*', value) if isinstance(value, str) else None
    if found:
        return Crop(None, int(found[1]), float(found[2]) if found[2] else _MARGIN)
    x1, y1, x2, y2 = numbers_in(value, 4) or (0, 0, 0, 0)
    if x1 >= x2 or y1 >= y2:
        raise ValueError(
            'expected X1,Y1,X2,Y2 in pixels of the image with X1 < X2 and Y1 < Y2, or box:N for detection N (the first '
            'is 0), or box:N:MARGIN'
        )
    return Crop((x1, y1, x2, y2))


def numbers_in(value: Any, count: int) -> tuple[float, ...]:
    """So many finite numbers, of a text such as ``312,200`` or of a sequence; none where it holds anything else."""
    try:
        parts = re.split(r'[,\s]+', value.strip(' ()[]')) if isinstance(value, str) else list(value)
        found = tuple(math.nan if isinstance(part, bool) else float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if len(found) == count and all(map(math.isfinite, found)) else ()


def parse_panel_size(value: Any) -> int | str:
    """Pixels of a panel's longer side from a whole number or its text, or ``full``.

    Raises:
        ValueError: for anything else, and under 32 pixels.
    """
    if isinstance(value, str) and value.strip().lower() == 'full':
        return 'full'
    try:
        size = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        size = math.nan
    if not 32 <= size < math.inf or size != int(size):
        raise ValueError("expected the pixels of a panel's longer side, 32 or more, or full for the original's")
    return int(size)
