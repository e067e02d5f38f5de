"""Which layers of a detector with object queries put out raw predictions, whatever library it is of."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from featmap.answers import RawLayer
from featmap.meaning import Meaning
from featmap.models.raw_meaning import LayerMeaning, class_meaning

_CLASSES = re.compile(r'class|label|score', re.IGNORECASE)
_BOXES = re.compile(r'[^.]*box[^.]*(?:\.\d+)?', re.IGNORECASE)


def raw_layers(model: nn.Module, count: int, classes: Sequence[str] = ()) -> list[RawLayer]:
    """The layers that score a query's classes, and those that place its box.

    Linear layers that are called by what they are for, with a number for each class: those of all decoder layers, of
    which the last has an answer's gradient. A further number is that of no object.

    Args:
        model: The module.
        count: How many classes queries tell apart.
        classes: Their names.
    """
    if not count:
        return []
    found = [
        RawLayer(name, part, 'query', LayerMeaning(_scores(part.out_features, count, classes)))
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and part.out_features in (count, count + 1) and _CLASSES.search(name)
    ]
    if not found:
        return []
    boxes: list[RawLayer] = []
    for name, part in model.named_modules():
        is_box = _BOXES.fullmatch(name.removeprefix('model.').removeprefix('decoder.'))
        if (
            is_box
            and not isinstance(part, nn.ModuleList)
            and not any(name.startswith(f'{each.name}.') for each in boxes)
        ):
            boxes.append(RawLayer(name, part, 'query', LayerMeaning(Meaning('box'))))
    return found + boxes if boxes else []  # else it is a classifier's


def _scores(numbers: int, count: int, classes: Sequence[str]) -> Meaning:
    if numbers > count:
        return class_meaning(numbers, classes, 'softmax', background=count)
    return class_meaning(numbers, classes, 'sigmoid')
