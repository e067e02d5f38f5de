"""A reader for checkpoints that runs no code; ``torch.load`` takes this module as its ``pickle_module``.

``torch.load(weights_only=True)`` refuses genuine MMEngine checkpoints, whose training history holds NumPy arrays, log
buffers and ``getattr``. Allowing them by name takes a PyTorch newer than 2.4, and the real ``getattr`` would undo the
protection. So there is one reader here for every PyTorch from 2.1 on, and it is stricter:

* A name in the file never yields the object it names. It yields one of this module's constructors, or, for what is
  known to be harmless and is not needed, a :class:`LeftOut` that does nothing. All else is refused.
* Only those constructors can be called, and only this module's containers can be filled.
* NumPy objects are left out, as a crafted dtype can corrupt memory.
"""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch

UnpicklingError = pickle.UnpicklingError  # torch.load expects a pickle module to have it


class RefusedError(pickle.UnpicklingError):
    """The file wants to run code, or to build objects that are not allowed. ``name`` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(f'refused: {name}')
        self.name = name


class LeftOut:
    """Stands for an object that was not loaded."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f'<not loaded: {self.name}>'


class _Constructor:
    """What a name in the file yields: it holds the function, so that nothing but a call can be done with it."""

    __slots__ = ('build', 'name')

    def __init__(self, name: str, build: Callable[..., Any]) -> None:
        self.name = name
        self.build = build


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    # What follows are requires_grad and the backward hooks: weights need neither.
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


def _typed_tensor(storage: Any, offset: int, size: Any, stride: Any, _grad: Any, _hooks: Any, *more: Any) -> Any:
    return torch._utils._rebuild_tensor_v3(storage, offset, size, stride, False, OrderedDict(), more[0])


def _first(value: Any, *_: Any) -> Any:
    return value


def _tensor_subclass(constructor: Any, _type: Any, arguments: tuple[Any, ...], _state: Any) -> Any:
    if not isinstance(constructor, _Constructor):
        raise RefusedError(f'a call of {constructor!r}')
    return constructor.build(*arguments)


def _latin1(text: str, encoding: str = 'latin1') -> bytes:
    # How Python 3 writes bytes in pickle protocol 2. Other encodings would import codec modules.
    if encoding != 'latin1':
        raise RefusedError(f'_codecs.encode to {encoding}')
    return text.encode('latin1')


_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    'torch._utils._rebuild_tensor': _tensor,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch._utils._rebuild_tensor_v3': _typed_tensor,
    'torch._utils._rebuild_parameter': _first,
    'torch._utils._rebuild_parameter_with_state': _first,
    'torch._tensor._rebuild_from_type_v2': _tensor_subclass,
    'torch.nn.parameter.Parameter': _first,
    'torch.Size': torch.Size,
    'torch.device': torch.device,
    'collections.OrderedDict': OrderedDict,
    'collections.Counter': Counter,
    # The factory of a defaultdict would be called for any missing key: it becomes a plain dict.
    'collections.defaultdict': lambda *_: {},
    'builtins.set': set,
    'builtins.frozenset': frozenset,
    'builtins.complex': complex,
    '_codecs.encode': _latin1,
}

# Training history, options and the like, in genuine checkpoints and of no use here.
_LEFT_OUT = {
    'argparse.Namespace',
    'builtins.bytearray',
    'builtins.dict',
    'builtins.float',
    'builtins.getattr',
    'builtins.int',
    'builtins.list',
    'builtins.object',
    'builtins.slice',
    'builtins.str',
    'builtins.tuple',
    'torch.Tensor',
    'types.SimpleNamespace',
}
_LEFT_OUT_PACKAGES = {'datetime', 'mmcv', 'mmdet', 'mmengine', 'mmyolo', 'numpy', 'pathlib'}

_STORAGES = {
    f'torch.{name}Storage': getattr(torch, f'{name}Storage')
    for name in ('BFloat16', 'Bool', 'Byte', 'Char', 'Double', 'Float', 'Half', 'Int', 'Long', 'Short')
}
_VALUES: dict[str, Any] = {
    **{str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)},
    **_STORAGES,
    'torch.storage.UntypedStorage': torch.UntypedStorage,
}


# The unpickler in pure Python, whose opcodes can be replaced one by one. Its annotations lack what those work on.
_PurePython: Any = pickle._Unpickler


class Unpickler(_PurePython):
    """Reads what ``torch.save`` wrote."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_PurePython.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """The constructor or plain value that a name in the file stands for.

        Raises:
            RefusedError: for a name that is not allowed.
        """
        full = f'{"builtins" if module == "__builtin__" else module}.{name}'
        if full in _VALUES:
            return _VALUES[full]
        if full in _CONSTRUCTORS:
            return _Constructor(full, _CONSTRUCTORS[full])
        if full in _LEFT_OUT or full.partition('.')[0] in _LEFT_OUT_PACKAGES:
            return _Constructor(full, lambda *_: LeftOut(full))
        raise RefusedError(full)

    def _call(self) -> None:
        arguments = self.stack.pop()
        constructor = self.stack.pop()
        if not isinstance(constructor, _Constructor):
            raise RefusedError(f'a call of {constructor!r}')
        self.append(constructor.build(*arguments))

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        # The versions of a model's modules, which torch.nn.Module.state_dict hangs onto the dictionary.
        if isinstance(target, OrderedDict) and isinstance(state, dict):
            if isinstance(state.get('_metadata'), dict):
                target._metadata = state['_metadata']  # type: ignore[attr-defined]
        elif not isinstance(target, (LeftOut, torch.Tensor)):
            raise RefusedError(f'setting the state of {target!r}')

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([(key, value)])

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._fill(list(zip(items[::2], items[1::2])))

    def _append(self) -> None:
        self._extend([self.stack.pop()])

    def _appends(self) -> None:
        self._extend(self.pop_mark())

    def _add_items(self) -> None:
        items = self.pop_mark()
        if not isinstance(self.stack[-1], set):
            raise RefusedError(f'adding to {self.stack[-1]!r}')
        self.stack[-1].update(items)

    def _fill(self, items: list[tuple[Any, Any]]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            # Not update(): a Counter would count the pairs.
            for key, value in items:
                target[key] = value
        elif not isinstance(target, LeftOut):
            raise RefusedError(f'filling {target!r}')

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, LeftOut):
            raise RefusedError(f'extending {target!r}')

    def _persistent(self) -> None:
        saved = self.stack.pop()
        # A tensor's storage; in files from before PyTorch 0.2, the number of a tensor. Never the source of a module.
        if not isinstance(saved, int) and not (isinstance(saved, tuple) and saved[:1] in (('storage',), (b'storage',))):
            raise RefusedError(f'the reference {saved!r}')
        self.append(self.persistent_load(saved))

    def _refuse(self) -> None:
        raise RefusedError('an outdated or unknown kind of pickle')

    dispatch[pickle.REDUCE[0]] = _call
    dispatch[pickle.NEWOBJ[0]] = _call
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.APPEND[0]] = _append
    dispatch[pickle.APPENDS[0]] = _appends
    dispatch[pickle.ADDITEMS[0]] = _add_items
    dispatch[pickle.BINPERSID[0]] = _persistent
    for _opcode in (pickle.PERSID, pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4):
        dispatch[_opcode[0]] = _refuse


def load(file: Any, **options: Any) -> Any:
    """The next object in ``file``, as ``pickle.load``.

    Raises:
        RefusedError: the file names something that is not allowed.
    """
    return Unpickler(file, **options).load()
