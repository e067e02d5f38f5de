"""A model whose every answer can be worked out by hand, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from featmap.answers import Answers
from featmap.asked import Asked
from featmap.geometry import ImageGeometry
from featmap.models.protocol import AnyModel, Batch
from featmap.structures import Detections
from featmap.targets import Chosen


class Plain(AnyModel):
    """Feeds a module with levels of 0 to 1, and answers with what it returns of each image.

    Attributes:
        sizes: Of the batches that it has answered to.
    """

    def __init__(self, module: nn.Module, padding: int = 0) -> None:
        self.model = module.eval()
        self.device = torch.device('cpu')
        self.padding = padding
        self.sizes: list[int] = []

    @property
    def provenance(self) -> Mapping[str, str | None]:
        return {}

    def prepare(self, images: Sequence[np.ndarray], contiguous: bool = False, over_input: bool = False) -> Batch:
        """Padded with grey above."""
        inputs = torch.stack([torch.from_numpy(image).permute(2, 0, 1) / 255 for image in images])
        inputs = nn.functional.pad(inputs, (0, 0, self.padding, 0), value=0.5)
        shape = (int(inputs.shape[2]), int(inputs.shape[3]))
        return Batch(inputs, tuple(ImageGeometry(image.shape[:2], shape, offset=(0, self.padding)) for image in images))

    def _predict(self, batch: Batch) -> tuple[Detections, ...] | None:
        with torch.no_grad():
            self.model(batch.inputs)
        return None

    def _respond(self, batch: Batch, raw: float | None) -> tuple[Answers, ...]:
        self.sizes.append(len(batch.inputs))
        return tuple(Answers(output=output) for output in self.model(batch.inputs))


def asked_of(module: nn.Module, image: np.ndarray, *, padding: int = 0, seed: int = 0, batch_size: int = 8) -> Asked:
    """What can be asked of a module about an (H, W, 3) uint8 image."""
    network = Plain(module, padding)
    return Asked(network, image, network.prepare([image]), seed=seed, batch_size=batch_size)


def output(number: int | None = None) -> Chosen:
    """A target: what the module returns, or one of several numbers of it."""
    take: Callable[[Tensor], Tensor] = (lambda value: value) if number is None else (lambda value: value[number])
    return Chosen(torch.zeros(()), f'output {number}', measured=lambda answers: take(answers.output))
