"""Images that tell where a preprocessing puts them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

TILT = 1 / 3, 1 / 2
"""How far the asymmetric probe rises from edge to edge, down and across, of the way from black to white."""
BOWL = 0.4, 0.6
"""How far bowls rise from edge to edge, down and across; unlike, or a turn of a square would be taken for a flip."""

_QUICK_TURNS = 193, 146  # in 256ths: the most even sequence of points in a plane, Roberts' R2
_TURNS = 24, 15  # from top to bottom and from left to right
_TOP = 255 * 256


def probe_images(image_shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Black, white, a ramp in x, a ramp in y, and their negative mean: each (H, W, 3) uint8 grey.

    A ramp's value is (coordinate + 0.5) / extent · 255. Its levels are coarser than pixels on large images, so it is
    rounded up and down in turns that are spread evenly: the mean of a few pixels is exact. The last image tells what
    resizing itself rounds to one side, which is a pixel where a level is ten.
    """
    yield from plain_images(image_shape)
    yield from map(as_grey, ramp_planes(image_shape))


def asymmetric_probe(image_shape: tuple[int, int]) -> np.ndarray:
    """An (H, W, 3) uint8 image that every shift, crop, flip, turn or change of size makes another one.

    It is a plane that rises by the shares :data:`TILT` of the way from black to white.
    """
    across, down, _ = _ramps(image_shape, _quick_turns(*image_shape))
    return as_grey(across // 2 + down // 3)


def bowl_images(image_shape: tuple[int, int], window: tuple[float, ...]) -> Iterator[np.ndarray]:
    """A parabolic bowl with its bottom at the upper left corner of a window, and one with it at the lower right one.

    Their level is :data:`BOWL` · (distance from the bottom / extent of the window)² along each axis, of the way from
    black to white, and no more than that: each (H, W, 3) uint8 grey, rounded as ramps are. Where a bottom comes out is
    seen whatever becomes of brightness and contrast, even where it is cut off: a parabola tells it by its slope.

    Args:
        image_shape: Height and width.
        window: x1, y1, x2, y2 in pixels.
    """
    height, width = image_shape
    for ends in ((0, 1), (2, 3)):
        across, down = (
            np.minimum(((np.arange(extent) + 0.5 - window[end]) / (window[2 + axis] - window[axis])) ** 2, 1)
            for axis, (extent, end) in enumerate(zip((width, height), ends))
        )
        levels = (BOWL[1] * across + BOWL[0] * down[:, None]) * _TOP
        yield as_grey(((levels.astype(np.uint16) + _quick_turns(height, width)) >> 8).astype(np.uint8))


def plain_images(image_shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Black and white: each (H, W, 3) uint8."""
    for level in (0, 255):
        yield np.full((*image_shape, 3), level, np.uint8)


def ramp_planes(image_shape: tuple[int, int]) -> list[np.ndarray]:
    """Ramps in x, in y and against both: each (H, W) uint8."""
    return _ramps(image_shape, _turns(*image_shape))


def _ramps(image_shape: tuple[int, int], turns: np.ndarray) -> list[np.ndarray]:
    height, width = image_shape
    across, down = _levels(width), _levels(height)[:, None]
    return [((levels + turns) >> 8).astype(np.uint8) for levels in (across, down, _TOP - (across // 2 + down // 2))]


def as_grey(plane: np.ndarray) -> np.ndarray:
    """(H, W) to (H, W, 3)."""
    return np.repeat(plane[..., None], 3, axis=-1)


def _levels(extent: int) -> np.ndarray:
    """A ramp of (extent,) grey levels from dark to bright, in 256ths: uint16."""
    return np.round((np.arange(extent) + 0.5) / extent * _TOP).astype(np.uint16)


def _quick_turns(height: int, width: int) -> np.ndarray:
    """As :func:`_turns`, spread evenly over any few pixels, for windows of which a slow turn would pass half."""
    down, across = ((np.arange(extent) * step).astype(np.uint8) for extent, step in zip((height, width), _QUICK_TURNS))
    return down[:, None] + across


def _turns(height: int, width: int) -> np.ndarray:
    """What is added before the fraction is cut off, in 256ths, so that it rounds up as often as the fraction says.

    Slow enough for the mean of a few pixels, which a resize rounds once more, to differ from the next one's.
    """
    down, across = (
        (np.arange(extent) * (times * 256) // extent).astype(np.uint8) for extent, times in zip((height, width), _TURNS)
    )
    return down[:, None] + across
