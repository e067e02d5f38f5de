"""Convolutions that take in the batch norm after them while nobody looks at either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

# MMCV's switch, under the names that it had in turn. From "Tune-Mode ConvBN Blocks For Efficient Transfer Learning"
# (arXiv 2305.11624): the scaled weights are made anew in each call, so that the model's own stay as they are.
_SWITCHES = ('efficient_conv_bn_eval', 'fast_conv_bn_eval')
_HOOKS = ('_forward_pre_hooks', '_forward_hooks', '_backward_pre_hooks', '_backward_hooks')


def find_fusable(model: nn.Module) -> list[nn.Module]:
    """MMCV's blocks of a plain convolution and a batch norm."""
    from mmcv.cnn import ConvModule

    return [
        module
        for module in model.modules()
        if isinstance(module, ConvModule)
        and any(hasattr(module, f'turn_on_{switch}') for switch in _SWITCHES)
        and module.with_norm
        and _is_plain(module.conv)
    ]


@contextmanager
def fused_norms(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Inside the ``with`` block, convolution and norm of each are one operation, unless one of them has a hook.

    What a block puts out stays the same but for rounding; its convolution alone puts out something else.
    """
    with ExitStack() as stack:
        for block in blocks:
            if not (_has_hooks(block.conv) or _has_hooks(block.norm)):
                stack.enter_context(_fused(block))
        yield


@contextmanager
def _fused(block: Any) -> Iterator[None]:
    switch = next(name for name in _SWITCHES if hasattr(block, f'turn_on_{name}'))
    before = getattr(block, f'{switch}_forward')
    getattr(block, f'turn_on_{switch}')(True)
    try:
        yield
    finally:
        setattr(block, f'{switch}_forward', before)
        vars(block.conv).pop('forward', None)  # where the convolution fails, MMCV leaves the one with the norm in it


def _is_plain(conv: nn.Module) -> bool:
    return type(conv).forward is nn.Conv2d.forward and 'forward' not in vars(conv)


def _has_hooks(module: Any) -> bool:
    return any(getattr(module, name) for name in _HOOKS)
