"""What is drawn of explanations, before it is: which panels, in which rows, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from featmap.crop import PANEL_SIZE, Crop, Window
from featmap.explanation import Explanation
from featmap.geometry import ImageGeometry
from featmap.norm import Norm
from featmap.rendering.labels import Label, label_of
from featmap.rendering.marked import Marked
from featmap.rendering.normalize import Range
from featmap.rendering.text import SEPARATOR
from featmap.structures import Detections, FeatureMap

Asked = Optional[tuple[float, float, float, float]]
"""x1 y1 x2 y2 of a box that was asked about and not found, in pixels of the original; None for none."""
UNIT = Range(0, 1)
"""What the colours of an explanation stand for."""
_MOST_COLUMNS = 6
_MARGIN = 0.25  # of a box's longer side, around it in a zoom


@dataclass(frozen=True)
class Shown:
    """A panel of an explanation: its ``map`` on the whole picture, ``zoom``ed onto its box, or the ``crop`` alone."""

    kind: str
    explanation: Explanation
    item: FeatureMap | None = None


@dataclass(frozen=True)
class Line:
    """A row of panels about one target, or about one target and method."""

    head: str
    panels: tuple[Shown, ...]

    @property
    def first(self) -> Explanation:
        """Any of its explanations, for what they share."""
        return self.panels[0].explanation


def targets_of(explanations: Sequence[Explanation]) -> list[list[Explanation]]:
    """The explanations of each target, in order."""
    found: dict[str, list[Explanation]] = {}
    for each in explanations:
        found.setdefault(each.headline, []).append(each)
    return list(found.values())


def lines_of(explanations: Sequence[Explanation], zoom: bool) -> list[Line]:
    """A row for each target: the crop, then each map, and each zoomed; of a single target no crop unless zoomed.

    Where a row would be longer than six panels each method has a row, and where that is still too long each map.
    """
    targets = targets_of(explanations)
    crop = zoom or len(targets) > 1
    lines = [list(_line(group, zoom, crop)) for group in targets]
    if max(map(len, lines), default=0) > _MOST_COLUMNS:
        lines = [list(_line([each], zoom, crop)) for each in explanations]
    if max(map(len, lines), default=0) > _MOST_COLUMNS:
        lines = [list(_panels(each, item, zoom, crop)) for each in explanations for item in drawn(each)]
    return [Line(panels[0].explanation.headline, tuple(panels)) for panels in lines]


def _line(group: Sequence[Explanation], zoom: bool, crop: bool) -> Iterator[Shown]:
    if crop and focus(group[0]) is not None:
        yield Shown('crop', group[0])
    for each in group:
        for item in drawn(each):
            yield from _panels(each, item, zoom)


def _panels(each: Explanation, item: FeatureMap, zoom: bool, crop: bool = False) -> Iterator[Shown]:
    focused = focus(each) is not None
    if crop and focused:
        yield Shown('crop', each)
    yield Shown('map', each, item)
    if zoom and focused:
        yield Shown('zoom', each, item)


def drawn(explanation: Explanation) -> tuple[FeatureMap, ...]:
    """The maps that are drawn: a layer's own, or the one that was made of those of several."""
    return explanation.maps if len(explanation.maps) == 1 or explanation.fuse == 'none' else (fused_map(explanation),)


def fused_map(explanation: Explanation) -> FeatureMap:
    """The heat as a map whose cells are pixels of the original, or of one that is as large as what is drawn of it."""
    first = explanation.maps[0]
    full = first.geometry.image_shape
    shrunk = max(max(full) / PANEL_SIZE, 1)
    height, width = (max(round(side / shrunk), 1) for side in full)
    cut = first.geometry.visible if first.geometry.is_cropped else None
    return FeatureMap(
        values=explanation.heat_on((height, width))[None],
        layer=_joined([item.name for item in explanation.maps]),
        shape=(1, height, width),
        stride=(1.0, 1.0),
        geometry=ImageGeometry(full, (height, width), (width / full[1], height / full[0]), crop=cut),
        reducer=explanation.method,
        channels=(None,),
        ranges=((0.0, 1.0),),
        note=first.note,
    )


def _joined(names: Sequence[str]) -> str:
    """Layers as a text, what they are parts of once: ``backbone.stage1 + stage2``."""
    whole, _, last = names[0].rpartition('.')
    inside = f'{whole.rpartition(".")[0] if last[:1].isdigit() else whole}.'  # a number alone would tell nothing
    return ' + '.join(dict.fromkeys([names[0], *(name.removeprefix(inside) for name in names[1:])]))


def label_for(shown: Shown, window: Window | None = None) -> Label:
    """What stands above a panel: method, layers, their shape, the scale; of a zoom its window in the original."""
    explanation, item = shown.explanation, shown.item
    part = [] if window is None else ['{},{} – {},{}'.format(*window)]
    if item is None:
        return Label('crop', (), part)
    if shown.kind == 'zoom':
        layers = [item.name] if explanation.fuse == 'none' and len(explanation.maps) > 1 else []
        return Label(f'{explanation.method}, zoomed', layers, part, [str(UNIT)])
    plain = label_of(item, 0, UNIT, Norm())
    facts = plain.facts
    if all(item is not each for each in explanation.maps):
        facts = (explanation.fuse,)
    said = ['class-agnostic'] if explanation.class_agnostic else []
    proof = [] if explanation.faithfulness is None else [explanation.faithfulness.label]
    return Label(explanation.method, (*said, item.name), (*facts, *explanation.notes), (*plain.scale, *proof))


def focus(explanation: Explanation) -> np.ndarray | None:
    """x1 y1 x2 y2 in the original, (4,), of what crops and zooms are about; None for what has no place of its own."""
    if explanation.box is not None:
        return np.asarray(explanation.box, float)
    if explanation.region is None or not explanation.region.any():
        return None
    rows, columns = (np.flatnonzero(explanation.region.any(axis=axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


def window_around(box: np.ndarray, image_shape: tuple[int, int], aspect: float) -> Window:
    """The part of an image of (height, width) around a box, by the margin of crops, as wide by its height as asked.

    It lies within the image, which may leave it no room for its shape: then it is what of it the image has.
    """
    height, width = image_shape
    x1, y1, x2, y2 = (float(edge) for edge in box)
    left, top, right, bottom = Crop(margin=_MARGIN).around(x1, y1, x2, y2)
    wide, high = right - left, bottom - top
    wide, high = max(wide, high * aspect), max(high, wide / aspect)
    spans = []
    for middle, length, end in (((left + right) / 2, wide, width), ((top + bottom) / 2, high, height)):
        length = min(round(length), end)
        start = min(max(round(middle - length / 2), 0), end - length)
        spans.append((start, start + length))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _tag(label: str) -> str:
    """A label as a box carries it: ``2 tree 0.93 left side`` of ``box 2 · left side · tree 0.93``."""
    name, *words = label.removeprefix('box ').split(SEPARATOR)
    return ' '.join([name, *words[-1:], *words[:-1]])


def marked_of(
    explanations: Sequence[Explanation],
    detections: Detections | None,
    tags: bool = True,
    asked: Asked = None,
) -> Marked:
    """What is bold where these are drawn: the boxes of their targets, or the region of the first.

    Args:
        explanations: What is drawn.
        detections: What was found.
        tags: Whether boxes have tags.
        asked: A box that was asked about, and that nobody found.
    """
    boxes: list[np.ndarray] = []
    labels: list[int] = []
    texts: list[str] = []
    among: list[int] = []
    for group in targets_of(explanations):
        each = group[0]
        label = -1 if each.class_index is None else each.class_index
        if each.box is not None:
            boxes.append(each.box)
            labels.append(label)
            texts.append(_tag(each.label))
            among += [] if each.index is None else [each.index]
        elif detections is not None and label >= 0:  # a class: all of its boxes
            found = np.flatnonzero(detections.labels == label).tolist()
            boxes += list(detections.boxes[found])
            labels += [label] * len(found)
            texts += [f'{index} {detections.name(index)} {detections.scores[index]:.2f}' for index in found]
            among += found
    region = next((each.region for each in explanations), None)
    return Marked(
        np.asarray(boxes, np.float32).reshape(-1, 4), tuple(texts) if tags else (), np.asarray(labels, np.int64),
        tuple(among), region, asked,
    )  # fmt: skip
