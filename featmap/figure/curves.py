"""Insertion and deletion in a figure, beside what knows nothing of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from featmap.figure.style import Type
from featmap.rendering.text import SEPARATOR

if TYPE_CHECKING:
    from featmap.faithfulness import Faithfulness

# Of the set by Okabe and Ito; dashes tell them apart without colours.
INSERTION, DELETION = '#0072B2', '#D55E00'
_CONTROLS = {'box': 0.35, 'region': 0.35, 'random': 0.7}  # grey levels
_DASHED: Any = (0, (3, 1))
_LABELS = {'box': 'the box itself', 'region': 'the region itself', 'random': 'noise'}


def draw_curves(faithfulness: Faithfulness, axes: Axes, type: Type, shape: tuple[float, float]) -> None:
    """Draw the target's value over the share of the pixels that came (insertion) or went (deletion).

    Args:
        faithfulness: With curves; those of its first baseline are drawn.
        axes: Axes of a (height, width) in points, which has no ticks of its own.
        type: The figure's fonts.
        shape: That height and width.
    """
    height, width = shape
    size = type.tag
    curves = faithfulness.figures.curves[0]
    others = [
        (name, each.curves[0]) for name, each in faithfulness.controls.items() if each.curves and name in _CONTROLS
    ]
    left, right, top = type.width('0.05', size) + 2, width - 1, 1.0
    entries = [('insertion', INSERTION), ('deletion', DELETION)]
    entries += [(_LABELS[name], str(_CONTROLS[name])) for name, _ in others]
    lines = type.fold([text for text, _ in entries], size, right - left)
    bottom = height - (1.2 + 1.2 * len(lines)) * size
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    drawn = [line for each in (curves, *(each for _, each in others)) for line in (each.insertion, each.deletion)]
    highest = max(float(max(map(np.max, drawn))), 1e-6)

    def place(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The areas are over these even steps, whatever share of the pixels each stands for.
        return np.linspace(left, right, len(values)), bottom - np.asarray(values) / highest * (bottom - top)

    axes.plot([left, left, right], [top, bottom, bottom], color='black', linewidth=0.4)
    for name, each in others:
        for values, dash in ((each.insertion, '-'), (each.deletion, _DASHED)):
            axes.plot(*place(values), color=str(_CONTROLS[name]), linewidth=0.5, linestyle=dash)
    axes.plot(*place(curves.insertion), color=INSERTION, linewidth=1.0)
    axes.plot(*place(curves.deletion), color=DELETION, linewidth=1.0, linestyle=_DASHED)
    how = {**type.how(size), 'color': 'black'}
    axes.text(left - 2, top, f'{highest:.2g}', ha='right', va='top', **how)
    axes.text(left - 2, bottom, '0', ha='right', va='bottom', **how)
    shares = faithfulness.protocol.shares
    axes.text(left, bottom + 1, _percent(shares[0]), ha='left', va='top', **how)
    axes.text(right, bottom + 1, f'{_percent(shares[-1])} of pixels', ha='right', va='top', **how)
    colors = dict(entries)
    for number, line in enumerate(lines):
        x, y = left, bottom + 1 + 1.2 * size * (number + 1)
        for text in line.split(SEPARATOR):
            axes.text(x, y, text, va='top', **{**how, 'color': colors[text]})
            x += type.width(text + SEPARATOR, size)


def _percent(share: float) -> str:
    return f'{100 * share:.2g} %' if 0 < share < 1 else f'{100 * share:.0f} %'
