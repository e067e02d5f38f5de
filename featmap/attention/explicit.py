"""Attention that fused kernels compute, computed step by step, so that its weights are there and on the graph."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from featmap.errors import LayerError

_MODULES = inspect.signature(F.multi_head_attention_forward)


def dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """``F.scaled_dot_product_attention``: softmax(q kᵀ · scale + mask) v, by the formula in PyTorch's documentation.

    Returns:
        The output (…, rows, C), and the weights (…, rows, keys) that it was made of.
    """
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], dim=-3)
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = started(scores.softmax(dim=-1).to(value.dtype))
    return (torch.dropout(weights, dropout_p, True) if dropout_p else weights) @ value, weights


def started(weights: Tensor) -> Tensor:
    """Weights, which the graph begins with where it has not begun before, so that they have a gradient."""
    return weights.requires_grad_() if torch.is_grad_enabled() and not weights.requires_grad else weights


def multi_head_attention(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Tensor, Tensor]:
    """``F.multi_head_attention_forward`` with its weights, whether they were asked for or not.

    Returns:
        What the call returns as it was meant; the weights, on the graph as (N · heads, rows, keys); and the keys, as
        tokens (N, n, C).
    """
    given = _MODULES.bind(*args, **kwargs)
    given.apply_defaults()
    query, key = given.arguments['query'], given.arguments['key']
    if torch.is_grad_enabled() and not (query.requires_grad or key.requires_grad):
        leaf = query.detach().requires_grad_()  # its weights are out of reach until they are used
        given.arguments.update({name: leaf for name in ('query', 'key', 'value') if given.arguments[name] is query})
    needed, averaged = given.arguments['need_weights'], given.arguments['average_attn_weights']
    given.arguments.update(need_weights=True, average_attn_weights=False)
    output, weights = F.multi_head_attention_forward(*given.args, **given.kwargs)
    assert weights is not None
    handed = (weights.mean(dim=-3) if averaged else weights) if needed else None
    # What is handed out is a view beside the way of the graph: the output is made of what it views.
    joined = weights if not weights.requires_grad else weights._base
    if joined is None or tuple(joined.shape[-2:]) != tuple(weights.shape[-2:]):
        raise LayerError(
            f'the weights of torch.nn.MultiheadAttention cannot be found on the graph with PyTorch {torch.__version__}'
        )
    return (output, handed), joined, key.transpose(0, 1) if key.ndim == 3 else key[None]
