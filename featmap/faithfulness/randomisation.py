"""Whether a map has to do with what the model learned: weights become noise from the top down, and it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

LIMIT = 0.98
"""The correlation with the true map from which on a map counts as the same."""


@dataclass(frozen=True)
class Randomisation:
    """How a map fared as more and more of the model's weights became noise.

    A check to pass or to fail, and no ranking (2211.12486): how fast a map changes depends on the model and the map's
    resolution, and not only on how faithful it is.

    Attributes:
        stages: What became noise in each step, in addition to all before: names of modules.
        similarity: (len(stages),) the correlation of the map with the true one, −1 to 1; 0 where one of them is flat.
        limit: The correlation from which on a map counts as the same.
    """

    stages: tuple[str, ...]
    similarity: tuple[float, ...]
    limit: float = LIMIT

    @property
    def passed(self) -> bool:
        """Whether the map was another one after each stage, the first of them included."""
        return bool(self.similarity) and max(self.similarity) < self.limit

    def __str__(self) -> str:
        """``passed: correlation 0.94 at most with random weights``, or at which stage it failed."""
        if self.passed:
            return f'passed: correlation {max(self.similarity):.2f} at most with random weights'
        same = next((pair for pair in zip(self.stages, self.similarity) if pair[1] >= self.limit), ('nothing', 1.0))
        return f'failed: correlation {same[1]:.2f} with random weights in {same[0]}'


def cascade(
    explain: Callable[[], np.ndarray],
    model: nn.Module,
    within: np.ndarray | None = None,
    stages: Sequence[str] = (),
    seed: int = 0,
    limit: float = LIMIT,
) -> Randomisation:
    """Cascading parameter randomisation (1810.03292): the map after each stage's weights, from the top down, are noise.

    The model is left exactly as it was, also where ``explain`` fails.

    Args:
        explain: The map (H, W) of one and the same raw prediction under the model's present weights: whatever it is
            that is found by then, it has to be the map of that number of the model's output.
        model: The model.
        within: (H, W) bool: where the maps are compared; None for everywhere. A raw prediction of a detector sees
            little more than the object, whatever the weights are: that the heat is there says nothing, and what
            counts is where in the box it is.
        stages: Names of modules, the one nearest to the output first; by default :func:`stages_of`.
        seed: Of the noise.
        limit: The correlation from which on a map counts as the same.
    """
    names = tuple(stages) or tuple(stages_of(model))
    truth = explain()
    where = np.ones(truth.shape, bool) if within is None else within
    found = []
    with kept(model):
        for number, name in enumerate(names):
            randomise(model.get_submodule(name), seed + number)
            found.append(correlation(truth[where], explain()[where]))
    return Randomisation(names, tuple(found), limit)


def stages_of(model: nn.Module) -> list[str]:
    """The modules that a model consists of, down to the children of its children, the last defined first.

    Most models define their layers in the order in which they run.
    """
    found = []
    for name, child in model.named_children():
        below = [f'{name}.{each}' for each, part in child.named_children() if any(True for _ in part.parameters())]
        own = any(True for _ in child.parameters(recurse=False))
        found += below if below and not own else [name] if any(True for _ in child.parameters()) else []
    return found[::-1]


@contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Whatever happens to parameters and buffers inside, the same numbers are in the same tensors afterwards."""
    tensors = [*model.parameters(), *model.buffers()]
    copies = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies):
                tensor.copy_(copy)


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Make noise of a module's parameters, in place: normal, with the mean and the deviation that each had.

    So signals keep about their size, and what changes is what was learned. Buffers, such as the statistics of batch
    norms, stay.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point():
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.copy_(parameter.mean() + noise * _deviation(parameter))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's, of two arrays of the same shape; 0 where one of them is flat."""
    a, b = (np.nan_to_num(heat).astype(np.float64).ravel() for heat in (first, second))
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else 0.0


def _deviation(parameter: Tensor) -> Tensor | float:
    return parameter.std() if parameter.numel() > 1 else abs(float(parameter))
