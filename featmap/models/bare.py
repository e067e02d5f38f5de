"""What a module itself says of how it is to be run: what it takes, in which type, and what only wraps it."""

from __future__ import annotations

import inspect
from collections.abc import Collection

import torch
from torch import nn

from featmap.errors import ConfigError, first_line

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_IMAGES = 'pixel_values'  # what transformers call the network input


def unwrapped(module: nn.Module) -> nn.Module:
    """A module without what only wraps it: ``DataParallel``, its distributed form, ``torch.compile``.

    They run copies or compiled code, which know nothing of hooks that came later.

    Raises:
        ConfigError: for TorchScript, which calls no hooks at all.
    """
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = module.module
        else:
            inner = module._modules.get('_orig_mod') if type(module).__name__ == 'OptimizedModule' else None
        if not isinstance(inner, nn.Module):
            break
        module = inner
    if isinstance(module, torch.jit.ScriptModule):
        raise ConfigError(
            f'{module.original_name} is TorchScript, which runs its layers where no hook is called: expected the '
            'Python module that it was made of'
        )
    return module


def put_on(module: nn.Module, device: torch.device) -> None:
    """Move a module to a device.

    Raises:
        ConfigError: where it has no numbers to move, or may not be moved.
    """
    kind = type(module).__name__
    empty = next((name for name, each in module.named_parameters() if each.is_meta), None)
    if empty is not None:
        raise ConfigError(f'{kind} holds no numbers, for {empty} is on the device meta: expected a module with weights')
    try:
        module.to(device)
    except (RuntimeError, ValueError, NotImplementedError) as error:  # too large, or placed by a library
        raise ConfigError(f'{kind} cannot be put on {device}: {first_line(error)}') from error


def type_of(module: nn.Module) -> torch.dtype:
    """The type of floats that a module computes in: that of its first parameter."""
    types = (each.dtype for each in module.parameters())
    return next((each for each in types if each in _TYPES), torch.float32)


def arguments_of(module: nn.Module) -> frozenset[str]:
    """The names of what a forward takes; none where that is not known."""
    return frozenset(_parameters(module))


def needed_by(module: nn.Module, given: Collection[str] = ()) -> list[str]:
    """The arguments that a forward cannot do without, but for those that it is given anyway."""
    named = [each for each in _parameters(module).values() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return [each.name for each in named if each.default is each.empty and each.name not in given]


def named_input(module: nn.Module) -> str | None:
    """The argument of a forward that takes the network input, where it has to be named; None for the first."""
    parameters = _parameters(module)
    if _IMAGES in parameters:
        return _IMAGES
    first = next(iter(parameters.values()), None)
    return first.name if first is not None and first.kind is inspect.Parameter.KEYWORD_ONLY else None


def _parameters(module: nn.Module) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):  # of a module that is not Python's
        return {}
