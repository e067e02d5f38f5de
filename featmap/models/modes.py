"""What a module has to be like for a forward, and is only for that long; who may run it meanwhile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import nn

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_of_locks = threading.Lock()


def lock_of(module: nn.Module) -> threading.RLock:
    """The one lock of a module, for whoever puts hooks into it: two at a time would see each other's forward."""
    with _of_locks:
        return _locks.setdefault(module, threading.RLock())


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Put every part back into the mode, training or not, that it was in."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        if any(part.training != training for part, training in modes):
            module.train(modes[0][1])  # which some modules have more to do for
            for part, training in modes:
                part.training = training


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """In eval mode, for a module whose owner may have gone on training it."""
    if not any(part.training for part in module.modules()):
        yield
        return
    with modes_kept(module):
        module.eval()
        yield


def uncompiled() -> AbstractContextManager[object]:
    """Run parts that ``torch.compile`` compiled as they were written: compiled code passes hooks by.

    PyTorch before 2.6 cannot be told so.
    """
    stance = getattr(torch.compiler, 'set_stance', None)
    # Without this module, which takes long to import, nothing was compiled.
    return stance('force_eager') if stance and 'torch._dynamo' in sys.modules else nullcontext()
