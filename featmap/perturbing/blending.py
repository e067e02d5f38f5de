"""One image blended with a baseline by masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from featmap.asked import Asked


class Blend:
    """``mask · image + (1 - mask) · baseline``, in memory of its own that is used again for every batch.

    Fresh memory for each batch takes ten times as long as the arithmetic: the system hands it out page by page.

    Args:
        image: (C, H, W), a network input.
        baseline: (C, H, W), what is seen where nothing is kept.
        channels_last: Whether the model wants its input so in memory.
    """

    def __init__(self, image: Tensor, baseline: Tensor, channels_last: bool = False) -> None:
        self._layout = layout = torch.channels_last if channels_last else torch.contiguous_format
        baseline, image = baseline.to(image)[None], image[None]
        self._baseline = baseline.contiguous(memory_format=layout)
        self._difference = (image - baseline).contiguous(memory_format=layout)
        self._inputs = self._difference[:0]

    @classmethod
    def of(cls, asked: Asked, baseline: str) -> Blend:
        """Of the image that is asked about, in the memory layout that its model is fed with.

        Args:
            asked: The image and the model.
            baseline: See :meth:`featmap.asked.Asked.baseline`.
        """
        inputs = asked.batch.inputs
        last = inputs.is_contiguous(memory_format=torch.channels_last) and not inputs.is_contiguous()
        return cls(asked.inputs, asked.baseline(baseline), last)

    def __call__(self, masks: Tensor) -> Tensor:
        """Network inputs.

        Args:
            masks: (B, H, W), 1 where the image is kept and 0 where it is not.

        Returns:
            (B, C, H, W), valid until the next call.
        """
        if len(self._inputs) < len(masks):
            self._inputs = torch.empty_like(self._difference.expand(len(masks), -1, -1, -1), memory_format=self._layout)
        # In three steps, each along the memory as it lies: a mask that is broadcast over channels is read out of turn.
        return self._inputs[: len(masks)].copy_(masks[:, None]).mul_(self._difference).add_(self._baseline)
