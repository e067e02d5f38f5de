"""Attention as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from featmap.attention import AttentionTape, Sampling, Step, is_across, keys_by, on_finest, splat
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
    class there is the class token's row of the last self-attention, which is the same for all classes. Attention says
    where information may have come from; what of it spoke for the target is what ``generic_attention`` asks.

    Args:
        levels: ``sum`` of the levels of deformable attention, or ``each`` by itself.
    """

    name = 'attention'
    group = 'attention'

    def __init__(self, levels: str = 'sum') -> None:
        if levels not in _LEVELS:
            raise OptionError(f'levels={levels!r} of the method attention: expected one of {", ".join(_LEVELS)}')
        self.levels = levels
        self._tape: AttentionTape | None = None

    def watching(self, network: AnyModel, placement: Placement, batch: Batch) -> AttentionTape:
        by_query = any(layer.kind == 'query' for layer in network.raw_layers())

        def wanted(layer: str, rows: int, keys: int) -> bool:
            return not by_query or rows != keys or rows == 0 or is_across(layer)

        keys_of = keys_by(placement, network.model, batch.input_shape)
        self._tape = AttentionTape(network.model, keys_of, wanted, strict=True)
        return self._tape

    def explain(self, asked: Asked, chosen: Sequence[Any], layers: Sequence[Any] = ()) -> list[list[Heat]]:
        assert self._tape is not None, 'watching comes first'
        names = [target.name for target in layers]
        try:
            with torch.no_grad():
                return [self._heats(each, names, self._tape.taken) for each in chosen]
        finally:
            self._tape.clear()

    def _heats(self, chosen: Any, names: Sequence[str], taken: Sequence[Step | Sampling]) -> list[Heat]:
        queries = [trace.query for trace in chosen.traces if trace.query is not None]
        if not queries and chosen.boxes is not None:
            raise LayerError(
                f'{chosen.label} comes of no object query, whose attention could be drawn: '
                f'{written("method", ["layercam"])} goes with any detector'
            )
        fitting = [each for each in taken if each.across == bool(queries)]
        if not fitting:
            what = 'cross-attention of object queries' if queries else 'self-attention of tokens'
            raise LayerError(f'the forward computed no {what}: the method attention is for transformers')
        named = [each for each in fitting if any(f'{each.layer}.'.startswith(f'{name}.') for name in names)]
        return [heat for each in named or fitting[-1:] for heat in self._of(each, queries)]

    def _of(self, item: Step | Sampling, queries: Sequence[int]) -> list[Heat]:
        rows = len(item.samples.weights) if isinstance(item, Sampling) else item.shape[0]
        if any(query >= rows for query in queries):
            raise LayerError(f'{item.layer} has {rows} queries, and none of the number {max(queries)}')
        if isinstance(item, Sampling):
            return self._sampled(item, queries)
        if not item.keys.maps:
            raise LayerError(f'the place of what {item.layer} attends to is not known: {item.keys.reason}')
        count = item.shape[1]
        if not queries and min(int(each.numbers.min()) for each in item.keys.maps) == 0:
            raise LayerError(f'{item.layer} has no class token: none of its {count} tokens stands before the cells')
        weights = item.heads_of(item.joined.detach()).float()
        row = weights[:, list(queries) or [0]].sum(dim=1).mean(dim=0)
        tokens = Tokens(count, count - sum(each.numbers.numel() for each in item.keys.maps))
        note = '' if queries else 'attention of the class token, the same for all classes'
        return [
            Heat(
                row[each.numbers],
                each.cells,
                item.layer,
                (len(weights), int(each.numbers.shape[0]), int(each.numbers.shape[1])),
                note,
                path=f'[level {level}]' if len(item.keys.maps) > 1 else '',
                tokens=tokens,
            )
            for level, each in enumerate(item.keys.maps)
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
