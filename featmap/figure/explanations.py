"""Explanations as a figure for print: a line a target, and the curves that say whether they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from featmap.explained.rows import UNIT, Asked, Shown, focus, label_for, lines_of, marked_of, targets_of, window_around
from featmap.explanation import Explanation
from featmap.figure import MapFigure, window_of
from featmap.figure.chart import Blank, chart_tile
from featmap.figure.chart import texts as chart_texts
from featmap.figure.curves import draw_curves
from featmap.figure.marks import draw_query
from featmap.figure.sheet import Caption, Sheet
from featmap.figure.style import AnyStyle, Type, applied, settings_of, side_by_side
from featmap.figure.tiles import Canvas, Line, Panels, Plain, Tile, line_of
from featmap.rendering.boxes import bright, color_of, has_dark_ink
from featmap.rendering.fonts import chosen_font
from featmap.rendering.marked import Marked, color_for, others
from featmap.rendering.masks import contours
from featmap.rendering.panels import Look, sizes_of
from featmap.rendering.text import SEPARATOR
from featmap.structures import Detections, check_drawable

_BOLD, _THIN = 1.0, 0.4  # points


def draw_explanations(
    image: np.ndarray,
    explanations: Sequence[Explanation],
    detections: Detections | None = None,
    *,
    zoom: bool = False,
    asked: Asked = None,
    name: str = 'image',
    title: str = '',
    look: Look | None = None,
    crop: Any = None,
    dpi: float = 200,
    width: float = 7.0,
    labels: bool = True,
    font_size: float | None = None,
    style: AnyStyle = None,
) -> MapFigure:
    """The image, and right of it a line for each target: crop, maps, zooms, and the curves of what was measured.

    Args:
        image: (H, W, 3) RGB uint8, the original.
        explanations: Of this image.
        detections: What was found: outlined; None for none.
        zoom: Whether each map is also zoomed onto its box.
        asked: A box that was asked about, and that nobody found.
        name: Stands above the image.
        title: Stands above everything.
        look: How panels are coloured.
        crop: As for :func:`featmap.figure.draw_figure`, and so are the following.
        dpi: See there.
        width: See there.
        labels: See there.
        font_size: See there.
        style: See there.

    Raises:
        DrawError: for an image that is none, or maps that belong to another one.
        OptionError: for sizes out of range, and an unknown style.
    """
    check_drawable(image, [item for each in explanations for item in each.maps], detections)
    part, window = window_of(crop, image, detections)
    canvas = Canvas(image, look or Look(), window)
    settings = settings_of(style)
    told = [sizes_of(explanations[0].maps[0].geometry), *part]
    told += [] if detections is None else detections.count_in(canvas.whole).split(SEPARATOR)
    told += list(
        dict.fromkeys(f'faithfulness: {each.faithfulness.protocol.name}' for each in explanations if each.faithfulness)
    )
    caption = Caption(side_by_side(str(title)), side_by_side(str(name)), tuple(told))
    lines = [_line(canvas, line.head, line.panels, detections, asked) for line in lines_of(explanations, zoom)]
    if detections is not None and detections.classification is not None:
        lines.insert(0, line_of(chart_tile(detections)))
    above = max(len(line.tiles) for line in lines) > (3 if len(lines) == 1 else 4)
    said = [text for line in lines for tile in line.tiles for text in (*line.head, tile.name, *tile.parts)]
    said += [caption.title, caption.name, *caption.parts]
    said += [] if detections is None else chart_texts(detections)
    numbers = marked_of(explanations, detections, asked=asked)
    with chosen_font(canvas.look.font), applied(settings):
        type = Type(font_size or settings.get('font.size'), said)
        over = partial(_mark, numbers, detections, size=type.tag if len(targets_of(explanations)) > 1 else 0)
        coloured = None if detections is None or detections.segments is None else detections
        sheet = Sheet(canvas, caption, lines, width, type, coloured, above, labels, over)
        figure = MapFigure((width, math.ceil(sheet.height * dpi) / dpi), dpi, settings)
        sheet.draw(figure, dpi)
    return figure


def _line(canvas: Canvas, head: str, panels: Sequence[Shown], detections: Detections | None, asked: Asked) -> Line:
    tiles = list(_tiles(canvas, panels, detections, asked))
    return Line(head, tuple(tiles), tuple(head.split(SEPARATOR, 1)))


def _tiles(canvas: Canvas, panels: Sequence[Shown], detections: Detections | None, asked: Asked) -> Iterator[Tile]:
    measured: list[Explanation] = []
    for shown in panels:
        explanation = shown.explanation
        over = partial(_mark, marked_of([explanation], detections, asked=asked), detections)
        box = focus(explanation)
        mine, window = canvas, None
        if shown.kind != 'map' and box is not None:
            rows, columns = canvas.whole.shape
            window = window_around(box, canvas.whole.image_shape, columns / rows)
            mine = canvas.of(window)
        label = label_for(shown, window)
        if shown.item is None:
            yield Tile(Plain(mine), 0, label.name, label.facts, window=window, over=over)
        else:
            # The figures stand at the curves.
            parts = (*label.shows, *label.facts)
            yield Tile(Panels(mine, shown.item, [UNIT]), 0, label.name, parts, UNIT, window=window, over=over)
            if explanation.faithfulness is not None and all(explanation is not each for each in measured):
                measured.append(explanation)
    for explanation in measured:
        figures = explanation.faithfulness.figures.text().split(SEPARATOR)
        name = '' if len(measured) == 1 else explanation.method
        plot = partial(draw_curves, explanation.faithfulness)
        yield Tile(Blank(), 0, name, tuple(figures), plot=plot)


def _mark(marked: Marked, detections: Detections | None, axes: Axes, size: float = 0) -> None:
    """Draw what is explained, bold, on axes in pixels of the original, other boxes thin, and numbers of a size."""
    rest = Detections() if detections is None else others(detections, marked.among)
    for box, label in zip(rest.boxes, rest.labels):
        _box(axes, box, np.array(bright(color_of(rest, int(label)))) / 255, _THIN)
    if marked.pixel is not None:
        draw_query(axes, marked.pixel, 5)
    elif marked.region is not None:
        _outline(axes, marked.region)
    if marked.asked is not None:
        _box(axes, np.array(marked.asked), 'black', 0.6, 3)
        _box(axes, np.array(marked.asked), 'white', 0.6, 3, (0, (3, 3)))
    for box, label, tag in zip(marked.boxes, marked.labels, marked.tags):
        color = color_for(detections, int(label))
        for ink, line in (('black', 2.0), ('white', 1.6), (np.array(color) / 255, 1.0)):
            _box(axes, box, ink, line * _BOLD, depth=3)
        if size and tag:
            ink = 'black' if has_dark_ink(color) else 'white'
            plate = {'facecolor': np.array(color) / 255, 'edgecolor': 'none', 'pad': 0.6}
            axes.text(
                float(box[0]), float(box[1]), tag.partition(' ')[0], color=ink, size=size, bbox=plate, va='bottom',
                clip_on=True, zorder=4,
            )  # fmt: skip


def _box(axes: Axes, box: np.ndarray, color: Any, line: float, depth: float = 2, dash: Any = '-') -> None:
    left, top, right, bottom = (float(edge) for edge in box)
    patch = Rectangle((left, top), right - left, bottom - top, fill=False)
    patch.set(edgecolor=color, linewidth=line, zorder=depth, linestyle=dash)
    axes.add_patch(patch)


def _outline(axes: Axes, region: np.ndarray) -> None:
    lines = [line[:, 0] + 0.5 for line in contours(region)]
    if lines:
        path = Path.make_compound_path(*(Path([*line, line[0]], closed=True) for line in lines))
        for ink, line in (('black', 1.2), ('white', 0.7)):
            axes.add_patch(PathPatch(path, edgecolor=ink, facecolor='none', linewidth=line, zorder=3))
