"""The panels of one image, and the pages that they make; pages are drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from featmap.geometry import View
from featmap.matching import Match
from featmap.rendering.chart import chart_cell
from featmap.rendering.legend import add_legend, entries_of
from featmap.rendering.masks import draw_results
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look, PanelImage, frame_of, panels_of
from featmap.rendering.query import draw_query
from featmap.rendering.rows import Row, tile_rows
from featmap.rendering.text import SEPARATOR
from featmap.rendering.tile import Cell, tile
from featmap.rendering.truth import draw_match
from featmap.structures import Detections, FeatureMap, Rendering


@dataclass(frozen=True)
class Layout:
    """How panels are put together.

    Attributes:
        arrangement: Rows and columns for the planes of a map; None for near-square.
        labels: Whether labels stand above the panels.
        colorbar: Whether bars stand below them.
    """

    arrangement: tuple[int, int] | None = None
    labels: bool = True
    colorbar: bool = False


class Drawing:
    """The panels of one image's maps.

    Args:
        image: (H, W, 3) RGB uint8, the original.
        view: What of it is drawn, and how large.
        look: How panels are coloured.
        detections: Masks, and boxes with class and score, on the original, outlines over it on panels; None for none.
        match: Ground truth and what of it was found; None for none.
    """

    def __init__(
        self,
        image: np.ndarray,
        view: View,
        look: Look,
        detections: Detections | None = None,
        match: Match | None = None,
    ) -> None:
        self.view, self.look, self._match = view, look, match
        self._picture = view.picture(image, look.interpolation == 'linear')
        self._backdrop = look.backdrop(self._picture)
        self._found = None if detections is None else detections.count_in(view)
        self._seen = None if detections is None else detections.seen(view)
        self._bars: dict[str, np.ndarray] = {}

    def original(self, queries: Iterable[tuple[float, float]] = ()) -> np.ndarray:
        """The image with what was found, and a mark at each position that was asked about: (h, w, 3) RGB uint8."""
        picture = self._picture if self._seen is None else draw_results(self._picture, self._seen)
        for position in queries:
            picture = draw_query(picture, position, self.view)
        return picture

    @property
    def has_truth(self) -> bool:
        """Whether there is ground truth to draw."""
        return self._match is not None

    def about(self) -> dict[str, Any]:
        """What is told of the original beside it: what was found, and what colours stand for."""
        said: dict[str, Any] = {} if self._found is None else {'label': self._found}
        if self._seen is not None and (legend := entries_of(self._seen)):
            said['legend'] = {text: list(color) for text, color in legend}
        if self._seen is not None and (best := self._seen.classification) is not None:
            scores = zip(best.labels.tolist(), best.scores.tolist())
            said['classification'] = {self._seen.class_name(label): score for label, score in scores}
        return said

    def truth(self) -> np.ndarray | None:
        """The image with its ground truth; None where there is none."""
        return None if self._match is None else draw_match(self._picture, self._match, self.view)

    def panels(self, item: FeatureMap, ranges: Sequence[Range]) -> Iterator[PanelImage]:
        """The panels of a map, outlines over those that show the image."""
        for panel in panels_of(self._backdrop, item, ranges, self.look, self.view):
            if self._seen is not None and panel.column in ('', 'overlay'):
                panel = replace(panel, image=draw_results(panel.image, self._seen, full=False))
            if item.query:
                panel = replace(panel, image=draw_query(panel.image, item.query, self.view))
            yield panel

    def page(
        self, maps: Sequence[FeatureMap], scales: Sequence[Sequence[Range]], head: Sequence[str], layout: Layout
    ) -> Rendering:
        """The original under a head, and the panels of the maps, on one picture."""
        said = [*head] if self._found is None else [*head, self._found]
        original = Cell(self.original(queries_of(maps)), SEPARATOR.join(said))
        truth, beside = self.truth(), []
        if self._match is not None and truth is not None:
            parts = ['ground truth', self._match.count, *([] if self.view.is_whole else ['in the whole image'])]
            beside = [Cell(truth, SEPARATOR.join(parts))]
        if self._seen is not None and self._seen.classification is not None:
            beside.append(chart_cell(self.view.shape, self._seen))
        groups = [[*self._cells(item, ranges, layout)] for item, ranges in zip(maps, scales)]
        if self.look.panels:
            rows = [row for group in groups for row in self._rows(group)]
            rendering = tile_rows(original, rows, len(self.look.panels), layout.labels, beside)
        else:
            rendering = tile(
                original, [[cell for _, cell in group] for group in groups], layout.arrangement, layout.labels, beside
            )
        return add_legend(rendering, entries_of(self._seen)) if self._seen is not None and layout.labels else rendering

    def _cells(self, item: FeatureMap, ranges: Sequence[Range], layout: Layout) -> Iterator[tuple[PanelImage, Cell]]:
        for panel in self.panels(item, ranges):
            bar = self._bar(panel.column) if layout.colorbar and panel.scale else None
            yield panel, Cell(panel.image, panel.label, bar, panel.scale, frame_of(item, panel.plane))

    def _bar(self, column: str) -> np.ndarray:
        """The colours of a column's bar."""
        if column not in self._bars:
            drawn = self.look.column(column)
            self._bars[column] = drawn.bar(self._backdrop if drawn is self.look else drawn.backdrop(self._picture))
        return self._bars[column]

    def _rows(self, group: Sequence[tuple[PanelImage, Cell]]) -> Iterator[Row]:
        """A row for each plane, whose label is said once."""
        for plane in dict.fromkeys(panel.plane for panel, _ in group):
            mine = [each for each in group if each[0].plane == plane]
            head = next((panel.label for panel, _ in mine if panel.column != 'pca'), mine[0][0].label)
            row = {}
            for panel, cell in mine:
                own = panel.label.shows[0] if panel.column == 'pca' and panel.label is not head else panel.column
                row[self.look.panels.index(panel.column)] = replace(cell, label=own, head=head)
            yield row


class Pages(Sequence[Rendering]):
    """Pages of a picture, each drawn when it is asked for, so that hundreds of them need the memory of one.

    Args:
        draws: What draws each.
    """

    def __init__(self, draws: Sequence[Callable[[], Rendering]]) -> None:
        self._draws = tuple(draws)
        self._last: tuple[int, Rendering] | None = None

    def __len__(self) -> int:
        """How many pages there are."""
        return len(self._draws)

    @overload
    def __getitem__(self, number: int) -> Rendering: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[Rendering, ...]: ...
    def __getitem__(self, number: int | slice) -> Rendering | tuple[Rendering, ...]:
        """A page, or several."""
        if isinstance(number, slice):
            return tuple(self[each] for each in range(len(self))[number])
        index = range(len(self))[number]
        last = self._last  # the one that is looked at again and again
        if last is None or last[0] != index:
            last = self._last = index, self._draws[index]()
        return last[1]

    def __repr__(self) -> str:
        """One line: how many."""
        return f'<Pages: {len(self)}>'


def queries_of(maps: Sequence[FeatureMap]) -> list[tuple[float, float]]:
    """The positions in the original that maps were asked about, each once."""
    return list(dict.fromkeys(item.query for item in maps if item.query))


def classified(detections: Detections | None) -> Detections | None:
    """The best classes alone, which need no panel as large as boxes do; None where there are none."""
    if detections is None or detections.classification is None:
        return None
    return Detections(classes=detections.classes, kind='', classification=detections.classification)


def planes_of(item: FeatureMap, chosen: slice) -> FeatureMap:
    """Some planes of a map."""
    parts = {name: getattr(item, name)[chosen] for name in ('values', 'channels', 'names', 'ranges', 'noise', 'why')}
    return replace(item, **parts)
