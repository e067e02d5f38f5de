"""What autocast would spoil, kept in single precision: where boxes and masks are made of a head's raw output.

A bfloat16 has 8 significant bits: beyond 256 pixels, the centre of a cell would be off by up to several pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from featmap.models.differentiable import overridden
from featmap.tracing.rules import tensors_in

# Heads make their priors in the type of what they are given, and decode by them.
_DECODERS = ('predict_by_feat', 'refine_bboxes')
# Of DETRs: coordinates are 0 to 1 of the image, and each layer's are made of those before.
_BRANCHES = ('reg_branches', 'aux_reg_branches', 'reg_ffn', 'fc_reg', 'reference_points_fc')


class FullPrecision:
    """Runs the decoding of a model's heads without autocast, on float32, for as long as it is asked to.

    The network itself stays under autocast, so that its speed stays too.

    Args:
        model: The model. Its weights are in float32, as autocast expects.
    """

    def __init__(self, model: nn.Module) -> None:
        self._methods = [
            (module, name) for module in model.modules() for name in _DECODERS if callable(getattr(module, name, None))
        ]
        for parent in model.modules():
            for name in _BRANCHES:
                branch = getattr(parent, name, None)
                if isinstance(branch, nn.ModuleList):
                    self._methods += [(each, 'forward') for each in branch]
                elif isinstance(branch, nn.Module):
                    self._methods.append((branch, 'forward'))
        # A branch that several layers share is wrapped once.
        self._methods = list({(id(module), name): (module, name) for module, name in self._methods}.values())

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside the ``with`` block, what decodes is given float32 and computes in it."""
        with ExitStack() as stack:
            for module, name in self._methods:
                stack.enter_context(overridden(module, name, _single(getattr(module, name))))
            yield


def _single(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = _as_float(args), _as_float(kwargs)
        device = next((each.device.type for each in tensors_in((args, kwargs))), 'cpu')
        with torch.autocast(device, enabled=False):
            return method(*args, **kwargs)

    return run


def _as_float(value: Any) -> Any:
    """Tensors of half precision in nested tuples, lists and dicts as float32; the rest as it is."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if type(value) in (tuple, list):
        return type(value)(_as_float(each) for each in value)
    return {key: _as_float(each) for key, each in value.items()} if type(value) is dict else value
