"""SmoothGrad."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from featmap.explainers.input_gradients import Track, gradients


def smoothed(
    track: Track, image: Tensor, deviation: float, samples: int = 50, batch_size: int = 8, seed: int = 0
) -> list[Tensor]:
    """Each target's gradient, (C, H, W) float32, averaged over copies of the image with Gaussian noise.

    Args:
        track: The targets.
        image: (C, H, W).
        deviation: The standard deviation of the noise, in the input's own units.
        samples: How many copies.
        batch_size: How many go through the network at a time.
        seed: Of the noise, which is drawn on the host, copy by copy: the same on any device and in any batch size.
    """

    def noisy() -> Iterator[Tensor]:
        draw = torch.Generator().manual_seed(seed)
        for _ in range(samples):
            noise = torch.randn(image.shape, generator=draw) * deviation
            yield image + noise.to(image)

    sums: list[Tensor] = []
    for _, target, _, found in gradients(track, noisy(), batch_size):
        if target == len(sums):
            sums.append(torch.zeros_like(image, dtype=torch.float32))
        sums[target] += found.sum(dim=0)
    return [total / samples for total in sums]
