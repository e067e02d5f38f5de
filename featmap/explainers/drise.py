"""``drise``: random masks, weighted by how much of the target is left."""

from __future__ import annotations

from collections.abc import Sequence

from featmap.asked import Asked
from featmap.errors import OptionError
from featmap.explainers.base import AskingExplainer, Heat
from featmap.layers import Target
from featmap.perturbing import Frame, Masked, RandomMasks, influence
from featmap.registry import EXPLAINERS
from featmap.targets import Chosen

_FINENESS = 8  # cells of the heat along one cell of a mask: it is a cubic spline, which they follow within 1 %


@EXPLAINERS.register_module(name='drise')
class DRise(AskingExplainer):
    """What is kept where the target is kept: ``relu(cov(w, M))`` over random masks M, ``w = max IoU · score``.

    D-RISE (2006.03204), for classes RISE (1806.07421), with four differences. Of the paper's ``Σ w M``, what every
    place gets, ``mean(w) · Σ M``, is taken away: the same map in the limit but for a constant, nothing where nothing
    matters, and far less noise. The class is the target's own rather than the cosine of class vectors. What is hidden
    is blurred and not black, by which maps converge sooner and have more of their heat on the object. And it ends when
    the maps of the two halves of the masks correlate by ``until``.

    All targets share the masks, and the forwards.

    Args:
        masks: How many at most.
        cells: Cells of a mask along each side of a square image; by default 16, as in D-RISE, and 8 where it is not
            boxes that are explained, as in RISE. Of other images they are as many, and square as well.
        kept: The probability that a cell is kept.
        baseline: What is seen where it is not, see :meth:`featmap.asked.Asked.baseline`.
        until: The correlation of the halves, of the target where it is least, at which it ends; 1 for never.
    """

    name = 'drise'
    group = 'perturbation'
    needs_graph = False
    takes_parts = False

    def __init__(
        self,
        masks: int = 2000,
        cells: int | None = None,
        kept: float = 0.5,
        baseline: str = 'blur',
        until: float = 0.9,
    ) -> None:
        if masks < 2 or (cells is not None and cells < 1) or not 0 < kept < 1 or not 0 < until <= 1:
            raise OptionError(
                f'drise with masks={masks}, cells={cells}, kept={kept}, until={until}: expected 2 masks or more, 1 '
                'cell or more, and kept and until between 0 and 1'
            )
        self.masks, self.cells, self.kept, self.baseline, self.until = masks, cells, kept, baseline, until

    def explain(self, asked: Asked, chosen: Sequence[Chosen], layers: Sequence[Target] = ()) -> list[list[Heat]]:
        """For each target one heat, on the part of the network input that holds image."""
        frame = Frame.of(asked.geometry)
        boxed = all(each.box is not None or each.boxes is not None for each in chosen)
        cells = self.cells or (16 if boxed else 8)
        masks = RandomMasks(frame, self.masks, cells, self.kept, asked.seed, asked.inputs.device)
        grid = masks.grid(_FINENESS)
        value = Masked(asked, chosen, self.baseline)
        found = influence(lambda part: value(masks, part), masks, grid, self.until)
        return [
            [Heat(plane.clamp(min=0), frame.cells(grid), note=_told(found.masks, agreement))]
            for plane, agreement in zip(found.values, found.agreement)
        ]


def _told(masks: int, agreement: float) -> str:
    if agreement <= 0:
        return f'{masks:,} masks, not converged: their halves have nothing in common'
    return f'{masks:,} masks, whose halves correlate by {agreement:.2f}'
