"""The class scores of which a classifier or a segmentor makes its answer, as its network put them out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from torch import Tensor, nn

from featmap.models.differentiable import overridden
from featmap.models.openmmlab.segmentors import is_segmentor

_LEAST = 1e-12  # of a share whose log is taken


@contextmanager
def class_scores(model: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, keeps what is handed to the method that turns scores into data samples, a tensor a forward.

    Of mmpretrain's heads (N, K) logits, before the softmax or sigmoid that the samples hold; of mmseg's segmentors
    (N, K, h, w) over the whole network input, before padding is cut off and the rest is scaled; where mask queries have
    shares in the classes, the logs of these. Of other models nothing.
    """
    kept: list[Tensor] = []
    owner: Any = model if is_segmentor(model) else getattr(model, 'head', None)
    method = 'postprocess_result' if is_segmentor(model) else '_get_predictions'
    given = getattr(owner, method, None)
    if not isinstance(owner, nn.Module) or not callable(given):
        yield kept
        return

    @wraps(given)
    def keep(scores: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(scores, Tensor):
            kept.append(scores.clamp(min=_LEAST).log() if shares else scores)
        return given(scores, *args, **kwargs)

    shares = is_segmentor(model) and hasattr(getattr(model, 'decode_head', None), 'query_embed')
    with overridden(owner, method, keep):
        yield kept
