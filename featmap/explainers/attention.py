"""Attention as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from featmap.attention import (
    AttentionTape,
    Sampling,
    Step,
    asked_rows,
    gradients_of,
    keys_by,
    on_finest,
    splat,
)
from featmap.errors import LayerError, OptionError
from featmap.explainers.base import AskingExplainer, Heat
from featmap.registry import EXPLAINERS
from featmap.tokens import Tokens
from featmap.wording import option as written

if TYPE_CHECKING:
    from featmap.asked import Asked
    from featmap.models.protocol import AnyModel, Batch
    from featmap.placement import Placement

_LEVELS = ('sum', 'each')


@EXPLAINERS.register_module('attention')
class Attention(AskingExplainer):
    """What the object query of a detection attends to: its row of softmax(q kᵀ / √d), as a mean over heads.

    Carion et al., "End-to-End Object Detection with Transformers", arXiv 2005.12872: the cross-attention of the
    decoder's last layer, or of the layers that are named. Of deformable attention (Zhu et al., arXiv 2010.04159) each
    weight stands where it samples, shared by the four cells around it; levels add up on the grid of the finest. Of a
    class it is the row of the class token, or of what else pools the tokens, in the last attention, which is the same
    for all classes. Attention says where information may have come from; what of it spoke for the target is what
    ``generic_attention`` asks.

    Args:
        levels: ``sum`` of the levels of deformable attention, or ``each`` by itself.
    """

    name = 'attention'
    group = 'attention'
    begins_graph = True
    takes_parts = False

    def __init__(self, levels: str = 'sum') -> None:
        if levels not in _LEVELS:
            raise OptionError(f'levels={levels!r} of the method attention: expected one of {", ".join(_LEVELS)}')
        self.levels = levels
        self._tape: AttentionTape | None = None

    def watching(self, network: AnyModel, placement: Placement, batch: Batch) -> AttentionTape:
        self._tape = AttentionTape(network.model, keys_by(placement, network.model, batch.input_shape), strict=True)
        return self._tape

    def explain(self, asked: Asked, chosen: Sequence[Any], layers: Sequence[Any] = ()) -> list[list[Heat]]:
        assert self._tape is not None, 'watching comes first'
        return [self._heats(each, [target.name for target in layers], self._tape) for each in chosen]

    def forget(self) -> None:
        self._tape = None

    def _heats(self, chosen: Any, names: Sequence[str], tape: AttentionTape) -> list[Heat]:
        queries = [trace.query for trace in chosen.traces if trace.query is not None]
        across = [each for each in tape.taken if each.across]
        if queries and across:
            rows = torch.zeros(len(across[-1]))
            rows[queries] = 1
            fitting, note = across, ''
        else:
            step, gradient = gradients_of(chosen.scalar, tape)[-1]
            rows = asked_rows(step, gradient).cpu()
            if not step.across and any(bool(rows[each.numbers.cpu()].any()) for each in step.keys.maps):
                raise LayerError(
                    f'{chosen.name} comes of the tokens of cells, and of no object query or class token whose '
                    f'attention could be drawn: {written("method", ["layercam"])} goes with any model'
                )
            fitting = [each for each in tape.taken if each.across == step.across and len(each) == len(step)]
            note = '' if chosen.boxes is not None else 'the same for all classes'
        named = [each for each in fitting if any(f'{each.layer}.'.startswith(f'{name}.') for name in names)]
        return [heat for each in named or fitting[-1:] for heat in self._of(each, rows, note)]

    def _of(self, item: Step | Sampling, rows: Tensor, note: str) -> list[Heat]:
        if len(item) != len(rows):
            raise LayerError(f'{item.layer} has {len(item)} rows of attention, expected {len(rows)}')
        if isinstance(item, Sampling):
            return self._sampled(item, rows.nonzero().flatten().tolist())
        if not item.keys.maps:
            raise LayerError(f'the place of what {item.layer} attends to is not known: {item.keys.reason}')
        weights = item.heads_of(item.joined.detach()).float()
        row = torch.einsum('r,hrk->k', rows.to(weights), weights) / len(weights)
        count, maps = int(weights.shape[2]), item.keys.maps
        tokens = Tokens(count, count - sum(each.numbers.numel() for each in maps))
        return [
            Heat(
                row[each.numbers],
                each.cells,
                item.layer,
                (len(weights), int(each.numbers.shape[0]), int(each.numbers.shape[1])),
                note,
                path=f'[level {level}]' if len(maps) > 1 else '',
                tokens=tokens,
            )
            for level, each in enumerate(maps)
        ]

    def _sampled(self, item: Sampling, queries: Sequence[int]) -> list[Heat]:
        samples, cells = item.samples, [each.cells for each in item.keys.maps]
        heads, points = int(samples.weights.shape[1]), int(samples.weights.shape[2])
        planes = [
            torch.stack([splat(*samples.of(query, level), shape) for query in queries]).sum(dim=0)
            for level, shape in enumerate(samples.shapes)
        ]
        note = f'{heads * points} samples of {len(planes)} levels'
        if self.levels == 'sum':
            total, onto = on_finest(planes, cells)
            return [Heat(total, onto, item.layer, (heads, int(total.shape[0]), int(total.shape[1])), note)]
        return [
            Heat(plane, own, item.layer, (heads, *shape), note, path=f'[level {level}]')
            for level, (plane, own, shape) in enumerate(zip(planes, cells, samples.shapes))
        ]
