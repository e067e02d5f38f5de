"""Integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from featmap.explainers.input_gradients import Track, gradients


@dataclass(frozen=True)
class Attribution:
    """What each value of the network input adds to a target.

    Attributes:
        values: (C, H, W) float32.
        change: The target at the image less the target at the baseline, which they should add up to.
    """

    values: Tensor
    change: float

    @property
    def error(self) -> float:
        """By how much they miss the change, as a share of it; infinite where nothing changed but something is said."""
        missed = abs(float(self.values.double().sum()) - self.change)
        return missed / abs(self.change) if self.change else (torch.inf if missed else 0.0)


def integrated(
    track: Track, image: Tensor, baseline: Tensor, steps: int = 50, batch_size: int = 8
) -> list[Attribution]:
    """Each target's attributions: (x − x') ⊙ ∫ ∂y/∂x (x' + t (x − x')) dt, t from 0 to 1, by the Gauss–Legendre rule.

    Args:
        track: The targets.
        image: x, (C, H, W).
        baseline: x', alike.
        steps: How many forms of the image on the way are asked about.
        batch_size: How many go through the network at a time.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    nodes, weights = (nodes + 1) / 2, weights / 2
    step = image - baseline
    means: list[Tensor] = []
    for numbers, target, _, found in gradients(track, (baseline + float(t) * step for t in nodes), batch_size):
        if target == len(means):
            means.append(torch.zeros_like(step, dtype=torch.float32))
        share = torch.from_numpy(weights[numbers.start : numbers.stop]).to(found)
        means[target] += torch.einsum('b,bchw->chw', share, found)
    with torch.no_grad():
        ends = track(torch.stack([image, baseline]))
    return [
        Attribution(mean * step.float(), float(end[0].double() - end[1].double())) for mean, end in zip(means, ends)
    ]
