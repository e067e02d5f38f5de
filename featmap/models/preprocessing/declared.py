"""A preprocessing that is declared: a size, a way to get there, a mean and a deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featmap.errors import OptionError, SourceError
from featmap.geometry import ImageGeometry
from featmap.wording import option as written

RESIZES = 'letterbox', 'stretch', 'shorter', 'center-crop'
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_PAD = 114  # the grey that letterboxes of detectors are padded with
_MARGIN = 0.875  # what is left of the shorter side by a centre crop: 224 of 256
_DIVISOR = 32
_MOST = 2**27  # pixels to resize to: a line of an image would fill the memory


@dataclass(frozen=True)
class Declared:
    """From an (H, W, 3) RGB uint8 image to a (C, h, w) float32 tensor, with its geometry.

    Images are resized by Pillow's bilinear filter, antialiased, as torchvision does it.

    Attributes:
        input_size: Height and width of the network input, or one number for a square; for ``shorter`` the one number is
            the shorter side.
        resize: ``letterbox`` keeps the ratio and pads both sides evenly in grey (114); ``stretch`` does not keep it;
            ``shorter`` keeps it, and fills up with the mean, at the right and below, to multiples of 32;
            ``center-crop`` keeps it until the image covers the size / 0.875 (256 for 224), and cuts the middle out.
        mean: What is subtracted, in RGB: of values from 0 to 1, or of 0 to 255 where one of ``mean`` and ``std`` is
            above 1.
        std: What that is divided by.
        channels: 3 for RGB, 1 for grey levels, whose ``mean`` and ``std`` are the means of the three.

    Raises:
        OptionError: for values that make no sense.
    """

    input_size: int | tuple[int, int]
    resize: str = 'letterbox'
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    channels: int = 3

    def __post_init__(self) -> None:
        size = self.input_size if isinstance(self.input_size, Sequence) else (self.input_size,)
        if len(size) not in (1, 2) or not all(isinstance(side, (int, np.integer)) and side > 0 for side in size):
            raise OptionError(
                f'{written("input_size", self.input_size)}: expected height and width in pixels, or one number'
            )
        if self.resize not in RESIZES:
            raise OptionError(f'{written("resize", self.resize)}: expected one of {", ".join(RESIZES)}')
        if self.resize == 'shorter' and len(set(size)) == 2:
            raise OptionError(
                f'{written("resize", "shorter")} takes one number, the shorter side, as {written("input_size")}; got '
                f'{" ".join(map(str, size))}'
            )
        object.__setattr__(self, 'input_size', (int(size[0]), int(size[-1])))
        for name in ('mean', 'std'):
            object.__setattr__(self, name, _three(name, getattr(self, name)))
        if not all(value > 0 for value in self.std):
            raise OptionError(f'{written("std", self.std)}: expected numbers above 0')
        bright, wide = max(map(abs, self.mean)) > 1, max(self.std) > 1
        if (bright and max(self.std) < 1) or (wide and 0 < max(map(abs, self.mean)) <= 1):
            raise OptionError(
                f'{written("mean", self.mean)} and {written("std", self.std)}: expected both of values from 0 to 1, or '
                'both of 0 to 255'
            )

    @classmethod
    def parse(
        cls, input_size: Any, resize: str | None = None, mean: Any = None, std: Any = None, channels: int = 3
    ) -> Declared:
        """As options give it, where None stands for what was not given: letterbox, mean and deviation of ImageNet.

        Raises:
            OptionError: without an input size, or for values that make no sense.
        """
        if input_size is None:
            raise OptionError(f'expected the size of the network input: {written("input_size", 224)}')
        size = tuple(input_size) if isinstance(input_size, Sequence) else input_size
        normalised = IMAGENET_MEAN if mean is None else mean, IMAGENET_STD if std is None else std
        return cls(size, 'letterbox' if resize is None else resize, *normalised, channels=channels)

    def __call__(self, image: np.ndarray) -> Tensor:
        """The network input of an (H, W, 3) RGB uint8 image: (C, h, w) float32."""
        (height, width), (top, left), (rows, columns) = self._plan(image.shape[:2])
        whole = Image.fromarray(image) if self.channels == 3 else Image.fromarray(image).convert('L')
        resized = np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)
        mean, std = self._scaled
        canvas = np.empty((rows, columns, self.channels), np.float32)
        canvas[:] = mean if self.resize == 'shorter' else _PAD
        content = resized[max(-top, 0) :, max(-left, 0) :][: rows - max(top, 0), : columns - max(left, 0)]
        top, left = max(top, 0), max(left, 0)
        canvas[top : top + content.shape[0], left : left + content.shape[1]] = content
        canvas -= mean
        canvas /= std
        return torch.from_numpy(canvas).permute(2, 0, 1).contiguous()

    def geometry(self, image_shape: tuple[int, int]) -> ImageGeometry:
        """How an image of this height and width lies in the network input."""
        (height, width), (top, left), input_shape = self._plan(image_shape)
        scale = width / image_shape[1], height / image_shape[0]
        return ImageGeometry((image_shape[0], image_shape[1]), input_shape, scale, (left, top))

    @property
    def _scaled(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of values from 0 to 255."""
        factor = 1 if max(*map(abs, self.mean), *self.std) > 1 else 255
        mean, std = (np.array(values, np.float32) * factor for values in (self.mean, self.std))
        return (mean, std) if self.channels == 3 else (mean.mean(keepdims=True), std.mean(keepdims=True))

    def _plan(self, image_shape: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """What an image of this height and width is resized to, where it goes (top, left), and the input's shape."""
        resized, corner, input_shape = self._laid_out(image_shape)
        if resized[0] * resized[1] > _MOST:
            raise SourceError(
                f'{written("resize", self.resize)} would make {resized[1]}x{resized[0]} of an image of '
                f'{image_shape[1]}x{image_shape[0]}: use letterbox or stretch'
            )
        return resized, corner, input_shape

    def _laid_out(self, image_shape: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        height, width = image_shape[0], image_shape[1]
        rows, columns = self.input_size  # type: ignore[misc]
        if self.resize == 'stretch':
            return (rows, columns), (0, 0), (rows, columns)
        if self.resize == 'letterbox':
            factor = min(rows / height, columns / width)
            resized = max(round(height * factor), 1), max(round(width * factor), 1)
            return resized, ((rows - resized[0]) // 2, (columns - resized[1]) // 2), (rows, columns)
        if self.resize == 'shorter':
            resized = _covering(height, width, rows, rows)
            filled = [math.ceil(side / _DIVISOR) * _DIVISOR for side in resized]
            return resized, (0, 0), (filled[0], filled[1])
        resized = _covering(height, width, int(rows / _MARGIN), int(columns / _MARGIN))
        # As torchvision's CenterCrop rounds.
        return resized, (-round((resized[0] - rows) / 2), -round((resized[1] - columns) / 2)), (rows, columns)


def _covering(height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """The smallest size of an image's ratio that covers another one, rounded down as by torchvision's Resize."""
    if height * columns <= width * rows:
        return rows, max(int(width * rows / height), columns)
    return max(int(height * columns / width), rows), columns


def _three(name: str, values: Any) -> tuple[float, ...]:
    """Three numbers, one for each of RGB; one stands for all."""
    values = values.tolist() if isinstance(values, np.ndarray) else values
    found = tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else (values,)
    numbers = [float(value) for value in found if isinstance(value, (int, float, np.number))]
    if len(numbers) != len(found) or len(found) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise OptionError(f'{written(name, values)}: expected three numbers, for red, green and blue, or one')
    return tuple(numbers * 3) if len(numbers) == 1 else tuple(numbers)
