"""Images that tell where a preprocessing puts them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_TURNS = 193, 146  # in 256ths: the most even sequence of points in a plane, Roberts' R2
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
    """An (H, W, 3) uint8 image that every shift, crop, flip, turn or change of size makes another one."""
    across, down, _ = ramp_planes(image_shape)
    return as_grey(across // 2 + down // 3)


def plain_images(image_shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Black and white: each (H, W, 3) uint8."""
    for level in (0, 255):
        yield np.full((*image_shape, 3), level, np.uint8)


def ramp_planes(image_shape: tuple[int, int]) -> list[np.ndarray]:
    """Ramps in x, in y and against both: each (H, W) uint8."""
    height, width = image_shape
    across, down = _levels(width), _levels(height)[:, None]
    turns = _turns(height, width)
    return [((levels + turns) >> 8).astype(np.uint8) for levels in (across, down, _TOP - (across // 2 + down // 2))]


def as_grey(plane: np.ndarray) -> np.ndarray:
    """(H, W) to (H, W, 3)."""
    return np.repeat(plane[..., None], 3, axis=-1)


def _levels(extent: int) -> np.ndarray:
    """A ramp of (extent,) grey levels from dark to bright, in 256ths: uint16."""
    return np.round((np.arange(extent) + 0.5) / extent * _TOP).astype(np.uint16)


def _turns(height: int, width: int) -> np.ndarray:
    """What is added before the fraction is cut off, in 256ths, so that it rounds up as often as the fraction says."""
    return (np.arange(height) * _TURNS[0]).astype(np.uint8)[:, None] + (np.arange(width) * _TURNS[1]).astype(np.uint8)
