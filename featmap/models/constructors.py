"""What the names in a checkpoint's pickle stand for: tensors, containers, plain values, each made from checked parts.

PyTorch's own functions of those names trust their arguments: a tensor larger than its storage makes the storage grow,
and a list that contains itself is looked into for ever.
"""

from __future__ import annotations

import functools
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch

_KEY_PARTS = 50
_KEY_INTEGERS = 1 << 60  # the hashes of larger ones can be made alike


class RefusedError(pickle.UnpicklingError):
    """The file wants to run code, or to build objects that are not allowed. ``name`` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(f'refused: {name}')
        self.name = name


class LimitError(pickle.UnpicklingError):
    """The file asks for more time or memory than its size warrants."""


class StorageType(NamedTuple):
    """The type of the numbers in a storage."""

    dtype: torch.dtype


class Storage(NamedTuple):
    """Numbers in memory that tensors are views of: from ``start`` on ``count`` elements of the type."""

    memory: torch.UntypedStorage
    dtype: torch.dtype
    start: int
    length: int


def shown(value: Any) -> str:
    """A short text for a message. Not repr, which for tuples within tuples has no end."""
    if isinstance(value, (str, bytes)):
        return repr(value[:100])
    if isinstance(value, int) and abs(value) < _KEY_INTEGERS:
        return str(value)
    return getattr(value, 'name', None) or f'a {type(value).__name__}'


def check_key(key: Any) -> int:
    """Refuse a dictionary's key or a set's element whose hash is not taken at once; how many parts it has."""
    left, parts = _KEY_PARTS, [key]
    while parts:
        part = parts.pop()
        left -= 1
        if isinstance(part, (tuple, frozenset)):
            parts.extend(part if len(part) <= left else (None,) * left)
        if left <= 0 or (isinstance(part, int) and abs(part) >= _KEY_INTEGERS):
            raise LimitError('a key in it is larger than any checkpoint needs')
    return _KEY_PARTS - left


def looked_at(arguments: tuple[Any, ...]) -> int:
    """How many things a call with these arguments looks at, as steps: one list may be handed to a million calls."""
    sizes = [len(part) for part in arguments if isinstance(part, (list, tuple, set, frozenset, dict))]
    texts = [len(part) for part in arguments if isinstance(part, (str, bytes))]
    return len(arguments) + sum(sizes) + sum(texts) // 100


def _is_integers(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) <= 64 and all(type(value) is int for value in values)


def _strided(storage: Any, dtype: Any, offset: Any, size: Any, stride: Any) -> torch.Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype) or type(offset) is not int:
        raise ValueError(f'a tensor of {shown(storage)}, {shown(dtype)} and {shown(offset)}')
    if not _is_integers(size) or not _is_integers(stride) or len(size) != len(stride) or min((0, *size, *stride)) < 0:
        raise ValueError(f'a tensor whose size is {shown(size)} and stride is {shown(stride)}')
    held = storage.length * width_of(storage.dtype) // width_of(dtype)
    reach = 0 if 0 in size else offset + 1 + sum((n - 1) * step for n, step in zip(size, stride))
    if offset < 0 or reach > held:
        raise ValueError(f'a tensor that takes {shown(reach)} numbers from a storage of {held}')
    start, within = divmod(storage.start * width_of(storage.dtype), width_of(dtype))
    if within:
        raise ValueError('a tensor that begins within a number')
    tensor = torch.empty(0, dtype=dtype)
    if not reach:
        return tensor.reshape(size)
    return tensor.set_(storage.memory, start + offset, size, stride)


@functools.cache
def width_of(dtype: torch.dtype) -> int:
    """The bytes of a number; PyTorch 2.1's types do not say it themselves."""
    return torch.empty(0, dtype=dtype).element_size()


# What follows in the file are requires_grad and the backward hooks: weights need neither.
def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    return _strided(storage, getattr(storage, 'dtype', None), offset, size, stride)


def _typed_tensor(storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, *more: Any) -> Any:
    return _strided(storage, more[0] if more else None, offset, size, stride)


def _first(value: Any, *_: Any) -> Any:
    return value


def _size(values: Any = ()) -> torch.Size:
    values = tuple(values) if isinstance(values, list) else values
    if not _is_integers(values):
        raise ValueError(f'a size of {shown(values)}')
    return torch.Size(values)


def _device(kind: Any, *index: Any) -> torch.device:
    if not isinstance(kind, (str, int)) or not all(isinstance(number, int) for number in index):
        raise ValueError(f'a device of {shown(kind)}')
    return torch.device(kind, *index)


def _elements(values: Any) -> Iterable[Any]:
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise ValueError(f'a set of {shown(values)}')
    for value in values:
        check_key(value)
    return values


def _pairs(values: Any) -> Iterable[tuple[Any, Any]]:
    pairs = values.items() if isinstance(values, dict) else values
    if not isinstance(values, (dict, list, tuple)) or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError(f'a dictionary of {shown(values)}')
    for key, _ in pairs:
        check_key(key)
    return pairs


def _complex(*parts: Any) -> complex:
    if not all(isinstance(part, (int, float)) for part in parts):
        raise ValueError('a complex number of other things than numbers')
    return complex(*parts)


def _latin1(text: Any, encoding: str = 'latin1') -> bytes:
    # How Python 3 writes bytes in pickle protocol 2. Other encodings would import codec modules.
    if encoding != 'latin1' or not isinstance(text, str):
        raise RefusedError(f'_codecs.encode to {shown(encoding)}')
    return text.encode('latin1')


CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    'torch._utils._rebuild_tensor': _tensor,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch._utils._rebuild_tensor_v3': _typed_tensor,
    'torch._utils._rebuild_parameter': _first,
    'torch._utils._rebuild_parameter_with_state': _first,
    'torch._tensor._rebuild_from_type_v2': _first,  # the unpickler calls what it names
    'torch.nn.parameter.Parameter': _first,
    'torch.Size': _size,
    'torch.device': _device,
    'collections.OrderedDict': lambda values=(): OrderedDict(_pairs(values)),
    'collections.Counter': lambda values=(): Counter(dict(_pairs(values))),
    # The factory of a defaultdict would be called for any missing key: it becomes a plain dict.
    'collections.defaultdict': lambda *_: {},
    'builtins.set': lambda values=(): set(_elements(values)),
    'builtins.frozenset': lambda values=(): frozenset(_elements(values)),
    'builtins.complex': _complex,
    '_codecs.encode': _latin1,
}
"""What a call of a name makes, from arguments that can be anything."""

_STORAGES = {
    'BFloat16': torch.bfloat16,
    'Bool': torch.bool,
    'Byte': torch.uint8,
    'Char': torch.int8,
    'Double': torch.float64,
    'Float': torch.float32,
    'Half': torch.float16,
    'Int': torch.int32,
    'Long': torch.int64,
    'Short': torch.int16,
}

VALUES: dict[str, Any] = {
    **{str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)},
    **{f'torch.{name}Storage': StorageType(dtype) for name, dtype in _STORAGES.items()},
    'torch.storage.UntypedStorage': StorageType(torch.uint8),
}
"""What a name alone stands for."""
