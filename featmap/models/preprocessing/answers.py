"""What a preprocessing hands back, read as the input of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featmap.errors import GeometryError

_CHANNELS = 1, 3, 4
_EXPECTED = 'expected one float tensor of (C, h, w)'


def read_answer(answer: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The network input, (C, h, w) float32 on the CPU, and the other tensors that came with it, such as a mask.

    Taken are tensors and arrays of (C, h, w), (1, C, h, w) or (h, w), of (h, w, C) where the last axis alone can be
    that of the channels, and what has one of them as ``pixel_values``, or as its only entry of that kind.

    Raises:
        GeometryError: for anything else, which says what to return.
    """
    extras: dict[str, Tensor] = {}
    if isinstance(answer, Mapping):
        answer, extras = _entry(answer)
    if isinstance(answer, (list, tuple)):
        if len(answer) != 1:
            raise GeometryError(f'got {len(answer)} results, such as crops: {_EXPECTED}')
        answer = answer[0]
    tensor = _tensor(answer)
    if tensor.ndim == 4:
        if len(tensor) != 1:
            raise GeometryError(f'got {len(tensor)} images of one, such as crops: {_EXPECTED}')
        tensor = tensor[0]
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim != 3 or not tensor.numel():
        raise GeometryError(f'got a tensor of {tuple(tensor.shape)}: {_EXPECTED}')
    if tensor.shape[-1] in _CHANNELS and tensor.shape[0] not in _CHANNELS:
        tensor = tensor.permute(2, 0, 1)
    return tensor.float().contiguous(), extras


def _entry(answer: Mapping[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    """The entry that holds the image, and the others that are tensors."""
    arrays = {name: value for name, value in answer.items() if isinstance(value, (Tensor, np.ndarray))}
    images = [name for name, value in arrays.items() if value.ndim >= 3 and 'mask' not in str(name)]
    name = 'pixel_values' if 'pixel_values' in answer else images[0] if len(images) == 1 else None
    if name is None:
        raise GeometryError(f'got entries {sorted(map(str, answer))}: expected the input as pixel_values')
    image = answer[name]
    if name == 'pixel_values' and isinstance(image, (Tensor, np.ndarray)) and image.ndim not in (3, 4):
        raise GeometryError(
            f'got pixel_values of {tuple(image.shape)}, such as patches, tiles or a video: expected (1, C, h, w)'
        )
    return image, {str(key): torch.as_tensor(value) for key, value in arrays.items() if key != name}


def _tensor(answer: Any) -> Tensor:
    if isinstance(answer, np.ndarray) and answer.dtype.kind in 'biuf':
        answer = torch.from_numpy(np.ascontiguousarray(answer))
    if not isinstance(answer, Tensor):
        hint = '; end it with ToTensor()' if type(answer).__module__.startswith('PIL.') else ''
        raise GeometryError(f'got {_kind(answer)}: {_EXPECTED}{hint}')
    if not answer.is_floating_point():
        raise GeometryError(
            f'got {str(answer.dtype).removeprefix("torch.")} values, and whether the network takes them as 0 to '
            f'255 or as 0 to 1 cannot be told: {_EXPECTED}; use .float() or .float() / 255'
        )
    return answer.detach().as_subclass(Tensor).cpu()


def _kind(answer: Any) -> str:
    if answer is None or isinstance(answer, np.ndarray):
        return 'None' if answer is None else f'an array of {answer.dtype}'
    package = type(answer).__module__.partition('.')[0]
    return ' '.join([*([] if package == 'builtins' else [package]), type(answer).__name__])
