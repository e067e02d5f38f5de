"""Borders that are filled with the image's own reflection, as by OpenCV's ``BORDER_REFLECT_101``."""

from __future__ import annotations

import math

import numpy as np

from featmap.geometry.lines import Reach

_LEAST = 8  # samples of the image itself, on which a line can be told
_SLACK = 1.5  # input pixels by which reflections may stray: the outermost pixel is repeated, or not


def unmirrored(position: np.ndarray, along: np.ndarray, reach: Reach) -> Reach | None:
    """The part of a reach in which the image itself lies, where all around it is its reflection; None where it is not.

    Positions rise in the image and fall in its reflections, by the same slope, and turn at its edges.

    Args:
        position: (n,) original positions that were seen along an axis.
        along: (n,) where in the input, in rising order.
        reach: From where to where there is content.
    """
    rising = _longest_run(position)
    if rising is None:
        return None
    first, last = rising
    slope, start = np.polyfit(along[first:last], position[first:last], 1)
    if abs(slope) * (along[last - 1] - along[first]) < reach.extent / 2:
        return None
    folded = np.mod(slope * along + start, 2 * reach.extent)
    expected = np.minimum(folded, 2 * reach.extent - folded)
    if np.abs(position - expected).max() > _SLACK * abs(slope) + reach.extent / 255:
        return None
    low, high = sorted(((0 - start) / slope, (reach.extent - start) / slope))
    if low - reach.first < _SLACK and reach.last - high < _SLACK:
        return None  # there is no border
    whole = high - low
    inside = low > reach.first - 1 and high < reach.last + 1
    # Of two whole copies no one can tell which is the image.
    if not inside or low - whole > reach.first - 1 or high + whole < reach.last + 1:
        return None
    return Reach(max(math.floor(low + 0.5), reach.first), min(math.floor(high + 0.5), reach.last), reach.extent)


def _longest_run(position: np.ndarray) -> tuple[int, int] | None:
    """From where to where positions go one way the longest, without the turns at its ends."""
    if len(position) < 2 * _LEAST:
        return None
    signs = np.sign(np.convolve(np.diff(position), np.ones(3), 'same'))
    turns = np.flatnonzero(np.diff(signs)) + 1
    ends = np.concatenate([[0], turns, [len(signs)]])
    longest = int(np.diff(ends).argmax())
    first, last = int(ends[longest]) + 2, int(ends[longest + 1]) - 1
    return (first, last) if last - first >= _LEAST else None
