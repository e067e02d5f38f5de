"""A reader for the pickles in checkpoints that runs no code and takes no more time than their size warrants.

``torch.load(weights_only=True)`` refuses genuine MMEngine checkpoints, whose training history holds NumPy arrays, log
buffers and ``getattr``. Allowing them by name takes a PyTorch newer than 2.4, and the real ``getattr`` would undo the
protection. So there is one reader here for every PyTorch from 2.1 on, and it is stricter:

* A name in the file never yields the object it names. It yields one of this room's constructors, or, for what is
  known to be harmless and is not needed, a :class:`LeftOut` that does nothing. All else is refused.
* Only those constructors can be called, each with what it expects, and only this module's containers can be filled.
* NumPy objects are left out, as a crafted dtype can corrupt memory.
* There is a limit on the steps of the program that a pickle is, and on the size of what may be a key: the hash of
  tuples within tuples takes twice the time for each level.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from featmap.models.constructors import CONSTRUCTORS, VALUES, LimitError, RefusedError, check_key, looked_at, shown

MAX_STEPS = 5_000_000
"""The opcodes of a pickle. A detector's training checkpoint has some hundred thousand; this many take five seconds."""


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
_LEFT_OUT_PACKAGES = {'datetime', 'mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg', 'mmyolo', 'numpy', 'pathlib'}


class _Counted(dict):  # type: ignore[type-arg]
    """Opcodes, each of which costs a step of so many."""

    def __init__(self, opcodes: dict[int, Any], steps: int) -> None:
        super().__init__()
        self._opcodes, self._left = opcodes, steps

    def __getitem__(self, opcode: int) -> Any:
        self._left -= 1
        if self._left < 0:
            self.spend(0)
        return self._opcodes[opcode]

    def spend(self, steps: int) -> None:
        """Take away steps for what looks at more than one thing."""
        self._left -= steps
        if self._left < 0:
            raise LimitError('it takes more steps than any checkpoint needs')


# The unpickler in pure Python, whose opcodes can be replaced one by one. Its annotations lack what those work on.
_PurePython: Any = pickle._Unpickler


class Unpickler(_PurePython):
    """Reads what ``torch.save`` wrote.

    Args:
        file: With ``read`` and ``readline``; both return no more than there is, whatever they are asked for.
        persistent_load: Makes the storage of a tensor from the reference that the file has to it.
        max_steps: How many opcodes may be run.
    """

    def __init__(
        self, file: Any, persistent_load: Callable[[tuple[Any, ...]], Any] | None = None, max_steps: int = MAX_STEPS
    ) -> None:
        super().__init__(file, encoding='utf-8')
        self._storage = persistent_load
        self._steps = max_steps

    def load(self) -> Any:
        """The next object in the file.

        Raises:
            RefusedError: the file names something that is not allowed.
            LimitError: it takes more steps than a checkpoint does, or a key is too deep.
        """
        counted = _Counted(type(self).dispatch, self._steps)
        self.dispatch, self._spend = counted, counted.spend  # type: ignore[misc]
        return super().load()

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_PurePython.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """The constructor or plain value that a name in the file stands for.

        Raises:
            RefusedError: for a name that is not allowed.
        """
        full = f'{"builtins" if module == "__builtin__" else module}.{name}'
        if full in VALUES:
            return VALUES[full]
        if full in CONSTRUCTORS:
            return _Constructor(full, CONSTRUCTORS[full])
        if full in _LEFT_OUT or full.partition('.')[0] in _LEFT_OUT_PACKAGES:
            return _Constructor(full, lambda *_: LeftOut(full))
        raise RefusedError(full)

    def _call(self) -> None:
        arguments = self.stack.pop()
        constructor = self.stack.pop()
        if not isinstance(constructor, _Constructor) or not isinstance(arguments, tuple):
            raise RefusedError(f'a call of {shown(constructor)}')
        if constructor.name == 'torch._tensor._rebuild_from_type_v2':
            constructor, _type, arguments, _state = arguments
            if not isinstance(constructor, _Constructor) or not isinstance(arguments, tuple):
                raise RefusedError(f'a call of {shown(constructor)}')
        self._spend(looked_at(arguments))
        self.append(constructor.build(*arguments))

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        # The versions of a model's modules, which torch.nn.Module.state_dict hangs onto the dictionary.
        if isinstance(target, OrderedDict) and isinstance(state, dict):
            if isinstance(state.get('_metadata'), dict):
                target._metadata = state['_metadata']  # type: ignore[attr-defined]
        elif not isinstance(target, (LeftOut, torch.Tensor)):
            raise RefusedError(f'setting the state of {shown(target)}')

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
            raise RefusedError(f'adding to {shown(self.stack[-1])}')
        for item in items:
            self._spend(check_key(item))
            self.stack[-1].add(item)

    def _fill(self, items: list[tuple[Any, Any]]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            # Not update(): a Counter would count the pairs.
            for key, value in items:
                self._spend(check_key(key))
                target[key] = value
        elif not isinstance(target, LeftOut):
            raise RefusedError(f'filling {shown(target)}')

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, LeftOut):
            raise RefusedError(f'extending {shown(target)}')

    def _persistent(self) -> None:
        saved = self.stack.pop()
        # A tensor's storage; never the source of a module.
        if self._storage is None or not isinstance(saved, tuple) or saved[:1] not in (('storage',), (b'storage',)):
            raise RefusedError(f'the reference {shown(saved)}')
        self.append(self._storage(saved[1:]))

    def _byte_array(self) -> None:
        # Not as pickle does it, which makes room for as many bytes as are announced.
        self.append(self.read(int.from_bytes(self.read(8), 'little')))

    def _dictionary(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill(list(zip(items[::2], items[1::2])))

    def _frozen_set(self) -> None:
        items = self.pop_mark()
        for item in items:
            self._spend(check_key(item))
        self.append(frozenset(items))

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
    dispatch[pickle.BYTEARRAY8[0]] = _byte_array
    dispatch[pickle.DICT[0]] = _dictionary
    dispatch[pickle.FROZENSET[0]] = _frozen_set
    for _opcode in (pickle.PERSID, pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4,
                    pickle.NEXT_BUFFER, pickle.READONLY_BUFFER):  # fmt: skip
        dispatch[_opcode[0]] = _refuse
