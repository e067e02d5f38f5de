"""``ExplanationDrawer``: the pictures of why a model said what it said of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from featmap.drawer import MapDrawer
from featmap.explained.panels import Panels
from featmap.explained.rows import Asked, Line, Shown, drawn, focus, lines_of, targets_of
from featmap.explained.singles import ExplanationSingles
from featmap.explanation import Explanation
from featmap.geometry import View
from featmap.rendering.budget import fitting
from featmap.rendering.fonts import chosen_font
from featmap.rendering.rows import tile_lines
from featmap.rendering.tile import Place, compose, tile
from featmap.sheets import Pages
from featmap.singles import Singles
from featmap.structures import Detections, Rendering

_ROWS_A_PAGE = 8
_MANY_ROWS, _SMALL = 3, 480  # of more rows panels have at most so many pixels


class ExplanationDrawer:
    """Draws the explanations of one image: all boxes thin, what is explained bold, heat on a scale from 0 to 1.

    Args:
        drawer: How pictures look: its crop, its sizes, its colours.
        zoom: Whether each map is also zoomed onto its box.
        asked: A box that was asked about, and that nobody found.
    """

    def __init__(self, drawer: MapDrawer, zoom: bool = False, asked: Asked = None) -> None:
        self.drawer, self.zoom, self.asked = drawer, zoom, asked
        self.look = replace(drawer.look, panels=())

    def draw_sheets(
        self,
        image: np.ndarray,
        explanations: Sequence[Explanation],
        detections: Detections | None = None,
        title: str = 'image',
    ) -> Sequence[Rendering]:
        """One picture of one target; of several a row each, eight to a page.

        Args:
            image: (H, W, 3) RGB uint8, the original.
            explanations: Of this image.
            detections: What was found, in pixels of the original; None for none.
            title: What the image is called.
        """
        if len(targets_of(explanations)) == 1:
            return (self._single(image, explanations, detections, title),)
        lines = lines_of(explanations, self.zoom)
        count = -(-len(lines) // _ROWS_A_PAGE)
        each = -(-len(lines) // count)
        pages = [lines[first : first + each] for first in range(0, len(lines), each)]
        draws = [partial(self._page, image, page, detections, title) for page in pages]
        return (draws[0](),) if len(draws) == 1 else Pages(draws)

    def draw_panels(
        self, image: np.ndarray, explanations: Sequence[Explanation], detections: Detections | None = None
    ) -> Singles:
        """The panels of :meth:`draw_sheets` one by one, bare, of up to ``panel_size`` pixels."""
        view = self.drawer.view(image, detections, longest=self.drawer.panel_size)
        return ExplanationSingles(self._panels(image, detections, view), explanations, self.zoom)

    def _panels(self, image: np.ndarray, detections: Detections | None, view: View) -> Panels:
        return Panels(self.look, image, detections, view, self.drawer.colorbar, self.asked)

    def _single(
        self, image: np.ndarray, explanations: Sequence[Explanation], detections: Detections | None, title: str
    ) -> Rendering:
        """One target: the image, and each map; below them, zoomed, the crop and each map again."""
        maps = [Shown('map', each, item) for each in explanations for item in drawn(each)]
        zooms = (
            [replace(each, kind='zoom') for each in maps] if self.zoom and focus(explanations[0]) is not None else []
        )
        if len(maps) > 4 and zooms:
            return self._page(image, lines_of(explanations, True), detections, title)
        panels = self._panels(image, detections, self._view(image, detections, len(maps) + len(zooms)))
        with chosen_font(self.look.font):
            original = panels.original(explanations, title)
            cells = [panels.cell(each, head=explanations[0].headline) for each in maps]
            if not zooms:
                rendering = tile(original, [[cell] for cell in cells], None, self.drawer.labels, panels.beside())
            else:
                below = [panels.cell(Shown('crop', explanations[0])), *map(panels.cell, zooms)]
                above = [original, *cells]
                places = [Place(row, column) for row in range(2) for column in range(len(above))]
                rendering = compose([*above, *below], places, self.drawer.labels, even=False)
            return panels.with_legend(rendering, self.drawer.labels)

    def _page(self, image: np.ndarray, lines: Sequence[Line], detections: Detections | None, title: str) -> Rendering:
        columns = max(len(line.panels) for line in lines)
        heats = sum(shown.item is not None for line in lines for shown in line.panels)
        view = self._view(image, detections, heats, len(lines) + 1, len(lines))
        panels = self._panels(image, detections, view)
        with chosen_font(self.look.font):
            original = panels.original([shown.explanation for line in lines for shown in line.panels], title)
            rows = [
                {column: panels.cell(shown, head=line.head) for column, shown in enumerate(line.panels)}
                for line in lines
            ]
            rendering = tile_lines(original, rows, columns, self.drawer.labels, panels.beside())
            return panels.with_legend(rendering, self.drawer.labels)

    def _view(
        self, image: np.ndarray, detections: Detections | None, heats: int, plain: int = 1, rows: int = 1
    ) -> View:
        """What of the image whole panels show, and how large they are."""
        drawer = self.drawer
        longest = _SMALL if rows > _MANY_ROWS and drawer.settings['panel_size'] is None else None
        view = drawer.view(image, detections, longest=longest)
        if longest is not None or drawer.settings['panel_size'] is not None:
            return view
        fits = fitting(view.picture(image), heats, self.look, view.image_shape, plain)
        return view if fits >= max(view.shape) else drawer.view(image, detections, longest=fits)
