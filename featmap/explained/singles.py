"""Single panels of explanations, each under a name of its own, drawn when its turn comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from featmap.explained.panels import Panels
from featmap.explained.rows import UNIT, Shown, label_for, lines_of
from featmap.explanation import Explanation
from featmap.rendering.fonts import chosen_font
from featmap.singles import Single, Singles, file_part, unique


class ExplanationSingles(Singles):
    """The names of all panels of an image's explanations, in drawing order; :meth:`draw` draws them.

    Args:
        panels: What draws them.
        explanations: Of the image.
        zoom: Whether each map is also zoomed onto its box.
    """

    def __init__(self, panels: Panels, explanations: Sequence[Explanation], zoom: bool) -> None:
        self._panels, self._explanations = panels, explanations
        self._shown = [shown for line in lines_of(explanations, zoom) for shown in line.panels]
        self._names = unique(['original', *map(_name, self._shown)])

    def __repr__(self) -> str:
        """One line: how many."""
        return f'<ExplanationSingles: {len(self)} panels>'

    def draw(self) -> Iterator[Single]:
        """The panels one by one, in the order of their names."""
        with chosen_font(self._panels.look.font):
            yield Single('original', self._panels.whole(self._explanations), self._panels.about())
        for name, shown in zip(self._names[1:], self._shown):
            with chosen_font(self._panels.look.font):
                picture = self._panels.draw(shown)
            yield Single(name, picture, self._about(shown))

    def _about(self, shown: Shown) -> dict[str, Any]:
        view = self._panels.window(shown)
        label = label_for(shown, None if shown.kind == 'map' else view.window)
        told: dict[str, Any] = {'label': str(label), 'target': shown.explanation.headline, 'panel': shown.kind}
        if shown.kind != 'map':
            told['window'] = list(view.window)
        if shown.item is not None:
            told.update(method=shown.explanation.method, layer=shown.item.name, low=UNIT.low, high=UNIT.high)
        return told


def _name(shown: Shown) -> str:
    target = file_part(shown.explanation.label.partition(' · ')[0].replace(' ', ''))
    if shown.item is None:
        return f'{target}.{shown.kind}'
    several = len(shown.explanation.maps) == 1 or shown.explanation.fuse == 'none'
    layer = file_part(shown.item.name) if several else shown.explanation.fuse
    return '.'.join([target, file_part(shown.explanation.method), layer, shown.kind])
