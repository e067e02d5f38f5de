"""Convolutions that take in the batch norm after them while nobody looks at either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from torch.nn.modules import module as hooks_of_all_modules
from torch.nn.modules.batchnorm import _BatchNorm

# MMCV's switch, under the names that it had in turn. From "Tune-Mode ConvBN Blocks For Efficient Transfer Learning"
# (arXiv 2305.11624): the scaled weights are made anew in each call, so that the model's own stay as they are.
_SWITCHES = ('efficient_conv_bn_eval', 'fast_conv_bn_eval')
_HOOKS = ('_forward_pre_hooks', '_forward_hooks', '_backward_pre_hooks', '_backward_hooks')
# What the switch stands for. A layer with a forward of its own does something else.
_CONVOLUTIONS = (nn.Conv2d.forward,)
_NORMS = (_BatchNorm.forward, nn.SyncBatchNorm.forward)


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """MMCV's blocks of a convolution and a norm that have the switch."""
    from mmcv.cnn import ConvModule

    return [
        module
        for module in model.modules()
        if isinstance(module, ConvModule)
        and module.with_norm
        and any(hasattr(module, f'turn_on_{switch}') for switch in _SWITCHES)
    ]


@contextmanager
def fused_norms(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Inside the ``with`` block, convolution and norm of each are one operation, where they are plain and unobserved.

    What a block puts out stays the same but for rounding; its convolution alone would put out something else, so a
    block stays as it is while its convolution or its norm has a hook, and all do while there are hooks on any module.
    """
    with ExitStack() as stack:
        if not any(getattr(hooks_of_all_modules, f'_global{name}') for name in _HOOKS):
            for block in blocks:
                if _is_bare(block.conv, _CONVOLUTIONS) and _is_bare(block.norm, _NORMS):
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


def _is_bare(module: Any, forwards: Sequence[Any]) -> bool:
    """Whether a layer computes what its class is known for, and nobody listens."""
    own = 'forward' in vars(module) or type(module).forward not in forwards
    return not own and not any(getattr(module, name) for name in _HOOKS)
