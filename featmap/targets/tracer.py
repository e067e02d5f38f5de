"""``Tracer``: finds the raw prediction that a score comes from: where its gradient is not zero."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from featmap.answers import RawLayer
from featmap.errors import TargetError
from featmap.geometry import nominal_stride
from featmap.gradients import Kept
from featmap.layers import Target
from featmap.meaning import TITLES, Meaning
from featmap.targets.features import FEATURES, REGIONS, Features
from featmap.targets.raw import Found, Place, Raw
from featmap.targets.trace import Trace
from featmap.wording import option as written

_DIMENSIONS = {'dense': (4,), 'region': (2, 3), 'query': (2, 3, 4)}
_NOT_RUN = (type(None), nn.ModuleList)
_ASKED = 3  # detections that tell whether a head averages boxes
_CORNERS = 2  # cells that one prediction may be of


class Tracer:
    """Traces answers of one forward of one image.

    Args:
        layers: The layers that put out raw predictions.
        kept: What a recorder of :func:`traced_layers` kept of the forward that the answers come from.
        input_shape: Height and width of the network input.
    """

    def __init__(self, layers: Sequence[RawLayer], kept: Sequence[Kept], input_shape: tuple[int, int]) -> None:
        self.layers = tuple(layers)
        self._input_shape = input_shape
        self._raws = [
            Raw(layer, path, each.call, tensor)
            for layer in layers
            for each in kept
            if each.target.module is layer.module and not each.target.path
            for path, tensor in each.tensors.items()
            if tensor.ndim in _DIMENSIONS[layer.kind]
        ]
        # Several targets may stand for one module, as where a user asks for a head's outputs.
        self._raws = list({id(raw.tensor): raw for raw in self._raws if raw.predicts}.values())
        self._features = Features(kept)
        self._alone = 0

    @property
    def known(self) -> bool:
        """Whether there are raw predictions that an answer could be traced to."""
        return bool(self._raws)

    def depends(self, scalar: Tensor) -> bool:
        """Whether a 0-dim tensor depends on any raw prediction."""
        return any(raw.places(gradient) for raw, gradient in self._gradients(scalar))

    def voted(self, boxes: Tensor) -> int:
        """How many raw predictions the box (4,) of one detection is made of; 0 where that was no more than one before.

        Some heads average the boxes of what they suppress. Whether a head does, its first detections tell.
        """
        if self._alone >= _ASKED or not boxes.requires_grad:
            return 0
        places = {place for raw, gradient in self._gradients(boxes.sum()) for place in raw.places(gradient)}
        self._alone += len(places) <= 1
        return len(places)

    def find(self, scalar: Tensor, name: str, label: int | None = None) -> Found:
        """The raw prediction that a score comes from.

        Args:
            scalar: 0-dim, made of the score, such as its log.
            name: What it is, for messages: ``box 0``.
            label: Its class.

        Raises:
            TargetError: where its gradient is zero, or is not in one place.
        """
        by_place: dict[Place, list[tuple[Raw, list[tuple[int, float]]]]] = {}
        for raw, gradient in self._gradients(scalar):
            for place, channels in raw.places(gradient).items():
                by_place.setdefault(place, []).append((raw, channels))
        if not by_place:
            raise TargetError(
                f'{name} cannot be traced: its score is {self._value(scalar)} and its gradient zero in all of '
                f'{self._heads}; {remedy()}'
            )
        if len(by_place) > 1 and not self._paired(by_place):
            raise TargetError(
                f'{name} cannot be traced: its score is made of {len(by_place)} raw predictions of {self._heads}, '
                f'expected one; {remedy()}'
            )
        place, parts = next(iter(by_place.items()))
        raw, (channel, _) = max(
            ((raw, best) for raw, channels in parts for best in [max(channels, key=lambda pair: pair[1])]),
            key=lambda pair: _is_class(pair[0].meaning, pair[1][0]),
        )
        layer = parts[-1][0] if raw.layer.kind == 'region' else raw  # of a cascade the last head
        trace = Trace(raw.layer.kind, layer.layer.name, raw.path, class_index=label)
        if raw.layer.kind == 'dense':
            trace = self._dense(trace, raw, channel, list(by_place))
        elif raw.layer.kind == 'region':
            trace = self._region(replace(trace, proposal=place[-1]))
        else:
            trace = replace(trace, query=place[-1])
        return Found(trace, tuple(raw for raw, _ in parts), place, channel)

    def again(self, found: Found, image: int) -> Found:
        """A dense prediction of another forward at the same place: of the forward that this tracer is of.

        Args:
            found: The prediction.
            image: Which image of the batch.
        """
        own = {(raw.layer.name, raw.path, raw.call): raw for raw in self._raws}
        raws = tuple(own[raw.layer.name, raw.path, raw.call] for raw in found.raws)
        return replace(found, raws=raws, place=(found.place[0], image, *found.place[2:]))

    def at(self, found: Found) -> Iterator[Raw]:
        """All raw outputs that have numbers at the place of a prediction, not only those that its score is made of."""
        kind = found.trace.kind
        for raw in self._raws:
            if raw.layer.kind != kind or (kind == 'dense' and raw.level != found.place[0]):
                continue
            if kind == 'dense' or raw.tensor.shape[:-1] == found.raws[0].tensor.shape[:-1]:
                yield raw

    def levels(self, raw: Raw) -> Iterator[Tensor]:
        """The same output of every pyramid level."""
        head = re.match(r'\[\d+\]', raw.path)
        for other in self._raws:
            if other.layer is raw.layer and (not head or other.path.startswith(head[0])):
                yield other.tensor.detach()

    def _gradients(self, scalar: Tensor) -> list[tuple[Raw, Tensor]]:
        if not self._raws or not scalar.requires_grad:
            return []
        tensors = [raw.tensor for raw in self._raws]
        gradients = torch.autograd.grad(scalar, tensors, retain_graph=True, allow_unused=True)
        return [(raw, gradient) for raw, gradient in zip(self._raws, gradients) if gradient is not None]

    def _paired(self, by_place: dict[Place, list[tuple[Raw, list[tuple[int, float]]]]]) -> bool:
        """Whether a prediction is a pair of cells, each of an output of its own, as corners are."""
        raws = [parts[0][0] for parts in by_place.values() if len(parts) == 1]
        return (
            len(by_place) == len(raws) == _CORNERS
            and all(raw.layer.kind == 'dense' for raw in raws)
            and raws[0] is not raws[1]
            and raws[0].level == raws[1].level
            and raws[0].tensor.shape == raws[1].tensor.shape
        )

    def _dense(self, trace: Trace, raw: Raw, channel: int, places: Sequence[Place]) -> Trace:
        shape = (int(raw.tensor.shape[-2]), int(raw.tensor.shape[-1]))
        strides = getattr(raw.layer.head, 'strides', ())
        known = raw.level < len(strides)
        stride = strides[raw.level] if known else nominal_stride(self._input_shape, shape)[0]
        each = max(len(raw.meaning.attributes), 1)
        return replace(
            trace,
            feature=self._features.of_level(raw.level, shape),
            stride=float(stride),
            stride_known=known,
            cells=tuple((place[2], place[3]) for place in places),
            anchor=channel // each if raw.meaning.anchors > 1 and raw.meaning.attributes else None,
            anchors=raw.meaning.anchors,
        )

    def _region(self, trace: Trace) -> Trace:
        """A region is cut out of one of the maps, as a rule."""
        assert trace.proposal is not None
        hit = self._features.of_region(trace.proposal)
        if len(hit) != 1:
            return trace
        name, _, tensor = hit[0]
        stride = nominal_stride(self._input_shape, (int(tensor.shape[-2]), int(tensor.shape[-1])))[0]
        return replace(trace, feature=name, stride=stride, stride_known=False)

    @property
    def _heads(self) -> str:
        return ', '.join(dict.fromkeys(f'{layer.name} ({type(layer.module).__name__})' for layer in self.layers))

    @staticmethod
    def _value(scalar: Tensor) -> str:
        return f'{float(scalar.detach().exp()):.6g}'


def traced_layers(model: nn.Module, layers: Sequence[RawLayer]) -> list[Target]:
    """What a recorder has to keep for a :class:`Tracer`: raw predictions, and the maps that they are made of."""
    if not layers:
        return []
    modules = dict(model.named_modules())
    feature = next((name for name in FEATURES if name in modules), None)
    by_region = any(layer.kind == 'region' for layer in layers)
    regions = next((name for name in REGIONS if by_region and not isinstance(modules.get(name), _NOT_RUN)), None)
    targets = [Target(name, modules[name], optional=True) for name in (feature, regions) if name]
    return targets + [Target(layer.name, layer.module, optional=True) for layer in layers]


def remedy() -> str:
    """What to do where there is no gradient, or none that can be traced."""
    return f'methods that need no gradient work: {written("method", ["drise"])}'


def _is_class(meaning: Meaning, channel: int) -> tuple[bool, bool]:
    """Whether a channel is a class score; where nothing is known, at least none of another kind."""
    place = channel % len(meaning.attributes) if meaning.attributes else -1
    return place in meaning.classes, meaning.kind not in TITLES
