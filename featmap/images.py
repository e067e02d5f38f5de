"""Whatever a user holds for an image: a path, a URL, an array, a PIL image, a tensor."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from PIL import Image

from featmap.decoding import MAX_PIXELS, to_rgb
from featmap.errors import OptionError
from featmap.sources import Source, list_sources

if TYPE_CHECKING:
    import torch

AnyImage = Union[str, Path, np.ndarray, Image.Image, 'torch.Tensor', Source]

_EXPECTED = (
    'a path, a URL, a PIL image, an array of (H, W, 3) RGB or (H, W) grey and uint8, a tensor of (3, H, W) or '
    '(1, H, W) and uint8, or a list of them'
)
_HINTS = {
    type(None): ' (cv2.imread gives None for a file that it cannot read)',
    bytes: ' (PIL.Image.open(io.BytesIO(data)) decodes a file)',
}


def each_image(
    images: AnyImage | Sequence[AnyImage], bgr: bool = False, max_pixels: int = MAX_PIXELS, depth: int = 8
) -> Iterator[np.ndarray | Source]:
    """Every image that is meant, in order: a source to read, or (H, W, 3) RGB uint8.

    Args:
        images: One image, a folder or a glob, or a sequence of these.
        bgr: Whether arrays and tensors of three channels are BGR, as OpenCV reads them.
        max_pixels: The most pixels that a file may decode to.
        depth: How deep sequences may lie within sequences: one that holds itself has no end.

    Raises:
        OptionError: for anything else.
    """
    if isinstance(images, Source):
        yield images
    elif isinstance(images, (str, Path)):
        yield from list_sources(images, max_pixels=max_pixels)
    elif isinstance(images, (np.ndarray, Image.Image)) or _is_tensor(images):
        yield as_rgb(images, bgr)
    elif isinstance(images, Sequence) and not isinstance(images, (bytes, bytearray, memoryview)):
        if depth == 0:
            raise OptionError(f'lists within lists without end were given as the image: expected {_EXPECTED}')
        for image in images:
            yield from each_image(image, bgr, max_pixels, depth - 1)
    else:
        hint = _HINTS.get(type(images), '')
        raise OptionError(f'{type(images).__name__} was given as the image{hint}: expected {_EXPECTED}')


def as_rgb(image: Any, bgr: bool = False) -> np.ndarray:
    """An array, a PIL image or a tensor as (H, W, 3) RGB uint8.

    Args:
        image: (H, W, 3) or (H, W) uint8; a tensor of (3, H, W) or (1, H, W) uint8; or a PIL image as it lies in
            memory, whose alpha is dropped and whose 16 bits become 8.
        bgr: Whether three channels of an array or a tensor are BGR.

    Raises:
        OptionError: for anything else, with what was given.
    """
    if isinstance(image, Image.Image):
        if image.mode in ('I', 'F') or not all(image.size):
            raise OptionError(
                f'a PIL image of mode {image.mode} and size {image.size} was given: expected one with pixels, whose '
                "white is known: scale it to 0…255 and make it one of mode 'L' or 'RGB'"
            )
        # A copy where something is taken out of it.
        return to_rgb(image.copy() if 'transparency' in image.info else image)
    given = f'{type(image).__name__} of shape {tuple(image.shape)} and {str(image.dtype).removeprefix("torch.")}'
    if _is_tensor(image):
        if image.is_sparse or image.is_meta:
            raise OptionError(f'{given} was given as the image, without pixels in order: expected {_EXPECTED}')
        image = image.detach().cpu()
        if image.ndim == 3 and image.shape[0] in (1, 3):
            image = image.permute(1, 2, 0)
        elif image.ndim == 3:
            raise OptionError(f'{given} was given as the image: expected {_EXPECTED}{_way_out(image)}')
        image = image.numpy()
    image = np.asarray(image)  # a matrix of NumPy's stays a matrix whatever is taken of it
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.dtype != np.uint8 or not image.size or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise OptionError(f'{given} was given as the image: expected {_EXPECTED}{_way_out(image)}')
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    elif bgr:
        image = image[:, :, ::-1]
    return np.ascontiguousarray(image)


def _way_out(image: Any) -> str:
    """What makes an image of an array or a tensor that is none."""
    if image.ndim == 4:
        return ': of a batch, give a list of its images'
    if 'float' in str(image.dtype):
        return ': scale it to 0…255 and make it uint8 first'
    if image.ndim == 3 and image.shape[2] == 4:
        return ': drop the fourth channel first'
    if image.ndim == 3 and image.shape[2] == 3:
        return ': permute(2, 0, 1) puts the channels first' if _is_tensor(image) else ''
    return ''


def pixels_of(image: np.ndarray | Source) -> np.ndarray:
    """The image itself, read where it is a source."""
    return image if isinstance(image, np.ndarray) else image.read()


def is_one(images: AnyImage | Iterable[AnyImage]) -> bool:
    """Whether this names one image, and not a folder, a glob or several."""
    if isinstance(images, (str, Path)):
        path = os.path.expanduser(images)
        return bool(re.match('https?://', str(images), re.IGNORECASE)) or (
            os.path.exists(path) and not os.path.isdir(path)
        )
    return isinstance(images, (np.ndarray, Image.Image, Source)) or _is_tensor(images)


def _is_tensor(value: Any) -> bool:
    # Known without PyTorch, which a path does not need.
    return hasattr(value, 'detach') and hasattr(value, 'permute')
