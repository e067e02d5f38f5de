"""``Chosen``: a scalar of a forward that is explained, and the same of any other forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from featmap.answers import Answers
from featmap.options.explain import SIDES
from featmap.targets.trace import Trace
from featmap.targets.tracer import Found


@dataclass(frozen=True, eq=False, repr=False)
class Chosen:
    """What is explained.

    Attributes:
        scalar: 0-dim, in the graph of the forward that it was chosen from: the log of a detection's final score, the
            logit of a class, the coordinate of a box's side in pixels of the original, signed outward.
        name: What it is: ``box 0``, ``tabby``.
        what: What the model says of it: ``dog 0.87``; empty where the name says it.
        score: The detection's score, or the class's probability; nan of functions.
        measured: One forward's answers to its value there, see :meth:`measure`.
        class_index: The class.
        box: (4,) float32 x1 y1 x2 y2 in pixels of the original.
        boxes: (N, 4), of a class's detections all of them.
        index: Which of the forward's detections it is.
        region: (H, W) bool, on the original, of a segmentation.
        part: What of a detection, see :data:`featmap.options.explain.PARTS`.
        parts: Where the part is ``all``: the score and each side, of which each is explained by itself.
        traces: The raw predictions that it comes from: one, or one for each of a class's detections.
        founds: The same with the raw numbers there.
        again: Another forward's answers to the scalar itself there, where they tell it: a logit, a mean of logits, what
            a function gives. None of detections, whose number means nothing there; see :mod:`featmap.targets.tracked`.
        notes: What else has to be known of it.
    """

    scalar: Tensor
    name: str
    what: str = ''
    score: float = float('nan')
    measured: Callable[[Answers], Tensor] = field(default=lambda answers: torch.zeros(()))
    class_index: int | None = None
    box: np.ndarray | None = None
    boxes: np.ndarray | None = None
    index: int | None = None
    region: np.ndarray | None = None
    part: str = 'score'
    parts: tuple[Chosen, ...] = ()
    traces: tuple[Trace, ...] = ()
    founds: tuple[Found, ...] = ()
    again: Callable[[Answers], Tensor] | None = None
    notes: tuple[str, ...] = ()

    @property
    def trace(self) -> Trace | None:
        """The raw prediction that it comes from, where it is one."""
        return self.traces[0] if len(self.traces) == 1 else None

    @property
    def label(self) -> str:
        """Name, part and what the model says: ``box 0 · left side · dog 0.87``."""
        part = f'{self.part} side' if self.part in SIDES else self.part if self.part in ('class', 'objectness') else ''
        part = 'score and sides' if self.part == 'all' else part
        return ' · '.join(word for word in (self.name, part, self.what) if word)

    @property
    def title(self) -> str:
        """The label with the trace: ``box 0 · dog 0.87 ← neck[1] · stride 16 · cell (12, 31)``."""
        return self.label + (f' ← {self.trace}' if self.trace else '')

    def __repr__(self) -> str:
        """One line."""
        return f'<Chosen: {self.title}>'

    def measure(self, answers: Sequence[Answers]) -> Tensor:
        """Its value in each of other forwards, (B,) float32 from 0 up, without gradients unless these have them.

        Of a detection: the largest IoU × score of all raw predictions of its class, 0 where there are none; of several
        detections the sum. Of a class: its probability; of one rather than another: p / (p + q). Of a region: the mean
        probability of the class in it. Of a function: what it gives.
        """
        return torch.stack([self.measured(each).float() for each in answers]) if answers else torch.zeros(0)

    def with_part(self, part: str, scalar: Tensor) -> Chosen:
        """Another part of the same."""
        return replace(self, part=part, scalar=scalar)


def box_iou(box: Tensor, boxes: Tensor) -> Tensor:
    """The intersection over union of a box (4,) with each of (N, 4): (N,), 0 to 1. Several, (M, 1, 4), give (M, N)."""
    low, high = torch.maximum(box[..., :2], boxes[..., :2]), torch.minimum(box[..., 2:], boxes[..., 2:])
    common = _area(high - low)
    areas = _area(boxes[..., 2:] - boxes[..., :2]) + _area(box[..., 2:] - box[..., :2])
    return common / (areas - common).clamp(min=1e-9)


def _area(sides: Tensor) -> Tensor:
    sides = sides.clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def fit(answers: Answers, box: np.ndarray, label: int | None) -> Tensor:
    """IoU × score of each prediction, (N,), with 0 for those of other classes than ``label``."""
    found = box_iou(torch.as_tensor(box, dtype=answers.boxes.dtype, device=answers.boxes.device), answers.boxes)
    found = found * answers.scores
    return found if label is None else torch.where(answers.labels == label, found, torch.zeros_like(found))


@dataclass(frozen=True, eq=False)
class OfBoxes:
    """How much of boxes of a class another forward still predicts: the sum of the best IoU × score of each.

    As VPS (2411.16198) measures a single box: over raw predictions, so that it changes without jumps.

    Attributes:
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the original.
        label: The class; None for any.
    """

    boxes: np.ndarray
    label: int | None

    def __call__(self, answers: Answers) -> Tensor:
        """The value in one forward, 0-dim."""
        if not len(answers.boxes):
            return answers.scores.new_zeros(())
        return torch.stack([fit(answers, box, self.label).amax() for box in self.boxes]).sum()


def probability(logits: Tensor, label: int, other: int | None, activation: str) -> Tensor:
    """The probability of a class along the first axis of (K, …); of one rather than another: p / (p + q)."""
    if other is not None:
        return (logits[label] - logits[other]).float().sigmoid()
    return logits.float().softmax(dim=0)[label] if activation == 'softmax' else logits[label].float().sigmoid()
