"""``Tracked``: what is explained, followed through other forms of the image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from featmap.answers import Answers
from featmap.asked import Asked
from featmap.errors import TargetError
from featmap.gradients import GradientRecorder
from featmap.layers import Target
from featmap.options.explain import SIDES
from featmap.targets.chosen import Chosen
from featmap.targets.parts import class_score, log_score, objectness_score
from featmap.targets.tracer import Tracer
from featmap.wording import option as written

_MAKERS = {'score': log_score, 'class': class_score, 'objectness': objectness_score}


class Tracked:
    """Network inputs (B, C, H, W) to the value, (B,), of each target at each of them, in the graph.

    In another form of an image detections have other numbers, and most of them are gone. What is followed instead:

    - of a prediction at a cell the log-probabilities of the raw numbers there, which every form has;
    - of regions, object queries and pairs of corners, which each form chooses anew, and of heads whose numbers are not
      known, the best IoU × score, see :meth:`Chosen.measure`;
    - of classes and segmentations the logits, of a function what it gives.

    Args:
        asked: The image, and the model.
        chosen: The targets.

    Raises:
        TargetError: for a side of a box, which no raw number stands for.
    """

    def __init__(self, asked: Asked, chosen: Sequence[Chosen]) -> None:
        self._asked = asked
        self._chosen = tuple(chosen)
        for each in self._chosen:
            if each.part in (*SIDES, 'all'):
                raise TargetError(
                    f'{written("explain_part", each.part)} cannot be followed from one form of the image to another; '
                    f'{written("method", ["layercam"])} explains it by the image itself'
                )
        self._dense = [
            bool(each.founds) and all(found.trace.kind == 'dense' and found.trace.cell for found in each.founds)
            for each in self._chosen
        ]
        self._layers = asked.network.raw_layers() if any(self._dense) else []

    def told(self, number: int) -> str:
        """What is followed, for who reads the map; empty where it is just what was chosen."""
        if self._dense[number]:
            return 'of the raw prediction'
        return '' if self._chosen[number].boxes is None else 'of the best IoU × score'

    def __call__(self, inputs: Tensor) -> list[Tensor]:
        """The values of all targets, by one forward."""
        wanted = [Target(layer.name, layer.module, optional=True) for layer in self._layers]
        recorder = GradientRecorder(self._asked.network.model, wanted)
        with torch.enable_grad() if wanted else nullcontext():  # it keeps what is in a graph
            answers = self._asked.joined_answer(inputs, recorder if wanted else None)
        tracer = Tracer(self._layers, recorder.kept, self._asked.batch.input_shape)
        values = [self._value(number, tracer, answers) for number in range(len(self._chosen))]
        recorder.clear()
        return values if torch.is_grad_enabled() else [value.detach() for value in values]

    def _value(self, number: int, tracer: Tracer, answers: Sequence[Answers]) -> Tensor:
        if self._dense[number]:
            try:
                return self._followed(self._chosen[number], tracer, len(answers))
            except TargetError:  # a head that does not say which of its numbers are class scores
                self._dense[number] = False
        return self._answered(self._chosen[number], answers)

    def _followed(self, chosen: Chosen, tracer: Tracer, count: int) -> Tensor:
        make = _MAKERS[chosen.part]
        each = [
            torch.stack([make(tracer.again(found, image), tracer) for found in chosen.founds]).sum()
            for image in range(count)
        ]
        return torch.stack(each).float()

    def _answered(self, chosen: Chosen, answers: Sequence[Answers]) -> Tensor:
        return torch.stack([(chosen.again or chosen.measured)(each).float() for each in answers])
