"""The panels of one image's explanations, each of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from featmap.explained.rows import UNIT, Asked, Shown, focus, label_for, marked_of, window_around
from featmap.explanation import Explanation
from featmap.geometry import View
from featmap.rendering.chart import chart_cell
from featmap.rendering.legend import add_legend, entries_of
from featmap.rendering.marked import draw_marked
from featmap.rendering.masks import draw_results
from featmap.rendering.panels import Look, panels_of, sizes_of
from featmap.rendering.text import SEPARATOR
from featmap.rendering.tile import Cell
from featmap.structures import Detections, Rendering


class Panels:
    """The panels of an image's explanations, each of one size."""

    def __init__(
        self,
        look: Look,
        image: np.ndarray,
        detections: Detections | None,
        view: View,
        colorbar: bool = False,
        asked: Asked = None,
    ) -> None:
        self.look, self._image, self._detections, self.view, self._colorbar = look, image, detections, view, colorbar
        self._asked = asked
        self._picture = view.picture(image, self.look.interpolation == 'linear')
        self._seen = None if detections is None else detections.seen(view)

    def original(self, explanations: Sequence[Explanation], title: str) -> Cell:
        """The image, what is explained bold in it, under its name."""
        size = sizes_of(explanations[0].maps[0].geometry)
        found = [] if self._detections is None else [self._detections.count_in(self.view)]
        return Cell(self.whole(explanations), SEPARATOR.join([title, size, *found]))

    def whole(self, explanations: Sequence[Explanation]) -> np.ndarray:
        """The image with what is explained, bold: (h, w, 3) RGB uint8."""
        picture = self._picture
        if self._seen is not None and self._seen.segments is not None:
            picture = draw_results(picture, self._seen)
        return draw_marked(
            picture, marked_of(explanations, self._detections, asked=self._asked), self._detections, self.view
        )

    def about(self) -> dict[str, Any]:
        """What is told of the image beside it, for JSON."""
        return {} if self._detections is None else {'label': self._detections.count_in(self.view)}

    def beside(self) -> list[Cell]:
        """The best classes of the image, where there are such."""
        seen = self._seen
        return [] if seen is None or seen.classification is None else [chart_cell(self.view.shape, seen)]

    def with_legend(self, rendering: Rendering, labels: bool) -> Rendering:
        """The picture, and below it which colours stand for which classes of segments."""
        return rendering if self._seen is None or not labels else add_legend(rendering, entries_of(self._seen))

    def window(self, shown: Shown) -> View:
        """What a panel shows of the image."""
        box = focus(shown.explanation)
        if shown.kind == 'map' or box is None:
            return self.view
        height, width = self.view.shape
        window = window_around(box, self.view.image_shape, width / height)
        return replace(self.view, window=window)

    def draw(self, shown: Shown) -> np.ndarray:
        """A panel: (h, w, 3) RGB uint8."""
        view, marked = self.window(shown), marked_of([shown.explanation], self._detections, False, self._asked)
        picture = self._picture if view is self.view else view.picture(self._image, self.look.interpolation == 'linear')
        if shown.item is not None:
            picture = next(iter(panels_of(self.look.backdrop(picture), shown.item, [UNIT], self.look, view))).image
        return draw_marked(picture, marked, self._detections, view)

    def cell(self, shown: Shown, head: str = '') -> Cell:
        """A panel with what is said of it."""
        view = self.window(shown)
        label = label_for(shown, None if shown.kind == 'map' else view.window)
        bar = self.look.bar(self.look.backdrop(self._picture)) if self._colorbar and shown.item else None
        return Cell(self.draw(shown), label, bar, UNIT if shown.item else None, head=head)
