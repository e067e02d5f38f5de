"""Instance masks and segments over the panels of a figure."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from featmap.geometry import View
from featmap.rendering.boxes import bright, color_of
from featmap.rendering.masks import FILL, contours, segments_over
from featmap.structures import Detections

_COARSE = 0.1  # points by which an outline may be off, which keeps files small


def draw_masks(axes: Axes, detections: Detections, order: Sequence[int], point: float, full: bool) -> None:
    """Outline instance masks, the first of the order on top, on axes in pixels of the original; fill them where full.

    Args:
        axes: Where to draw.
        detections: With masks.
        order: Those to draw.
        point: Pixels of the original for each point of the figure.
        full: Whether to fill them lightly.
    """
    assert detections.masks is not None
    for depth, index in enumerate(order):
        left, top = (int(edge) for edge in detections.masks.windows[index, :2])
        lines = [
            cv2.approxPolyDP(line, _COARSE * point, closed=True)[:, 0] + 0.5  # from pixels' centres to positions
            for line in contours(detections.masks.part(index), (left, top))
        ]
        if not lines:
            continue
        color = color_of(detections, int(detections.labels[index]))
        shade = np.array(color if full else bright(color)) / 255
        patch = PathPatch(Path.make_compound_path(*(Path([*line, line[0]], closed=True) for line in lines)))
        patch.set(
            edgecolor=shade,
            facecolor=(*shade, FILL) if full else 'none',
            linewidth=0.7 if full else 0.5,
            zorder=2 - depth / max(len(order), 1),
        )
        axes.add_patch(patch)


def draw_segments(axes: Axes, detections: Detections, view: View, full: bool) -> None:
    """Colour segments by class where full, else only their borders, with a pixel for each pixel of the figure."""
    assert detections.segments is not None
    shape = tuple(max(round(side), 1) for side in (axes.bbox.height, axes.bbox.width))
    picture = segments_over(detections, detections.segments.seen(view.window, (shape[0], shape[1])), full)
    left, top, right, bottom = view.window
    axes.imshow(
        picture, extent=(left, right, bottom, top), aspect='auto', interpolation='nearest', zorder=1,
        label='segments',
    )  # fmt: skip
