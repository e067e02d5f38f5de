"""Which layers of a detector put out raw predictions, and what these stand for."""

from __future__ import annotations

from typing import Any

from torch import nn

from featmap.answers import RawLayer
from featmap.meaning import Meaning, repeated, unknown
from featmap.models.openmmlab.heads import Meanings


class RowMeaning:
    """What the outputs of a head of regions or queries mean: class scores, then boxes, in rows of one prediction each.

    Args:
        head: The module.
        classes: The model's class names.
    """

    def __init__(self, head: nn.Module, classes: tuple[str, ...]) -> None:
        count = int(head.num_classes)  # type: ignore[arg-type]
        self.classes = repeated(classes if len(classes) == count else [f'class {number}' for number in range(count)])
        self.softmax = not bool(getattr(getattr(head, 'loss_cls', None), 'use_sigmoid', False))

    def of(self, path: str, channels: int) -> Meaning:
        """The meaning of the output at a path, of so many numbers a row."""
        if path == '[1]':
            return Meaning('box')
        if path not in ('[0]', ''):  # such as what heads that look again hand on to the next
            return unknown('it is no prediction')
        attributes = (*self.classes, 'background') if channels == len(self.classes) + 1 else self.classes
        if channels != len(attributes):
            return unknown(f'its {channels} numbers are not {len(self.classes)} classes and background')
        places = tuple(range(len(self.classes)))
        return Meaning('cls', '', attributes, places, activation='softmax' if self.softmax else 'sigmoid')


def raw_layers(model: nn.Module, classes: tuple[str, ...]) -> list[RawLayer]:
    """The layers of a detector whose outputs are raw predictions: of two stages those of the second.

    A head that predicts at each cell or for each query is known by its ``predict_by_feat``, and so is one of regions,
    which are what is in a ``roi_head``.
    """
    meanings = Meanings(model, classes)
    roi_head = getattr(model, 'roi_head', None)
    if roi_head is not None:
        heads = getattr(roi_head, 'bbox_head', None)
        stages: list[Any] = list(heads) if isinstance(heads, nn.ModuleList) else [heads] if heads is not None else []
        names = {id(module): name for name, module in model.named_modules()}
        return [RawLayer(names[id(head)], head, 'region', RowMeaning(head, classes)) for head in stages]
    for part in ('bbox_head', 'rpn_head'):
        head = getattr(model, part, None)
        meaning = meanings.head(head) if isinstance(head, nn.Module) else None
        if head is None or meaning is None:
            continue
        if getattr(meaning, 'by_query', False):
            return [RawLayer(part, head, 'query', RowMeaning(head, classes))]
        return [RawLayer(part, head, 'dense', meaning)]
    return []
