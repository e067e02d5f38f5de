"""Integrated gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from featmap.explainers.base import AskingExplainer, Heat
from featmap.explainers.input_gradients import Track, counted_from_one, gradients, on_input
from featmap.registry import EXPLAINERS
from featmap.targets.tracked import Tracked

if TYPE_CHECKING:
    from featmap.asked import Asked

_COMPLETE = 0.05  # the share of a change up to which attributions are said to add up to it


@EXPLAINERS.register_module('integrated_gradients')
class IntegratedGradients(AskingExplainer):
    """What each pixel adds to a target on the way from an image with nothing on it; what it takes away is cut off.

    (x − x') ⊙ ∫ ∂y/∂x (x' + t (x − x')) dt, t from 0 to 1. Sundararajan et al., "Axiomatic Attribution for Deep
    Networks", arXiv 1703.01365. All of them add up to y(x) − y(x'): by how much they miss it is said, and more steps
    miss it by less. The rule is Gauss and Legendre's, as captum's.

    Args:
        steps: How many forms of the image on the way are asked about.
        baseline: The image with nothing on it, see :meth:`featmap.asked.Asked.baseline`.
        cell: Pixels of the network input along each side of a cell, over which what they add is added up.
    """

    name = 'integrated_gradients'
    group = 'input gradient'

    def __init__(self, steps: int = 50, baseline: str = 'blur', cell: int = 2) -> None:
        self.steps = counted_from_one('steps', steps)
        self.baseline = baseline
        self.cell = counted_from_one('cell', cell)

    def explain(self, asked: Asked, chosen: Sequence[Any], layers: Sequence[Any] = ()) -> list[list[Heat]]:
        """For each target one heat on the network input, at its own resolution."""
        track = Tracked(asked, chosen)
        found = integrated(track, asked.inputs, asked.baseline(self.baseline), self.steps, asked.batch_size)
        return [
            [on_input(each.values.sum(dim=0), self.cell, asked, self._note(each, track.told(number)))]
            for number, each in enumerate(found)
        ]

    def _note(self, found: Attribution, told: str) -> str:
        """How the map was made, and whether it is complete."""
        short = '' if found.error <= _COMPLETE else ': more steps are needed'
        steps = f'{self.steps} steps from {self.baseline}'
        return f'{steps}, adds up within {found.error:.1%}{short}' + (f', {told}' if told else '')


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
