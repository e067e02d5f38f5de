"""Ground truth in a figure: a panel of its own, whose lines a printer without colours keeps apart."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from featmap.figure.tiles import Canvas, Plain, Tile
from featmap.matching import Match
from featmap.rendering.truth import FALSE, FOUND, IGNORED, MISSED, Style

_LINES = {FOUND: '-', MISSED: (0, (4, 2)), FALSE: (0, (1, 1.2)), IGNORED: (0, (1, 3))}
_WIDTH = 0.6  # points


def truth_tile(canvas: Canvas, match: Match) -> Tile:
    """The panel, with the counts and what line stands for which."""
    found, missed, false = match.counts
    counts = (f'{found} found, solid', f'{missed} missed, dashed', f'{false} false, dotted')
    return Tile(Plain(canvas), 0, 'ground truth', (*counts, *match.rest), over=partial(draw_truth, match))


def draw_truth(match: Match, axes: Axes) -> None:
    """Draw the boxes on axes in pixels of the original: those that went wrong on top."""
    truth, detections = match.truth, match.detections
    groups = [
        (IGNORED, truth.boxes[truth.ignored | truth.crowd]),
        (FOUND, truth.boxes[match.of_detection[match.found]]),
        (FALSE, detections.boxes[match.false]),
        (MISSED, truth.boxes[match.missed]),
    ]
    for depth, (style, boxes) in enumerate(groups):
        for box in boxes.astype(float):
            _draw(axes, box, style, 2 + depth / 10)


def _draw(axes: Axes, box: np.ndarray, style: Style, depth: float) -> None:
    left, top, right, bottom = box
    for color, width, line in ((style.edge, 2 * _WIDTH, '-'), (style.color, _WIDTH, _LINES[style])):
        patch = Rectangle((left, top), right - left, bottom - top, fill=False)
        patch.set(edgecolor=np.array(color) / 255, linewidth=width, linestyle=line, capstyle='butt', zorder=depth)
        axes.add_patch(patch)
