"""Deformable attention: where its queries sample the levels of a pyramid, and with which weights.

Zhu et al., Deformable DETR, arXiv 2010.04159: a query has a few positions a head and level, its reference point plus
offsets that a linear layer makes of it, and weights by a softmax over all of a head's.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featmap.errors import LayerError

_HEADS, _POINTS = ('num_heads', 'n_heads'), ('num_points_list', 'n_points_list')
_SHAPES = ('spatial_shapes', 'input_spatial_shapes', 'value_spatial_shapes')
_LEFT_OUT = ('key_padding_mask', 'input_padding_mask')  # true where there is no image
_KEPT = ('attention_mask',)  # true where there is
_ROUNDING, _STEPS = 1e-3, 32
"""What may differ, as a share of what is read: so much, or so many steps of the coarsest type on the way, to which
positions are rounded too."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What one call of deformable attention sampled.

    Attributes:
        weights: (rows, heads, samples) float32; each head's add up to 1.
        locations: (rows, heads, samples, 2), x and y as shares of a level's width and height.
        levels: (samples,), which level each is of.
        shapes: Height and width of each level, in cells.
    """

    weights: Tensor
    locations: Tensor
    levels: Tensor
    shapes: tuple[tuple[int, int], ...]

    def of(self, row: int, level: int) -> tuple[Tensor, Tensor]:
        """Weights (n,), each head's divided by the number of heads, and locations (n, 2) of a row on a level."""
        here = self.levels == level
        return self.weights[row][:, here].flatten() / self.weights.shape[1], self.locations[row][:, here].flatten(0, 1)

    def read(self, values: Tensor, rows: Sequence[int]) -> Tensor:
        """What these rows read of values (keys, C), with the channels of head after head: (rows, C)."""
        heads, start = int(self.weights.shape[1]), 0
        total = values.new_zeros(len(rows), values.shape[1], dtype=torch.float32)
        for level, (height, width) in enumerate(self.shapes):
            plane = values[start : start + height * width].float().T.reshape(heads, -1, height, width)
            start += height * width
            here = self.levels == level
            grid = self.locations[rows][:, :, here].transpose(0, 1) * 2 - 1
            found = F.grid_sample(plane, grid.float(), padding_mode='zeros', align_corners=False)
            weighed = found * self.weights[rows][:, :, here].transpose(0, 1)[:, None]
            total += weighed.sum(dim=-1).permute(2, 0, 1).flatten(1)
        return total


def is_deformable(module: nn.Module) -> bool:
    """Whether a module is deformable attention: linear layers make its offsets and its weights."""
    return all(isinstance(getattr(module, name, None), nn.Module) for name in ('sampling_offsets', 'attention_weights'))


class SamplesWatch:
    """Takes down, by hooks on a module's parts, what it samples in its next call.

    Args:
        layer: The module's name.
        module: Deformable attention, of MMCV, transformers or the original repositories, by whatever kernel it runs.
    """

    def __init__(self, layer: str, module: nn.Module) -> None:
        self._layer = layer
        self._module = module
        self._seen: dict[str, Tensor] = {}
        self._given: dict[str, Any] = {}

    def attach(self) -> list[Any]:
        """The handles of the hooks."""
        handles = [self._module.register_forward_pre_hook(self._begin, with_kwargs=True)]
        for name in ('sampling_offsets', 'attention_weights', 'value_proj'):
            part = getattr(self._module, name, None)
            if isinstance(part, nn.Module):
                handles.append(part.register_forward_hook(self._made(name)))
        last = getattr(self._module, 'output_proj', None)
        if isinstance(last, nn.Module):
            handles.append(last.register_forward_pre_hook(self._ended))
        return handles

    def samples(self, output: Any) -> tuple[Samples, Tensor]:
        """What the call that has just ended, with this output, sampled; and the values (1, keys, C) that it did of.

        Raises:
            LayerError: where the module samples otherwise than by the paper's formulas, so that it cannot be said.
        """
        with torch.no_grad():
            return self._checked(output)

    def _checked(self, output: Any) -> tuple[Samples, Tensor]:
        try:
            found, values = self._found()
        except (KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise LayerError(f'{self._name} cannot be read: {type(error).__name__}: {error}') from error
        made = self._seen.get('output')  # before its last projection, where it has one
        if made is None:
            made = output[0] if isinstance(output, (tuple, list)) else output
        types = {each.dtype for each in (*self._seen.values(), made)}
        steps = max(torch.finfo(each).eps for each in types)
        self._check(found, values[0], made[0], max(_ROUNDING, _STEPS * steps))
        self._seen, self._given = {}, {}
        return found, values

    @property
    def _name(self) -> str:
        return f'{self._layer} ({type(self._module).__name__})'

    def _found(self) -> tuple[Samples, Tensor]:
        offsets, logits = (self._seen[name].detach().float() for name in ('sampling_offsets', 'attention_weights'))
        heads = next(int(getattr(self._module, name)) for name in _HEADS if hasattr(self._module, name))
        given = next(self._given[name] for name in _SHAPES if self._given.get(name) is not None)
        shapes = tuple((int(height), int(width)) for height, width in given)
        if len(logits) != 1:
            raise ValueError(f'{len(logits)} images at once')
        rows, count = int(logits.shape[1]), int(logits.shape[2]) // heads
        lists = [getattr(self._module, name) for name in _POINTS if hasattr(self._module, name)]
        points = [int(each) for each in lists[0]] if lists else [count // len(shapes)] * len(shapes)
        device = logits.device
        levels = torch.arange(len(shapes), device=device).repeat_interleave(torch.tensor(points, device=device))
        weights = logits.view(rows, heads, count).softmax(dim=-1)
        offsets = offsets.view(rows, heads, count, 2)
        reference = self._given['reference_points'].detach().float()[0]
        reference = reference[:, levels if reference.shape[1] > 1 else torch.zeros_like(levels)][:, None]
        if reference.shape[-1] == 2:
            extents = torch.tensor([(width, height) for height, width in shapes], device=device)
            locations = reference + offsets / extents[levels]
        else:
            scale = float(getattr(self._module, 'offset_scale', 0.5))
            per_level = torch.tensor(points, device=device)[levels][:, None]
            locations = reference[..., :2] + offsets / per_level * reference[..., 2:] * scale
        return Samples(weights, locations, levels, shapes), self._values()

    def _values(self) -> Tensor:
        if 'value_proj' in self._seen:
            values = self._seen['value_proj']
        else:
            values = self._given['encoder_hidden_states']
        return values

    def _check(self, found: Samples, values: Tensor, made: Tensor, share: float) -> None:
        """Some rows of what it put out are what is read there, with those weights."""
        values, made = values.detach(), made.detach()
        for names, empty in ((_LEFT_OUT, True), (_KEPT, False)):
            mask = next((self._given[name] for name in names if isinstance(self._given.get(name), Tensor)), None)
            if mask is not None and mask.dtype == torch.bool and mask.shape[-1] == len(values):
                values = values.masked_fill((mask if empty else ~mask).view(-1, 1), 0)
        rows = sorted({0, len(made) // 2, len(made) - 1})
        with torch.autocast(values.device.type, enabled=False):
            expected = found.read(values, rows)
        off, size = float((made[rows].float() - expected).abs().max()), float(expected.abs().max())
        if not off <= share * max(size, 1e-6):
            raise LayerError(
                f'{self._name} samples otherwise than deformable attention does: what its weights and locations read '
                f'differs from what it made of them by {off:.3g} of {size:.3g}'
            )

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._seen = {}
        try:
            bound = inspect.signature(module.forward).bind(*args, **kwargs)
        except TypeError:
            return  # the call fails by itself, and says why
        given = dict(bound.arguments)
        for extra in [name for name, value in given.items() if isinstance(value, dict)]:
            given.update(given.pop(extra))
        self._given = given

    def _made(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._seen[name] = output

        return hook

    def _ended(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._seen['output'] = inputs[0]
