"""SmoothGrad."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from featmap.errors import OptionError
from featmap.explainers.base import AskingExplainer, Heat
from featmap.explainers.input_gradients import Track, counted_from_one, gradients, on_input
from featmap.registry import EXPLAINERS
from featmap.targets.tracked import Tracked

if TYPE_CHECKING:
    from featmap.asked import Asked


@EXPLAINERS.register_module('smoothgrad')
class SmoothGrad(AskingExplainer):
    """How much a target is moved by each pixel, averaged over copies of the image with noise: Σ_c |mean ∂y/∂x_c|.

    Smilkov et al., "SmoothGrad: removing noise by adding noise", arXiv 1706.03825. The magnitude has no sign: heat is
    also where a pixel speaks against the target.

    Args:
        samples: How many copies.
        noise: The standard deviation of the noise, as a share of the input's range; the paper has 0.1 to 0.2.
        cell: Pixels of the network input along each side of a cell, over which their moves are added up.
    """

    name = 'smoothgrad'
    group = 'input gradient'

    def __init__(self, samples: int = 50, noise: float = 0.15, cell: int = 2) -> None:
        self.samples = counted_from_one('samples', samples)
        self.cell = counted_from_one('cell', cell)
        if not 0 <= noise < torch.inf:
            raise OptionError(f'smoothgrad: noise={noise!r}: expected a share of the range, such as 0.15')
        self.noise = noise

    def explain(self, asked: Asked, chosen: Sequence[Any], layers: Sequence[Any] = ()) -> list[list[Heat]]:
        """For each target one heat on the network input, at its own resolution."""
        track, image = Tracked(asked, chosen), asked.inputs
        deviation = self.noise * float(image.max() - image.min())
        found = smoothed(track, image, deviation, self.samples, asked.batch_size, asked.seed)
        note = f'{self.samples} copies with noise of {self.noise:.0%}'
        return [
            [on_input(each.abs().sum(dim=0), self.cell, asked, f'{note}, {track.told(number)}'.removesuffix(', '))]
            for number, each in enumerate(found)
        ]


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
