"""From an image to the input of a network, with the place of the image in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry
from featmap.models.preprocessing.callers import Caller
from featmap.models.preprocessing.declared import Declared
from featmap.models.preprocessing.places import MeasuredPlaces


@dataclass(frozen=True)
class NetworkInput:
    """One image as a network is given it.

    Attributes:
        tensor: (C, h, w) float32 on the CPU.
        geometry: How the original image lies in it.
        extras: Other tensors that the preprocessing handed back, such as ``pixel_mask`` (1, h, w), by their names.
    """

    tensor: Tensor
    geometry: ImageGeometry
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the network input."""
        return int(self.tensor.shape[-2]), int(self.tensor.shape[-1])


class Preprocessing:
    """Any preprocessing, with the place of the image measured, once for each size of image.

    Args:
        function: From a PIL image or an RGB array to a tensor of (C, h, w) or (1, C, h, w): a function, transforms of
            torchvision or timm, an image processor of transformers, or a :class:`Declared`, which knows the place.
        declared: Says where images lie, and nothing is measured: a :class:`Declared`, or a function from the height and
            width of an image to its :class:`ImageGeometry`.
        name: What it is called in messages; default the name of the function.

    Raises:
        OptionError: for what is no function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        declared: Declared | Callable[[tuple[int, int]], ImageGeometry] | None = None,
        name: str = '',
    ) -> None:
        self._own = function if isinstance(function, Declared) else None
        self._caller = Caller(function, name)
        declared = declared or self._own
        self._declared = declared.geometry if isinstance(declared, Declared) else declared
        self._places = MeasuredPlaces(self._caller)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._caller.name

    def __repr__(self) -> str:
        """One line: what is called, and how the place is found."""
        return f'<Preprocessing {self.name}, {"declared" if self._declared else "measured"}>'

    def __call__(self, image: np.ndarray, over_input: bool = False) -> NetworkInput:
        """The network input of an (H, W, 3) RGB uint8 image.

        Args:
            image: The image.
            over_input: Take the input for the image: nothing is measured, and no place is refused.

        Raises:
            GeometryError: the place of the image cannot be told, or the function returns no network input.
            SourceError: the function cannot take this image.
        """
        tensor, extras = self.values(image)
        shape = int(tensor.shape[-2]), int(tensor.shape[-1])
        if over_input:
            return NetworkInput(tensor, ImageGeometry.whole(shape), extras)
        geometry = self._geometry((image.shape[0], image.shape[1]))
        if geometry.input_shape != shape:
            told = 'declared' if self._declared else 'measured on images of the same size'
            raise GeometryError(
                f'{self.name} made {shape[1]}x{shape[0]} of an image of {image.shape[1]}x{image.shape[0]}, and '
                f'{geometry.input_shape[1]}x{geometry.input_shape[0]} was {told}'
            )
        return NetworkInput(tensor, geometry, extras)

    def values(self, image: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """The network input (C, h, w) and the extras of an image, wherever it lies."""
        return (self._own(image), {}) if self._own else self._caller(image)

    def _geometry(self, image_shape: tuple[int, int]) -> ImageGeometry:
        return self._declared(image_shape) if self._declared else self._places.of(image_shape)
