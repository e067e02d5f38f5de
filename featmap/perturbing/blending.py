"""One image blended with a baseline by masks."""

from __future__ import annotations

import torch
from torch import Tensor


class Blend:
    """``mask · image + (1 - mask) · baseline``, in memory of its own that is used again for every batch.

    Fresh memory for each batch takes ten times as long as the arithmetic: the system hands it out page by page.

    Args:
        image: (C, H, W), a network input.
        baseline: (C, H, W), what is seen where nothing is kept.
        channels_last: Whether the model wants its input so in memory.
    """

    def __init__(self, image: Tensor, baseline: Tensor, channels_last: bool = False) -> None:
        self._baseline = baseline.to(image).contiguous()
        self._difference = image.contiguous() - self._baseline
        self._channels_last = channels_last
        self._plain = self._laid_out = image.new_empty(0)

    def __call__(self, masks: Tensor) -> Tensor:
        """Network inputs.

        Args:
            masks: (B, H, W), 1 where the image is kept and 0 where it is not.

        Returns:
            (B, C, H, W), valid until the next call.
        """
        shape = len(masks), *self._difference.shape
        if len(self._plain) < len(masks):
            self._plain = self._laid_out = self._difference.new_empty(shape)
            if self._channels_last:
                self._laid_out = torch.empty_like(self._plain, memory_format=torch.channels_last)
        plain = self._plain[: len(masks)]
        torch.addcmul(self._baseline, masks[:, None].to(plain), self._difference, out=plain)
        return self._laid_out[: len(masks)].copy_(plain) if self._channels_last else plain
