"""One image's maps as a figure for print: text as text, and panels at the image's own resolution."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from featmap.errors import OptionError, OutputError
from featmap.figure.sheet import Sheet
from featmap.figure.tiles import Tile, break_rows, rows_of
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look
from featmap.sinks import write_atomically
from featmap.structures import Detections, FeatureMap

if TYPE_CHECKING:
    from featmap.visualizer import FeatMapVisualizer

_NARROWEST = 0.75  # inches from one panel to the next
_METADATA: dict[str, dict[str, Any]] = {'.pdf': {'CreationDate': None}, '.svg': {'Date': None}, '.png': {}}
_PIXELATED = b' style="image-rendering:crisp-edges;image-rendering:pixelated"'
_STYLE: Any = {
    'pdf.fonttype': 42,
    'svg.fonttype': 'none',
    'svg.hashsalt': 'featmap',
    'image.composite_image': False,
    # Texts are measured in DejaVu Sans, which comes with matplotlib; the others are for viewers of SVG.
    'font.family': ['sans-serif'],
    'font.sans-serif': ['DejaVu Sans', 'Verdana', 'Arial', 'Helvetica'],
}


def save_figure(
    path: str | os.PathLike[str],
    image: np.ndarray,
    maps: Sequence[FeatureMap],
    detections: Detections | None = None,
    *,
    title: str = '',
    visualizer: FeatMapVisualizer | Look | None = None,
    run: Range | None = None,
    dpi: float = 200,
    width: float = 7.0,
    columns: int = 6,
) -> Figure:
    """Write the image, and right of it a row of panels for each layer; layers of one panel each share their rows.

    A range stands on a colour bar below its panel, or right of all panels that share it; ≤ and ≥ mark ends that values
    lie beyond. A concept's frame has its colour in the panel of all concepts. Same arguments, same bytes.

    Args:
        path: Ends in ``.pdf``, ``.svg`` or ``.png``; folders are created.
        image: (H, W, 3) RGB uint8, the original.
        maps: Maps of this image, in drawing order.
        detections: Outlined on all panels, with class and score on the image where there is room; None for none.
        title: Stands above the image.
        visualizer: Whose opacity, colours and rule of ranges to use, or these as a :class:`Look`.
        run: The range of the whole run, for the norm ``run``; by default that of these maps.
        dpi: Pixels an inch of a PNG. In a PDF or SVG, panels have all pixels of the image.
        width: Of the figure, in inches. Its height follows from the shape of the image and the number of rows.
        columns: The most panels side by side, the image not counted; fewer where they would be too small to read.

    Returns:
        The figure, of which pyplot knows nothing; its axes are labelled ``image``, ``panel`` and ``bar``.

    Raises:
        OutputError: for another suffix, and where writing fails.
        DrawError: where a map holds no finite value on the image, or belongs to an image of another size.
        OptionError: for an image that is none, and for sizes out of range.
    """
    path = Path(os.path.expanduser(path))
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise OutputError(f'{str(path)!r} has the suffix {path.suffix!r}: expected one of {" ".join(_METADATA)}')
    _check(image, maps, dpi, width, columns)
    look = visualizer if isinstance(visualizer, Look) else visualizer.look if visualizer else Look()
    parts = [f'{image.shape[1]}×{image.shape[0]}']
    if detections is not None:
        parts.append(detections.count)
    original = Tile(image, ' '.join(title.split()) or 'image', tuple(parts))
    lines = break_rows(rows_of(image, maps, look, run), max(min(columns, int(width / _NARROWEST) - 1), 1))
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        sheet = Sheet(original, lines, width, look.colors)
        size = (width, sheet.height)
        if suffix == '.png':  # whole pixels; Agg rounds down
            size = ((round(width * dpi) + 1e-6) / dpi, (math.ceil(sheet.height * dpi) + 1e-6) / dpi)
        figure = Figure(size, dpi=dpi, facecolor='white')
        sheet.draw(figure, detections, resampled=suffix == '.png')
        buffer = BytesIO()
        figure.savefig(buffer, format=suffix[1:], dpi=dpi, metadata=_METADATA[suffix])
    data = buffer.getvalue()
    if figure.axes[0].get_position().width * width * 96 < image.shape[1]:
        data = data.replace(_PIXELATED, b'')  # SVG viewers would leave pixels out rather than average them
    write_atomically(path, data)
    return figure


def _check(image: np.ndarray, maps: Sequence[FeatureMap], dpi: float, width: float, columns: int) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise OptionError(f'expected an RGB image of shape (H, W, 3) and uint8, got {image.shape} of {image.dtype}')
    if not (10 <= dpi <= 2400 and 1 <= width <= 50 and columns >= 1):
        raise OptionError(
            f'a figure of dpi={dpi}, width={width} and columns={columns}: expected 10 to 2400 dots an inch, a width of '
            '1 to 50 inches, and at least one column'
        )
    for item in maps:
        item.check_image(image)
