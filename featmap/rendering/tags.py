"""Where the tags of boxes stand: one rule for pictures and figures."""

from __future__ import annotations

import numpy as np


def place_tags(
    boxes: np.ndarray,
    widths: np.ndarray,
    height: float,
    shape: tuple[float, float],
    others: np.ndarray | None = None,
    taken: np.ndarray | None = None,
    insist: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """A place at its box for each tag, the first tag choosing first.

    A tag stands at one of the six corners of its box, above, below or inside: at the first of those that cover the
    least of the tags before. Hiding more than half of a box counts as much as covering a tag.

    Args:
        boxes: (N, 4) boxes of the tags: left, top, right, bottom; they may reach beyond the image.
        widths: (N,) of the tags.
        height: Of each tag.
        shape: Height and width of the image, in the unit of the boxes.
        others: (M, 4) all boxes that should be seen; by default those of the tags.
        taken: (K, 4) places of tags that stand already.
        insist: Whether a tag that fits nowhere is placed all the same; otherwise it takes no place.

    Returns:
        (N, 4) places within the image, as the boxes; and (N,) bool, whether the tag fits: covers no other tag, hides
        no box, and is no larger than the image. The place of a tag that takes none is of no meaning.
    """
    others = boxes if others is None else others
    widths = np.asarray(widths)
    placed = np.zeros((0, 4)) if taken is None else np.asarray(taken, dtype=float)
    standing = np.concatenate([placed, np.zeros((len(boxes), 4))])
    count = len(placed)
    corners = _corners(boxes, np.minimum(widths, shape[1]), min(height, shape[0]), shape)
    areas = np.maximum(np.prod(others[:, 2:] - others[:, :2], axis=1), 1e-6)
    places, fits = np.zeros((len(boxes), 4)), np.zeros(len(boxes), dtype=bool)
    for index, choices in enumerate(corners):
        covered = _common(choices, standing[:count]).sum(axis=1)
        hides = (_common(choices, others) > 0.5 * areas).sum(axis=1)
        cost = covered + hides * widths[index] * height
        best = cost.argmin()
        places[index] = choices[best]
        fits[index] = cost[best] <= 0 and widths[index] <= shape[1] and height <= shape[0]
        if insist or fits[index]:
            standing[count] = choices[best]
            count += 1
    return places, fits


def _corners(boxes: np.ndarray, widths: np.ndarray, height: float, shape: tuple[float, float]) -> np.ndarray:
    """Places for a tag of each width (N,) at its box (N, 4), within the image: (N, 6, 4), best first."""
    left, top, right, bottom = boxes.T
    above, inside = top - height, right - widths
    x = np.stack([left, inside, left, inside, left, inside], axis=1)
    y = np.stack([above, above, bottom, bottom, top, bottom - height], axis=1)
    x = np.clip(x, 0, (shape[1] - widths)[:, None])
    y = np.clip(y, 0, shape[0] - height)
    return np.stack([x, y, x + widths[:, None], y + height], axis=2)


def _common(places: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The area that each of the places (N, 4) shares with each of the boxes (M, 4): (N, M)."""
    left, top, right, bottom = places.T[:, :, None]
    wide = np.minimum(right, boxes[:, 2]) - np.maximum(left, boxes[:, 0])
    high = np.minimum(bottom, boxes[:, 3]) - np.maximum(top, boxes[:, 1])
    return np.maximum(wide, 0) * np.maximum(high, 0)
