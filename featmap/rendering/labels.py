"""What stands above a panel: text whose parts are known by what they say."""

from __future__ import annotations

from collections.abc import Sequence

from featmap.norm import Norm
from featmap.rendering.normalize import Range, value_range
from featmap.rendering.text import SEPARATOR
from featmap.structures import FeatureMap


class Label(str):
    """A label's text, and the parts that it is made of.

    Attributes:
        name: The layer, or the image.
        shows: What of it is shown, by which reducer, and why.
        facts: Shape, stride and what else has to be known.
        scale: What the colours stand for.
    """

    name: str
    shows: tuple[str, ...]
    facts: tuple[str, ...]
    scale: tuple[str, ...]

    def __new__(
        cls, name: str, shows: Sequence[str] = (), facts: Sequence[str] = (), scale: Sequence[str] = ()
    ) -> Label:
        label = super().__new__(cls, SEPARATOR.join([name, *shows, *facts, *scale]))
        label.name, label.shows, label.facts, label.scale = name, tuple(shows), tuple(facts), tuple(scale)
        return label

    @property
    def parts(self) -> tuple[str, ...]:
        """All of it, in the order of the text."""
        return (self.name, *self.shows, *self.facts, *self.scale)


def label_of(item: FeatureMap, plane: int, scale: Range | None, norm: Norm, grid: bool = False) -> Label:
    """Layer and output index, what the plane shows and by which reducer, C×H×W, stride, tokens, shift, range."""
    told = []
    if scale is not None:
        told.append(f'{scale} ({norm.note})' if norm.note and not item.ranges else str(scale))
    return Label(item.name, _shows(item, plane), [*_facts(item, grid), *_constant(item, plane, scale)], told)


def concepts_label(item: FeatureMap) -> Label:
    """The label of the panel that shows which of several planes is strongest where."""
    by = [item.reducer] if item.reducer else []
    return Label(item.name, [*by, f'all {len(item)} concepts', *item.names], [item.note] if item.note else [])


def _shows(item: FeatureMap, plane: int) -> list[str]:
    channel = item.channels[plane] if item.channels and item.kind != 'image' else None
    shown = item.names[plane] if plane < len(item.names) else item.reducer if channel is None else f'channel {channel}'
    meaning = [item.meaning] if item.meaning else []
    if plane < len(item.why):
        return [*meaning, shown, f'{item.reducer}: {item.why[plane]}']
    # Channels that were asked for by number or name need no reducer to be told.
    named = item.reducer in shown or item.reducer == 'channels'
    return [*meaning, *([] if named else [item.reducer]), shown]


def _facts(item: FeatureMap, grid: bool) -> list[str]:
    channels, rows, columns = item.shape
    tokens = [item.tokens.describe((rows, columns))] if item.tokens else []
    told = [f'{channels}×{rows}×{columns}', _stride(item, grid), *tokens, *_moved(item)]
    return [*told, item.note] if item.note else told


def _stride(item: FeatureMap, grid: bool) -> str:
    """The stride and, where cells are drawn, the size of one in the original."""
    sy, sx = item.stride
    text = f'stride {"" if item.stride_known else "≈ "}' + (f'{sy:.3g}' if sy == sx else f'{sy:.3g}×{sx:.3g}')
    if not grid:
        return text
    high, wide = sy / item.geometry.scale[1], sx / item.geometry.scale[0]
    size = f'{wide:.3g}' if abs(wide / high - 1) < 0.01 else f'{wide:.3g}×{high:.3g}'
    return f'{text} = {size} px of the image'


def _moved(item: FeatureMap) -> list[str]:
    """How far calibration moved a map, with an arrow each way.

    Nothing for whole cells, which padding decides, and for cells that begin where the image does in the network input.
    """
    signs = (('↑', '↓'), ('←', '→'))
    begins = (along / step for along, step in zip(reversed(item.geometry.offset), item.stride))
    moved = [not (float(o).is_integer() or abs(o - begin) < 1e-4) for o, begin in zip(item.offset, begins)]
    ways = [f'{sign[o > 0]}{abs(o):.2f}' for o, sign, seen in zip(item.offset, signs, moved) if seen]
    return [f'calibrated {" ".join(reversed(ways))} cells'] if ways else []


def _constant(item: FeatureMap, plane: int, scale: Range | None) -> list[str]:
    """That there is nothing to see, where the scale does not say so."""
    if item.kind not in ('heat', 'image') or (scale is not None and scale.constant):
        return []
    planes = range(len(item)) if item.kind == 'image' else [plane]
    noise = item.noise or (0.0,) * len(item)
    own = [found for index in planes if (found := value_range(item.content[index], noise[index]))]
    return [str(own[0])] if own and all(each.constant for each in own) else []
