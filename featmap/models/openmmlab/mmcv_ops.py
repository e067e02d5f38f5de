"""A stand-in for ``mmcv._ext`` where mmcv is installed without its compiled ops (mmcv-lite).

mmdet and mmyolo import ``mmcv.ops``, which looks up each compiled function when it is imported. The
stand-in has those that inference and its gradients need, in plain PyTorch; the others raise when they are called.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from featmap.errors import MissingOpError
from featmap.models.packages import missing_package

EXTENSION = 'mmcv._ext'
INSTALL_FULL = 'pip install -U openmim && mim install "mmcv==2.0.1"'


def ensure_ops() -> bool:
    """Make ``mmcv.ops`` importable; call it before anything imports mmdet, mmyolo or ``mmcv.ops``.

    Compiled ops are left alone where mmcv has them. Otherwise the stand-in becomes ``mmcv._ext``.
    Calling it again changes nothing.

    Returns:
        Whether the stand-in is in use.

    Raises:
        MissingPackageError: no mmcv is installed at all.
    """
    present = sys.modules.get(EXTENSION)
    if present is not None:
        return _is_stand_in(present)
    if importlib.util.find_spec('mmcv') is None:
        raise missing_package('mmcv', 'an OpenMMLab config')
    mmcv = importlib.import_module('mmcv')
    if importlib.util.find_spec(EXTENSION) is not None:
        return False
    # MMEngine tells from the module's spec and loader whether mmcv has its ops: both must be there.
    spec = ModuleSpec(EXTENSION, _StandInLoader(), origin='featmap')
    module = importlib.util.module_from_spec(spec)
    _StandInLoader().exec_module(module)
    sys.modules[EXTENSION] = module
    mmcv._ext = module  # type: ignore[attr-defined]
    return True


class _StandInLoader(Loader):
    """Fills the stand-in module."""

    def exec_module(self, module: ModuleType) -> None:
        ops = importlib.import_module('featmap.models.openmmlab.ops')
        for name in ops.__all__:
            setattr(module, name, getattr(ops, name))
        module.__doc__ = 'Stand-in for the compiled ops of mmcv.'
        module.__dict__['__getattr__'] = _missing_op


def _is_stand_in(module: ModuleType) -> bool:
    return isinstance(getattr(module.__spec__, 'loader', None), _StandInLoader)


def _missing_op(name: str) -> Callable[..., Any]:
    # No compiled function starts with an underscore; Python itself probes modules for such names.
    if name.startswith('_'):
        raise AttributeError(f'module {EXTENSION!r} has no attribute {name!r}')

    def op(*args: Any, **kwargs: Any) -> Any:
        raise MissingOpError(
            f"the op '{name}' needs the compiled ops of full mmcv, which is not installed: {INSTALL_FULL}"
        )

    op.__name__ = op.__qualname__ = name
    return op
