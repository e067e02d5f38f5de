"""Convolutions that take in the batch norm after them while nobody looks at either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all_modules
from torch.nn.modules.batchnorm import _BatchNorm

# Where an MMCV block keeps what to call instead of its convolution and norm, under the names that it had in turn.
_SWITCHES = ('efficient_conv_bn_eval_forward', 'fast_conv_bn_eval_forward')
_HOOKS = ('_forward_pre_hooks', '_forward_hooks', '_backward_pre_hooks', '_backward_hooks')
# What can be fused. A layer with a forward of its own does something else.
_CONVOLUTIONS = (nn.Conv2d.forward,)
_NORMS = (_BatchNorm.forward, nn.SyncBatchNorm.forward)


class FusedNorms:
    """Makes convolution and norm of MMCV's blocks one operation, for as long as it is asked to.

    The weights that do the work of both are made anew for each forward, so that the model's own stay as they are and
    count as they are then. See "Tune-Mode ConvBN Blocks For Efficient Transfer Learning", arXiv 2305.11624.
    """

    def __init__(self, model: nn.Module) -> None:
        from mmcv.cnn import ConvModule

        self._blocks: list[tuple[Any, str, _Fused]] = []
        for block in model.modules():
            switch = next((name for name in _SWITCHES if hasattr(block, name)), None)
            if isinstance(block, ConvModule) and block.with_norm and switch:
                self._blocks.append((block, switch, _Fused()))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside the ``with`` block, plain and unobserved blocks are one operation, unless a gradient is wanted.

        What a block puts out stays the same but for rounding; its convolution alone would put out something else, so
        a block stays as it is while its convolution or norm has a hook, and all do while there are hooks on any module.
        """
        refused = torch.is_grad_enabled() or _hooks_on_all()
        blocks = [] if refused else [each for each in self._blocks if _can_be_fused(each[0])]
        before = [getattr(block, switch) for block, switch, _ in blocks]
        try:
            for block, switch, fused in blocks:
                setattr(block, switch, fused)
            yield
        finally:
            for (block, switch, _), own in zip(blocks, before):
                setattr(block, switch, own)
                # Where the convolution fails, MMCV leaves the one with the norm in its place.
                vars(block.conv).pop('forward', None)


class _Fused:
    """A convolution with the weights of the norm after it in its own, written into the same memory each time."""

    def __init__(self) -> None:
        self._weight: Tensor | None = None

    def __call__(self, norm: _BatchNorm, conv: nn.Conv2d, x: Tensor) -> Tensor:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.affine:
            scale = scale * norm.weight
        shift = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
        shift = shift * scale + norm.bias if norm.affine else shift * scale
        weight, own = conv.weight, self._weight
        if own is None or (own.shape, own.dtype, own.device) != (weight.shape, weight.dtype, weight.device):
            own = self._weight = torch.empty_like(weight, requires_grad=False)
        torch.mul(weight, scale[:, None, None, None], out=own)
        return conv._conv_forward(x, own, shift)


def _can_be_fused(block: Any) -> bool:
    conv, norm = block.conv, block.norm
    return _is_bare(conv, _CONVOLUTIONS) and _is_bare(norm, _NORMS) and norm.track_running_stats


def _is_bare(layer: Any, forwards: Sequence[Any]) -> bool:
    """Whether a layer computes what its class is known for, and nobody listens."""
    own = 'forward' in vars(layer) or type(layer).forward not in forwards
    return not own and not any(getattr(layer, name) for name in _HOOKS)


def _hooks_on_all() -> bool:
    return any(getattr(hooks_of_all_modules, f'_global{name}') for name in _HOOKS)
