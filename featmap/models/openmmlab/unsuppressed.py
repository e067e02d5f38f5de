"""Every raw prediction of a detector: its own post-processing, which nothing limits and nothing suppresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from featmap.models.openmmlab.heads import HeadMeaning

_ALL = 10**9
_MOST_MASKS = 300  # a mask for each of all predictions would take gigabytes
_LIMITS = {'nms_pre': _ALL, 'max_per_img': _ALL}
_NOT_SET = object()


@contextmanager
def unsuppressed(model: nn.Module, floor: float) -> Iterator[None]:
    """Within, the heads of a detector hand out all that they predict above a score.

    Their proposals stay as they are: they are not what is predicted, but where.

    Args:
        model: The detector.
        floor: The score, such as 0.001.
    """
    with ExitStack() as stack:
        seen: set[int] = set()
        proposing = getattr(model, 'rpn_head', None)
        for head in model.modules():
            cfg = getattr(head, 'test_cfg', None)
            if head is proposing or not hasattr(cfg, 'get') or id(cfg) in seen:
                continue
            if not callable(getattr(head, 'predict_by_feat', None)) and head is not getattr(model, 'roi_head', None):
                continue
            seen.add(id(cfg))
            stack.enter_context(_changed(cfg, _settings(model, head, cfg, floor)))
        roi_head = getattr(model, 'roi_head', None)
        if isinstance(roi_head, nn.Module) and getattr(roi_head, 'mask_head', None) is not None:
            stack.enter_context(_without(roi_head, 'mask_head'))
        yield


def _settings(model: nn.Module, head: Any, cfg: Any, floor: float) -> dict[str, Any]:
    """What is other than in a head's own config: keys that it does not know change nothing."""
    queries = getattr(model, 'num_queries', None)
    if 'nms' not in cfg and queries is not None and callable(getattr(head, 'predict_by_feat', None)):
        if not HeadMeaning(head).by_query:
            return {}
        # The best of all pairs of a query and a class, or of queries.
        return {'max_per_img': queries * (1 if HeadMeaning(head).softmax else int(head.cls_out_channels))}
    settings = {**_LIMITS, 'nms': None, 'score_thr': floor}
    if 'conf_thr' in cfg:
        settings['conf_thr'] = floor
    if 'mask_thr_binary' in cfg and head is not getattr(model, 'roi_head', None):
        settings['max_per_img'] = _MOST_MASKS
    return settings


@contextmanager
def _changed(cfg: Any, settings: dict[str, Any]) -> Iterator[None]:
    before = {key: cfg.get(key, _NOT_SET) for key in settings}
    try:
        for key, value in settings.items():
            cfg[key] = value
        yield
    finally:
        for key, value in before.items():
            if value is _NOT_SET:
                cfg.pop(key, None)
            else:
                cfg[key] = value


@contextmanager
def _without(module: nn.Module, name: str) -> Iterator[None]:
    """Masks are made of boxes, and nothing of them."""
    part = getattr(module, name)
    setattr(module, name, None)
    try:
        yield
    finally:
        setattr(module, name, part)
