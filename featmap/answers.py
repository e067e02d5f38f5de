"""``Answers``: what a forward answered of one image, still joined to the graph that made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from featmap.geometry import ImageGeometry
from featmap.structures import Detections

KINDS = ('boxes', 'classes', 'segments', '')
"""What a model may answer; the last where that is of no known kind."""


@dataclass(frozen=True, repr=False)
class Answers:
    """What a forward answered of one image, as tensors that can be differentiated where gradients were on.

    Attributes:
        kind: See :data:`KINDS`.
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the original, where the answer is boxes.
        scores: (N,) their final scores: class × objectness or centerness, as the model itself has it.
        labels: (N,) their class numbers.
        shown: (M,) which of them ``detections`` holds, in its order.
        logits: (K,) class scores of the whole image before any activation.
        activation: What makes probabilities of class scores, ``softmax`` or ``sigmoid``.
        planes: (K, h, w) class scores before the activation, that lie over the whole network input.
        output: What the forward returned.
        classes: The classes' names.
        detections: The same answer as it is drawn; None of raw predictions.
    """

    kind: str = ''
    boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    scores: Tensor = field(default_factory=lambda: torch.zeros(0))
    labels: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    shown: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    logits: Tensor | None = None
    activation: str = 'softmax'
    planes: Tensor | None = None
    output: Any = None
    classes: tuple[str, ...] = ()
    detections: Detections | None = None

    def __repr__(self) -> str:
        """One line: the kind, and how many boxes or classes there are."""
        count = {'boxes': len(self.boxes), 'classes': 0 if self.logits is None else len(self.logits)}.get(self.kind)
        return f'<Answers: {"" if count is None else f"{count} "}{self.kind or "of no known kind"}>'


@dataclass(frozen=True)
class RawLayer:
    """A layer that puts out raw predictions, before anything is suppressed.

    Attributes:
        name: Its dotted path.
        module: The module.
        kind: What a prediction is: ``dense``, an anchor at a cell of (N, C, h, w); ``region``, a row of (R, K), one for
            each proposal; ``query``, a row of (..., Q, K).
        head: What the outputs mean, by a HeadMeaning or another object of its kind; None where that is not known.
        level: Of which pyramid level it is, where each has a layer of its own; None where the layer runs on all.
    """

    name: str
    module: nn.Module = field(repr=False)
    kind: str = 'dense'
    head: Any = field(default=None, repr=False)
    level: int | None = None


def boxes_to_image(boxes: Tensor, geometry: ImageGeometry) -> Tensor:
    """Boxes x1 y1 x2 y2, (N, 4), in pixels of the network input, to those of the original; they may leave it."""
    x, y = geometry.to_image(boxes[:, 0::2], boxes[:, 1::2])
    return torch.stack([x.amin(dim=1), y.amin(dim=1), x.amax(dim=1), y.amax(dim=1)], dim=1)
