"""Single panels of an image's maps, each under a name of its own, drawn when its turn comes."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featmap.rendering.fonts import chosen_font
from featmap.rendering.normalize import Range
from featmap.rendering.panels import PanelImage, order_of
from featmap.sheets import Drawing, queries_of
from featmap.structures import FeatureMap

_LONGEST = 120  # characters of a layer's name in that of a file


@dataclass(frozen=True)
class Single:
    """A panel without label, bar or frame.

    Attributes:
        name: Tells it from the others of its image, fit for the name of a file: ``backbone.stage4.overlay``.
        image: (H, W, 3) RGB uint8.
        about: What its label would say, for JSON: ``label``, and for maps ``layer``, ``panel``, ``channel``, ``low``
            and ``high``.
    """

    name: str
    image: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)


class Singles(Sequence[str]):
    """The names of all panels of an image, in drawing order; :meth:`draw` draws them.

    Args:
        maps: The maps.
        scales: The range of each plane of each.
        drawing: What draws a map's panels, and the original.
    """

    def __init__(
        self,
        maps: Sequence[FeatureMap],
        scales: Sequence[Sequence[Range]],
        drawing: Callable[[FeatureMap | None], Drawing],
    ) -> None:
        self._maps, self._scales, self._drawing = maps, scales, drawing
        plain = drawing(None)
        names = ['original', *(['truth'] if plain.has_truth else [])]
        for item in maps:
            names += [_name(item, plane, column) for plane, column in order_of(item, plain.look)]
        self._names = unique(names)

    def __len__(self) -> int:
        """How many panels there are."""
        return len(self._names)

    def __getitem__(self, number: Any) -> Any:
        """A name, or several."""
        return self._names[number]

    def __repr__(self) -> str:
        """One line: how many."""
        return f'<Singles: {len(self)} panels>'

    def draw(self) -> Iterator[Single]:
        """The panels one by one, in the order of their names."""
        names, drawing = iter(self._names), self._drawing(None)
        with chosen_font(drawing.look.font):
            original, truth = drawing.original(queries_of(self._maps)), drawing.truth()
        yield Single(next(names), original, drawing.about())
        if truth is not None:
            yield Single(next(names), truth, {'label': 'ground truth'})
        for item, ranges in zip(self._maps, self._scales):
            for panel in self._drawing(item).panels(item, ranges):
                yield Single(next(names), panel.image, _about(item, panel))


def _name(item: FeatureMap, plane: int, column: str) -> str:
    return '.'.join(filter(None, [file_part(item.name), _plane(item, plane, column), column or 'overlay']))


def _plane(item: FeatureMap, plane: int, column: str) -> str:
    """What tells a plane from the others of its map; nothing where it is alone."""
    if column == 'pca' or item.kind in ('image', 'segments'):
        return ''
    if plane == len(item):
        return 'all'
    channel = item.channels[plane] if item.channels else None
    if len(item) == 1 and item.kind != 'concepts':
        return ''
    if channel is not None:
        return f'channel{channel:0{len(str(item.shape[0] - 1))}}'
    return f'plane{plane + 1:0{len(str(len(item)))}}'


def _about(item: FeatureMap, panel: PanelImage) -> dict[str, Any]:
    channel = item.channels[panel.plane] if item.channels and panel.plane < len(item) else None
    told: dict[str, Any] = {'label': str(panel.label), 'layer': item.name, 'panel': panel.column or 'overlay'}
    if item.kind in ('heat', 'concepts') and panel.column != 'pca':
        told['channel'] = channel
    if panel.scale is not None:
        told.update(low=panel.scale.low, high=panel.scale.high)
    return told


def file_part(text: str) -> str:
    """A layer's name as a part of a file's: ``neck[0]`` as ``neck.0``, what file systems may not take as ``_``."""
    plain = re.sub(r'\[(\d+)\]', r'.\1', re.sub(r'#(\d+)', r'.call\1', text))
    plain = re.sub(r'\.{2,}', '.', re.sub(r'[^\w.-]+', '_', plain)).strip('.') or '_'
    if len(plain) > _LONGEST:
        plain = f'{plain[: _LONGEST - 9]}~{zlib.crc32(plain.encode()):08x}'
    return plain


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that a file system may not tell apart with a number."""
    taken: set[str] = set()
    found = []
    for name in names:
        number, candidate = 1, name
        while (key := unicodedata.normalize('NFC', candidate).casefold()) in taken:
            number += 1
            candidate = f'{name}_{number}'
        taken.add(key)
        found.append(candidate)
    return found
