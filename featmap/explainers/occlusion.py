"""``occlusion``: a window that is moved over the image, and what of the target is lost where it stands."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from featmap.asked import Asked
from featmap.errors import OptionError
from featmap.explainers.base import AskingExplainer, Heat
from featmap.layers import Target
from featmap.perturbing import Frame, Masked, Windows
from featmap.registry import EXPLAINERS
from featmap.targets import Chosen


@EXPLAINERS.register_module(name='occlusion')
class Occlusion(AskingExplainer):
    """What is lost where a window hides it: ``relu(mean over windows on it (y - y without the window))``.

    Zeiler and Fergus (1311.2901), with windows that overlap: each cell has the mean over all that hide it.

    Args:
        cells: Cells along the image's longer side, by which the window is moved.
        size: Cells along each side of the window.
        baseline: What is seen in the window, see :meth:`featmap.asked.Asked.baseline`.
    """

    name = 'occlusion'
    group = 'perturbation'
    needs_graph = False
    takes_parts = False

    def __init__(self, cells: int = 24, size: int = 2, baseline: str = 'blur') -> None:
        if cells < 1 or size < 1:
            raise OptionError(f'occlusion with cells={cells}, size={size}: expected 1 or more')
        self.cells, self.size, self.baseline = cells, size, baseline

    def explain(self, asked: Asked, chosen: Sequence[Chosen], layers: Sequence[Target] = ()) -> list[list[Heat]]:
        """For each target one heat, on the part of the network input that holds image."""
        frame = Frame.of(asked.geometry)
        grid = frame.grid(self.cells)
        windows = Windows(frame, grid, self.size, asked.inputs.device)
        value = Masked(asked, chosen, self.baseline)
        whole = value(torch.ones(1, *frame.shape, device=asked.inputs.device))
        lost = windows.spread(whole - value(windows))
        return [[Heat(plane.clamp(min=0), frame.cells(grid), note=f'{len(windows):,} windows')] for plane in lost]
