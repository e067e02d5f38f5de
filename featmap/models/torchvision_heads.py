"""Which layers of torchvision's detectors put out raw predictions, and what these stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from torch import nn

from featmap.answers import RawLayer
from featmap.meaning import TITLES, Meaning
from featmap.models.raw_meaning import BOX, LayerMeaning, class_meaning

_CONVOLUTIONS = {'cls_logits': 'cls', 'bbox_reg': 'box', 'bbox_ctrness': 'ctr'}


def raw_layers(model: nn.Module, classes: Sequence[str] = ()) -> list[RawLayer]:
    """The layers of a detector that put out raw predictions: of two stages those of the second.

    Args:
        model: Built as torchvision's are: with ``roi_heads.box_predictor``, or with a ``head`` of a classification and
            a regression head, whose convolutions run on each level, or have one for each.
        classes: The model's class names.
    """
    parts = dict(model.named_modules())
    predictor = parts.get('roi_heads.box_predictor')
    if predictor is not None:
        scores = getattr(predictor, 'cls_score', None)
        count = scores.out_features if isinstance(scores, nn.Linear) else len(classes)
        meaning = class_meaning(count, classes, 'softmax', background=0)
        known = LayerMeaning(meaning, (('[0]', meaning), ('[1]', Meaning('box', attributes=BOX))))
        return [RawLayer('roi_heads.box_predictor', predictor, 'region', known)]
    return [*_convolutions(parts, classes), *_levels(parts, classes)]


def _convolutions(parts: dict[str, nn.Module], classes: Sequence[str]) -> Iterator[RawLayer]:
    """Those that run on each level, as RetinaNet and FCOS have them."""
    for head in ('head.classification_head', 'head.regression_head'):
        for name, kind in _CONVOLUTIONS.items():
            layer = parts.get(f'{head}.{name}')
            if layer is None:
                continue
            if kind == 'cls':
                meaning = class_meaning(int(getattr(parts[head], 'num_classes', 0)), classes, 'sigmoid')
            elif kind == 'box':
                meaning = Meaning(kind, attributes=BOX)
            else:
                meaning = Meaning(kind, attributes=(TITLES[kind],), scores=(0,), activation='sigmoid')
            yield RawLayer(f'{head}.{name}', layer, 'dense', LayerMeaning(meaning))


def _levels(parts: dict[str, nn.Module], classes: Sequence[str]) -> Iterator[RawLayer]:
    """One for each level, as SSD has them: of all classes one is right, and none is the first."""
    for name, layer in parts.items():
        found = re.fullmatch(r'(head\.(?:classification|regression)_head)\.module_list\.(\d+)', name)
        if not found:
            continue
        count = int(getattr(parts[found[1]], 'num_columns', 0))
        is_box = 'regression' in name
        meaning = Meaning('box', attributes=BOX) if is_box else class_meaning(count, classes, 'softmax', background=0)
        yield RawLayer(name, layer, 'dense', LayerMeaning(meaning), int(found[2]))
