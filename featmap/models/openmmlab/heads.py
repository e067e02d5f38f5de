"""What the outputs of a detection head mean, as far as the head itself says so.

A head hands its outputs on to its own ``predict_by_feat``, whose arguments have names: those say which output holds
class scores and which boxes. How many channels belong to an anchor, and what makes scores of them, stands in the head's
attributes. Nothing is known here of any architecture; where the numbers do not fit, nothing is claimed.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from featmap.meaning import TITLES, Meaning, repeated, unknown
from featmap.meaning import Meanings as AnyMeanings
from featmap.models.openmmlab.segmentors import ClassPlanes, class_layers
from featmap.wording import option as written

_NO_HEAD = 'it is no output of a detection head; class maps are those of a head, such as '


class HeadMeaning:
    """What the outputs of one head mean.

    Args:
        head: The module that has ``predict_by_feat``.
        classes: The model's class names; numbers stand for them where there are not as many as the head has.
    """

    def __init__(self, head: nn.Module, classes: Sequence[str] = ()) -> None:
        self.head = head
        count = int(head.num_classes)  # type: ignore[arg-type]
        given = tuple(classes) if len(classes) == count else tuple(f'class {number}' for number in range(count))
        self.classes = repeated(given)
        self.outputs = _output_names(head)
        self.softmax = not _uses_sigmoid(head)

    @property
    def by_query(self) -> bool:
        """Whether the outputs have a row for each object query, which has no place in the image."""
        return any('layer_' in name or 'layers_' in name for name in self.outputs)

    @property
    def strides(self) -> tuple[float, ...]:
        """Network input pixels from cell to cell of each level; empty where the head does not say."""
        return tuple(float(min(each) if isinstance(each, (list, tuple)) else each) for each in _strides(self.head))

    @property
    def names(self) -> tuple[str, ...]:
        """All that could be asked for by name: classes, then other scores."""
        kinds = {_kind(name) for name in self.outputs}
        if 'pred_map' in kinds:
            kinds.add('obj')
        return (*self.classes, *(title for kind, title in TITLES.items() if kind in kinds))

    def of(self, path: str, channels: int) -> Meaning:
        """The meaning of the output at a path such as ``[0][2]`` (kind, level), of so many channels."""
        keys = re.findall(r'\[([^\[\]]+)\]', path)
        if not keys or not all(key.isdigit() for key in keys) or int(keys[0]) >= len(self.outputs):
            return unknown(f'it is not known what the head puts out at {path or "its top"}')
        name = self.outputs[int(keys[0])]
        kind, index = _kind(name), int(keys[1]) if len(keys) > 1 else None
        level = '' if index is None else _level(self.head, index)
        anchors = _anchors(self.head, index or 0)
        if kind == 'cls' or 'heat' in kind:
            return self._class_scores(kind, level, channels, anchors)
        if kind == 'pred_map':
            return self._whole_anchors(level, channels, anchors)
        if kind in TITLES:
            if channels != anchors:
                return unknown(f'{channels} channels are not one for each of {anchors} anchors', kind, level)
            return Meaning(kind, level, (TITLES[kind],), scores=(0,), anchors=anchors, activation='sigmoid')
        if kind == 'box' and channels % (4 * anchors) == 0:
            return Meaning(kind, level, _numbered(channels // anchors), anchors=anchors)
        return Meaning(kind, level, anchors=anchors)

    def beside(self, meaning: Meaning, output: Any, path: str) -> Meaning:
        """The meaning of class scores with what else of the head's output says what they are worth.

        Args:
            meaning: The meaning of the map at ``path``.
            output: All that the head put out.
            path: Such as ``[0][2]``.
        """
        keys = [int(key) for key in re.findall(r'\[(\d+)\]', path)]
        if not meaning.classes or len(keys) != 2:
            return meaning
        meaning = replace(meaning, levels=tuple(level.detach() for level in output[keys[0]]))
        for index, name in enumerate(self.outputs[: len(output)]):
            if _kind(name) in TITLES:
                found = output[index][keys[1]][0].detach()
                if len(found) == meaning.anchors:
                    return replace(meaning, factor=found, factor_kind=_kind(name))
        return meaning

    def _class_scores(self, kind: str, level: str, channels: int, anchors: int) -> Meaning:
        attributes = (*self.classes, 'background') if self.softmax else self.classes
        declared = getattr(self.head, 'cls_out_channels', len(attributes))
        if declared != len(attributes) or channels != anchors * len(attributes):
            return unknown(
                f'its {channels} channels are not {anchors} anchors × {len(attributes)} '
                f'{"classes and background" if self.softmax else "classes"}',
                kind,
                level,
            )
        places = tuple(range(len(self.classes)))
        activation = 'softmax' if self.softmax else 'sigmoid'
        return Meaning(kind, level, attributes, places, anchors=anchors, activation=activation)

    def _whole_anchors(self, level: str, channels: int, anchors: int) -> Meaning:
        """All of an anchor in one output: box, objectness, classes, as YOLOv3 has it."""
        attributes = repeated((*_numbered(4), TITLES['obj'], *self.classes))
        if getattr(self.head, 'num_attrib', None) != len(attributes) or channels != anchors * len(attributes):
            return unknown(f'its {channels} channels are not {anchors} anchors × (box, objectness, classes)', '', level)
        places = tuple(range(5, len(attributes)))
        return Meaning('pred', level, attributes, places, scores=(4,), anchors=anchors, activation='sigmoid')


class Meanings(AnyMeanings):
    """What the outputs of any layer of a model mean: those of heads, as :class:`HeadMeaning` says, and of no other.

    Args:
        model: The detector's module.
        classes: Its class names.
    """

    def __init__(self, model: nn.Module, classes: Sequence[str] = ()) -> None:
        self._heads: dict[int, HeadMeaning | ClassPlanes] = {}
        proposals = getattr(model, 'rpn_head', None)
        for module in model.modules():
            if not callable(getattr(module, 'predict_by_feat', None)) or not _is_count(module, 'num_classes'):
                continue
            # A region proposal network tells objects from background, whatever the model's classes.
            meaning = HeadMeaning(module, ('object',) if module is proposals else classes)
            for part in (module, getattr(module, 'head_module', None)):
                if isinstance(part, nn.Module):
                    self._heads[id(part)] = meaning
        self._heads.update((id(layer), planes) for layer, planes in class_layers(model, classes))

    def head(self, module: nn.Module) -> HeadMeaning | ClassPlanes | None:
        """The meaning of a layer's outputs, if it is a head, or the module that computes all of one."""
        return self._heads.get(id(module))

    def of(self, module: nn.Module, output: Any, path: str, channels: int) -> Meaning:
        """The meaning of the map at a path in what a layer put out; a reason only where the layer is no head."""
        head = self.head(module)
        if head is None:
            return unknown(_NO_HEAD + written('target_layers', 'bbox_head'))
        return head.beside(head.of(path, channels), output, path)


def _is_count(module: nn.Module, name: str) -> bool:
    value = getattr(module, name, None)
    return isinstance(value, int) and value > 0


def _output_names(head: nn.Module) -> tuple[str, ...]:
    """The head's outputs as ``predict_by_feat`` calls them; a general name gives way to the one that the loss has."""
    names = list(_tensor_arguments(head.predict_by_feat))
    learned = _tensor_arguments(head.loss_by_feat) if callable(getattr(head, 'loss_by_feat', None)) else ()
    for index, name in enumerate(names):
        if name == 'score_factors' and index < len(learned) and _kind(learned[index]) in TITLES:
            names[index] = learned[index]
    return tuple(names)


def _tensor_arguments(method: Any) -> tuple[str, ...]:
    """The arguments before the images' own data."""
    names = []
    for name in inspect.signature(method).parameters:
        if name.startswith('batch_') or name in ('cfg', 'rescale', 'with_nms', 'results_list'):
            break
        names.append(name)
    return tuple(names)


def _kind(name: str) -> str:
    """``cls`` of ``cls_scores``, ``box`` of ``bbox_preds``, ``ctr`` of ``centernesses``; else the name's own stem."""
    for word, kind in (('objectness', 'obj'), ('centerness', 'ctr'), ('iou_pred', 'iou')):
        if word in name:
            return kind
    stem = re.sub(r'^mlvl_|_(?:pred|score|logit)s?$', '', name)
    if stem == 'pred_maps':
        return 'pred_map'
    return {'bbox': 'box'}.get(stem, stem.rstrip('s') if stem != 'cls' else stem)


def _uses_sigmoid(head: nn.Module) -> bool:
    """Whether each class has a sigmoid of its own, rather than a softmax over classes and background."""
    declared = getattr(head, 'use_sigmoid_cls', None)
    if declared is None:
        declared = getattr(getattr(head, 'loss_cls', None), 'use_sigmoid', True)
    return bool(declared)


def _anchors(head: nn.Module, level: int) -> int:
    """Priors at a cell of a level: some heads have one number for all, some one for each level."""
    value = getattr(head, 'num_base_priors', None)
    if value is None:
        value = getattr(getattr(head, 'prior_generator', None), 'num_base_priors', 1)
    if isinstance(value, (list, tuple)):
        value = value[level] if level < len(value) else 1
    return int(value or 1)


def _level(head: nn.Module, index: int) -> str:
    """``P3`` for a stride of 8, as feature pyramids are counted; its number where the stride is no power of two.

    Empty where the head states no strides: what it puts out then may be stages of one level.
    """
    strides = _strides(head)
    if index >= len(strides):
        return ''
    stride = strides[index]
    power = math.log2(min(stride) if isinstance(stride, (list, tuple)) else stride)
    return f'P{int(power)}' if power.is_integer() else f'level {index}'


def _strides(head: nn.Module) -> Sequence[Any]:
    """As the head has them: numbers, or pairs of them."""
    strides = getattr(getattr(head, 'prior_generator', None), 'strides', None) or getattr(head, 'featmap_strides', None)
    return strides if isinstance(strides, (list, tuple)) else ()


def _numbered(count: int) -> tuple[str, ...]:
    """The numbers of a box. Which is which only the head's decoding knows, which attributes do not tell."""
    return tuple(f'box {number}' for number in range(count))
