"""Generic attention-model explainability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featmap.attention import AttentionTape, keys_by, relevant_for
from featmap.explainers.base import AskingExplainer, Heat
from featmap.registry import EXPLAINERS
from featmap.tokens import Tokens

if TYPE_CHECKING:
    from featmap.asked import Asked
    from featmap.models.protocol import AnyModel, Batch
    from featmap.placement import Placement


@EXPLAINERS.register_module('generic_attention')
class GenericAttention(AskingExplainer):
    """Attention of all layers, rolled out: Ā = mean over heads of relu(∂y/∂A ⊙ A), R ← R + Ā R from R = I on.

    Chefer, Gur and Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers", arXiv 2103.15679: for ViTs the row of the class token, for DETRs that of the object query over the
    encoder's tokens, R_qi ← R_qi + R̄_qqᵀ Ā R̄_ii after each cross-attention. Which row is asked for shows in the
    gradient; where a model pools its tokens it is all of them alike. Deformable attention and windows have no such
    matrix. See :mod:`featmap.attention.rollout`.
    """

    name = 'generic_attention'
    group = 'attention'
    begins_graph = True

    def __init__(self) -> None:
        self._tape: AttentionTape | None = None

    def watching(self, network: AnyModel, placement: Placement, batch: Batch) -> AttentionTape:
        keys_of = keys_by(placement, network.model, batch.input_shape)
        self._tape = AttentionTape(network.model, keys_of, strict=True)
        return self._tape

    def explain(self, asked: Asked, chosen: Sequence[Any], layers: Sequence[Any] = ()) -> list[list[Heat]]:
        assert self._tape is not None, 'watching comes first'
        return [self._heats(each, self._tape) for each in chosen]

    def forget(self) -> None:
        self._tape = None

    @staticmethod
    def _heats(chosen: Any, tape: AttentionTape) -> list[Heat]:
        found = relevant_for(chosen.scalar, tape)
        count, maps = len(found.values), found.keys.maps
        tokens = Tokens(count, count - sum(each.numbers.numel() for each in maps))
        note = f'attention of {len(found.layers)} layers'
        return [
            Heat(
                found.values[each.numbers],
                each.cells,
                found.keys.layer,
                (1, int(each.numbers.shape[0]), int(each.numbers.shape[1])),
                note,
                path=f'[level {level}]' if len(maps) > 1 else '',
                tokens=tokens,
            )
            for level, each in enumerate(maps)
        ]
