"""One image's maps as a figure for print: text as text, and panels with the pixels that they are printed with."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from featmap.crop import Crop, Window, parse_crop
from featmap.errors import OptionError, OutputError
from featmap.figure.chart import chart_tile
from featmap.figure.chart import texts as chart_texts
from featmap.figure.marks import Marks
from featmap.figure.sheet import GAP, MARGIN, Caption, Sheet
from featmap.figure.style import SMALLEST, AnyStyle, Type, applied, settings_of, side_by_side
from featmap.figure.tiles import Canvas, Line, Tile, break_rows, line_of, panel_rows, rows_of
from featmap.figure.truth import truth_tile
from featmap.matching import Match
from featmap.rendering.fonts import chosen_font
from featmap.rendering.legend import entries_of
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look, sizes_of
from featmap.rendering.text import SEPARATOR
from featmap.structures import Detections, FeatureMap, check_drawable
from featmap.wording import option as written
from featmap.writing import write_atomically

SUFFIXES = ('.pdf', '.svg', '.png')
_BESIDE, _BELOW = 0.75, 0.9  # inches from one panel to the next at least, beside the image or below it
_LOWEST = 0.5  # inches of a panel's height
_READABLE = 60.0  # points: panels that were narrower beside the image stand below it
_METADATA: dict[str, dict[str, Any]] = {'.pdf': {'CreationDate': None}, '.svg': {'Date': None}, '.png': {}}
_PIXELATED = b' style="image-rendering:crisp-edges;image-rendering:pixelated"'


class MapFigure(Figure):
    """A figure of matplotlib's that keeps its own style, whatever the user's is, and shows itself in notebooks."""

    def __init__(self, size: tuple[float, float], dpi: float, style: dict[str, Any]) -> None:
        super().__init__(size, dpi=dpi)
        self._style = style

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's; PDF and SVG hold the panels as they are."""
        kind = options.get('format') or Path(str(fname)).suffix[1:]
        mode = 'none' if str(kind).lower() in ('pdf', 'svg', 'svgz', 'eps', 'ps') else 'antialiased'
        for image in (image for axes in self.axes if axes.get_label() != 'bar' for image in axes.images):
            image.set_interpolation(mode)
        with applied(self._style):
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format='png', dpi=self.dpi)
        return buffer.getvalue()


def draw_figure(
    image: np.ndarray,
    maps: Sequence[FeatureMap],
    detections: Detections | None = None,
    *,
    name: str = 'image',
    title: str = '',
    look: Look | None = None,
    run: Range | None = None,
    match: Match | None = None,
    crop: Any = None,
    dpi: float = 200,
    width: float = 7.0,
    columns: int = 6,
    arrangement: tuple[int, int] | None = None,
    labels: bool = True,
    font_size: float | None = None,
    style: AnyStyle = None,
) -> MapFigure:
    """The image, and right of it a row of panels for each layer; layers of one panel each share their rows.

    Where the panels would be too narrow to read, in a single column, the image stands above them. A range stands on a
    colour bar below its panel, or right of all panels that share it; ≤ and ≥ mark ends that values lie beyond. A
    concept's frame has its colour in the panel of all concepts. Boxes have class and score on the image; where these
    have no room, a number that a legend explains. The best classes of a classifier have a panel. No text is smaller
    than 5 points.

    Args:
        image: (H, W, 3) RGB uint8, the original.
        maps: Maps of this image, in drawing order.
        detections: Boxes, masks and segments: coloured on the image, outlined on all panels; None for none.
        name: Stands above the image.
        title: Stands above everything.
        look: How panels are coloured, and the rule of their ranges.
        run: The range of the whole run, for the norm ``run``; by default that of these maps.
        match: Ground truth and what of it was found, in a panel before those of the maps; None for none.
        crop: The part to show: ``(x1, y1, x2, y2)`` in pixels, ``box:N`` or ``box:N:MARGIN``; None for all.
        dpi: Pixels an inch: panels are resampled to their printed size, pixels being averaged, and never enlarged.
        width: Of the figure, in inches. Its height follows from the shape of the image and the number of rows.
        columns: The most panels side by side, the image not counted; fewer where they would be too small to read.
        arrangement: Rows and columns for the planes of a map; what it has no places for makes further rows. None leaves
            it to ``columns``.
        labels: Whether the image and panels have titles.
        font_size: Of the panels' titles in points, 5 to 24, by which the other texts go; by default the style's,
            else 7.
        style: A matplotlib style for fonts and colours: its name, a file, a dict of ``rcParams``, or a list of these.

    Returns:
        The figure, of which pyplot knows nothing; its axes are labelled ``image``, ``panel`` and ``bar``, and the unit
        of the first two is a pixel of the original.

    Raises:
        DrawError: for an image or maps that are none, and where a map holds no finite value on the image, or belongs
            to an image of another size.
        OptionError: for sizes out of range, and an unknown style.
    """
    _check(image, maps, detections, dpi, width, columns, font_size)
    part, window = window_of(crop, image, detections)
    canvas = Canvas(image, look or Look(), window)
    settings = settings_of(style)
    told = [sizes_of(maps[0].geometry) if maps else f'{image.shape[1]}×{image.shape[0]}', *part]
    told += [] if detections is None else detections.count_in(canvas.whole).split(SEPARATOR)
    caption = Caption(side_by_side(str(title)), side_by_side(str(name)), tuple(told))
    aspect = canvas.whole.shape[1] / canvas.whole.shape[0]
    first = {} if match is None else {'ground truth': truth_tile(canvas, match)}
    if detections is not None and detections.classification is not None:
        first['best classes'] = chart_tile(detections)
    if canvas.look.panels:
        lines = [*map(line_of, first.values()), *panel_rows(canvas, maps, run)]
        above = not _fits(lines, width, _LOWEST * aspect, aspect)
        tiles = [tile for line in lines for tile in line.tiles]
    else:
        rows = {**{name: [[tile]] for name, tile in first.items()}, **rows_of(canvas, maps, run)}
        lines, above = _lines(rows, aspect, width, columns, arrangement[1] if arrangement else None)
        tiles = [tile for row in rows.values() for each in row for tile in each]
    said = [text for tile in tiles for text in (tile.name, *tile.parts)]
    said += [text for line in lines for text in line.head]
    with chosen_font(canvas.look.font), applied(settings):
        type = Type(font_size or settings.get('font.size'), [*_texts(caption, detections), *said])
        sheet = Sheet(canvas, caption, lines, width, type, detections, above, labels)
        figure = MapFigure((width, math.ceil(sheet.height * dpi) / dpi), dpi, settings)
        sheet.draw(figure, dpi)
    return figure


def save_figure(
    path: str | os.PathLike[str],
    image: np.ndarray,
    maps: Sequence[FeatureMap],
    detections: Detections | None = None,
    **options: Any,
) -> MapFigure:
    """Draw as :func:`draw_figure` and write the figure; same arguments, same bytes.

    Args:
        path: Ends in ``.pdf``, ``.svg`` or ``.png``; folders are created.
        image: As for :func:`draw_figure`.
        maps: Likewise.
        detections: Likewise.
        **options: Likewise.

    Raises:
        OutputError: for another suffix, and where writing fails.
    """
    check_suffix(path)
    figure = draw_figure(image, maps, detections, **options)
    write_figure(path, figure)
    return figure


def write_figure(path: str | os.PathLike[str], figure: MapFigure) -> None:
    """Write a figure in the format of the path's suffix, whole or not at all.

    Raises:
        OutputError: for a suffix that is no figure's, and where writing fails.
    """
    path, suffix = Path(os.path.expanduser(path)), check_suffix(path)
    width, height = figure.get_size_inches()
    if suffix == '.png':  # whole pixels; Agg rounds down
        figure.set_size_inches(*((round(side * figure.dpi) + 1e-6) / figure.dpi for side in (width, height)))
    buffer = BytesIO()
    figure.savefig(buffer, format=suffix[1:], dpi=figure.dpi, metadata=_METADATA[suffix])
    figure.set_size_inches(width, height)
    data = buffer.getvalue()
    pixels = figure.axes[0].images[0].get_size()[1]
    if figure.axes[0].get_position().width * width * 96 < pixels:
        data = data.replace(_PIXELATED, b'')  # SVG viewers would leave pixels out rather than average them
    write_atomically(path, data)


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a figure's path, in small letters. Raises OutputError where it is no figure's."""
    suffix = Path(path).suffix
    if suffix.lower() not in SUFFIXES:
        raise OutputError(f'{os.fspath(path)!r} has the suffix {suffix!r}: expected one of {" ".join(SUFFIXES)}')
    return suffix.lower()


def window_of(crop: Any, image: np.ndarray, detections: Detections | None) -> tuple[list[str], Window | None]:
    """What is said of a crop, and where it is."""
    if crop is None:
        return [], None
    try:
        crop = crop if isinstance(crop, Crop) else parse_crop(crop)
    except ValueError as error:
        raise OptionError(f'{written("crop", crop)}: {error}') from error
    window = crop.window(
        image.shape[:2], detections.boxes.tolist() if detections is not None and detections.kind else None
    )
    left, top, right, bottom = window
    return [f'{crop.name} {left},{top} – {right},{bottom}'], window


def _lines(
    rows: dict[str, list[list[Tile]]], aspect: float, width: float, columns: int, asked: int | None
) -> tuple[list[Line], bool]:
    """The tiles in lines, and whether the image stands above them rather than beside the first.

    ``aspect`` is the image's width by its height; what is very wide has few columns, lest it be a strip.
    """
    least = _LOWEST * aspect
    lines = break_rows(rows, max(min(columns, int(width / max(_BESIDE, least)) - 1), 1), asked)
    if _fits(lines, width, least, aspect):
        return lines, False
    return break_rows(rows, max(min(columns, int(width / max(_BELOW, least))), 1), asked), True


def _fits(lines: list[Line], width: float, least: float, aspect: float) -> bool:
    """Whether the panels of all lines, none narrower than ``least`` inches, are readable beside the image."""
    slots = 1 + max((len(line.tiles) for line in lines), default=0)
    slot = (width * 72 - 2 * MARGIN + GAP) / slots - GAP
    return not lines or slot >= (max(_READABLE, 72 * least) if aspect > 0.5 else _READABLE / 2)


def _texts(caption: Caption, detections: Detections | None) -> list[str]:
    found = [] if detections is None else [*Marks.texts(detections), *(text for text, _ in entries_of(detections))]
    found += [] if detections is None else chart_texts(detections)
    return [caption.title, caption.name, *caption.parts, *found]


def _check(
    image: np.ndarray,
    maps: Sequence[FeatureMap],
    detections: Detections | None,
    dpi: float,
    width: float,
    columns: int,
    font_size: float | None,
) -> None:
    check_drawable(image, maps, detections)
    if not all(isinstance(each, Real) for each in (dpi, width, columns, font_size or 7)) or not (
        10 <= dpi <= 2400 and 1 <= width <= 50 and columns >= 1
    ):
        raise OptionError(
            f'a figure of dpi={dpi!r}, width={width!r} and columns={columns!r}: expected 10 to 2400 dots an inch, a '
            'width of 1 to 50 inches, and at least one column'
        )
    if font_size is not None and not SMALLEST <= font_size <= 24:
        raise OptionError(f'font_size={font_size}: expected 5 to 24 points')
    for item in maps:
        item.check_image(image)
