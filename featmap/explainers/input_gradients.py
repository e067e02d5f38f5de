"""Gradients with respect to the network input, of many forms of one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from featmap.errors import LayerError, OptionError
from featmap.explainers.base import Heat
from featmap.geometry import Cells

if TYPE_CHECKING:
    from featmap.asked import Asked

Track = Callable[[Tensor], Sequence[Tensor]]
"""Network inputs (B, C, H, W) in a graph to one (B,) for each target: its value at each of the inputs."""


def gradients(track: Track, inputs: Iterable[Tensor], batch_size: int) -> Iterator[tuple[range, int, Tensor, Tensor]]:
    """The targets' values and gradients at each of the inputs, ``batch_size`` of them at a time.

    Args:
        track: The targets.
        inputs: Each (C, H, W); they are taken when their turn comes.
        batch_size: How many go through the network at a time.

    Yields:
        The numbers of the inputs, the number of the target, its values (B,) and gradients (B, C, H, W) there, float32.

    Raises:
        LayerError: where a target does not depend on the input.
    """
    waiting = iter(inputs)
    begin = 0
    while batch := list(islice(waiting, batch_size)):
        numbers = range(begin, begin + len(batch))
        begin += len(batch)
        with torch.enable_grad():
            asked = torch.stack(batch).detach().requires_grad_()
            values = track(asked.clone())  # a model may write into its input
            # The inputs are apart from one another, so that the gradient of a sum over them holds each one's own.
            totals = [value.sum() for value in values]
        for target, total in enumerate(totals):
            gradient = None
            if total.requires_grad:
                more = target < len(totals) - 1
                (gradient,) = torch.autograd.grad(total, asked, retain_graph=more, allow_unused=True)
            if gradient is None:
                raise LayerError('the target does not depend on the network input: gradients are cut off on the way')
            yield numbers, target, values[target].detach().float(), gradient.float()


def on_input(values: Tensor, cell: int, asked: Asked, note: str) -> Heat:
    """Heat of what the network input's own pixels add, (H, W): each cell of ``cell`` × ``cell`` pixels has their sum.

    Strided convolutions leave a pattern of single pixels, up and down, that means nothing and adds up to nothing.
    """
    height, width = values.shape
    whole = nn.functional.pad(values, (0, -width % cell, 0, -height % cell))
    added = whole.unflatten(0, (-1, cell)).unflatten(2, (-1, cell)).sum(dim=(1, 3))
    shape = (len(asked.inputs), *added.shape)
    return Heat(added.clamp(min=0), Cells((float(cell), float(cell)), known=True), shape=shape, note=note)


def counted_from_one(name: str, value: Any) -> int:
    """A number of forwards.

    Raises:
        OptionError: where it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f'{name}={value!r}: expected a whole number from 1 up')
    return value
