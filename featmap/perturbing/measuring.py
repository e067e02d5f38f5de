"""What a model makes of an image of which masks hide a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from featmap.perturbing.blending import Blend
from featmap.targets import measure_all

if TYPE_CHECKING:
    from featmap.asked import Asked
    from featmap.targets import Chosen

Progress = Callable[[int, int], None]
"""Told how many forwards are done, of how many."""


class Masks(Protocol):
    """Masks over a network input, (N, H, W), 1 where the image is kept; made as they are asked for. A tensor is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


class Masked:
    """Targets measured on one image of which masks hide a part.

    Args:
        asked: The model and its image.
        chosen: The targets; they share the forwards.
        baseline: What is seen where the image is hidden, see :meth:`featmap.asked.Asked.baseline`.
    """

    def __init__(self, asked: Asked, chosen: Sequence[Chosen], baseline: str) -> None:
        self._asked = asked
        self._chosen = chosen
        self._blend = Blend.of(asked, baseline)

    def __call__(self, masks: Masks, part: slice | None = None, progress: Progress | None = None) -> Tensor:
        """The value of each target for each mask.

        Args:
            masks: The masks.
            part: Which of them; None for all.
            progress: Told after each batch.

        Returns:
            (T, N) float32, on the model's device.
        """
        start, stop, _ = (part or slice(None)).indices(len(masks))
        found = []
        for first in range(start, stop, self._asked.batch_size):
            end = min(first + self._asked.batch_size, stop)
            inputs = self._blend(masks[first:end])
            values = measure_all(self._chosen, self._asked.answer(inputs))
            found.append(values.to(inputs.device))  # what answers without boxes are measured by may lie on the host
            if progress is not None:
                progress(end, len(masks))
        return torch.cat(found, dim=1)
