"""What an explainer has to be: a method that says which part of an image made a model answer as it did."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from featmap.geometry import Cells
from featmap.reducers.base import one_thread
from featmap.tokens import Tokens

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from featmap.asked import Asked
    from featmap.models.protocol import AnyModel, Batch
    from featmap.placement import Placement

GROUPS = (
    'element-wise gradient',
    'channel-weighted gradient',
    'input gradient',
    'perturbation',
    'attention',
    'baseline',
)


@dataclass(frozen=True)
class Heat:
    """How much each cell of a map had to do with an answer.

    Attributes:
        values: (h, w) float32, 0 or more.
        cells: How the cells lie in the network input.
        layer: Which layer's cells they are; empty for the network input itself.
        shape: (C, h, w) of what they were made of.
        note: What has to be known of the values, such as ``2,000 masks, converged to 0.98``.
        path: Where in the layer's output: ``[0]``.
        call: Number of the call of the layer, from 0.
        calls: How often it was called.
        tokens: Of which tokens the map was made; None of none.
    """

    values: Tensor
    cells: Cells
    layer: str = ''
    shape: tuple[int, int, int] | None = None
    note: str = ''
    path: str = ''
    call: int = 0
    calls: int = 1
    tokens: Tokens | None = None


class Explainer(ABC):  # noqa: B024 each kind has another question to answer
    """A method, registered in EXPLAINERS under its name; arguments of its own have defaults.

    Attributes:
        name: What it is registered as.
        group: One of :data:`GROUPS`.
        class_agnostic: Whether it shows the same whatever is explained.
        takes_layers: Whether it works on layers, and not on the network input alone.
        needs_graph: Whether what is explained has to have gradients.
        begins_graph: Whether what it enters around the forward is where the graph may begin.
        takes_parts: Whether it tells the parts of a detection apart, such as its sides; else it explains the score.
    """

    name: ClassVar[str] = ''
    group: ClassVar[str] = ''
    class_agnostic: ClassVar[bool] = False
    takes_layers: ClassVar[bool] = False
    needs_graph: ClassVar[bool] = True
    begins_graph: ClassVar[bool] = False
    takes_parts: ClassVar[bool] = True

    def watching(self, network: AnyModel, placement: Placement, batch: Batch) -> AbstractContextManager[Any]:
        """Entered around the forward that targets are chosen from; nothing by default."""
        return nullcontext()

    def forget(self) -> None:  # noqa: B027 most have nothing
        """Let go of what was watched, and of its graph: the image is explained, or cannot be."""


class MapExplainer(Explainer):
    """Makes the heat of one layer's map out of the map and of the gradient of what is explained."""

    takes_layers = True

    @abstractmethod
    def explain(self, features: Tensor, gradient: Tensor) -> Tensor:
        """(C, h, w) features and gradient, float32 without a graph, to (h, w); what is below 0 is cut off later."""

    def heat(self, features: Tensor, gradient: Tensor) -> Tensor:
        """As :meth:`explain`, of any type and with a graph or without: (h, w) float32 from 0 up, NaN if not finite."""
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False), one_thread(features):
            values = self.explain(features.detach().float(), gradient.detach().float()).clamp(min=0)
            return values.masked_fill(torch.isinf(values), torch.nan)


class AskingExplainer(Explainer):
    """Asks the model about changed forms of the image; what is asked serves all targets."""

    @abstractmethod
    def explain(self, asked: Asked, chosen: Sequence[Any], layers: Sequence[Any] = ()) -> list[list[Heat]]:
        """For each of the targets its heats: one on the network input, or one for each of the layers.

        Args:
            asked: The image and the model.
            chosen: What is explained, each with ``measure(answers)``.
            layers: Layers, resolved :class:`featmap.layers.Target`, where the method works on layers.
        """
