"""A network input that is ready, beside the image that it was made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry
from featmap.models.preprocessing.answers import read_answer
from featmap.models.preprocessing.declared import Declared
from featmap.models.preprocessing.evidence import find_image
from featmap.models.preprocessing.places import ways_out
from featmap.models.preprocessing.preprocessing import NetworkInput, Preprocessing
from featmap.wording import option as written


class ReadyInput(Preprocessing):
    """A tensor that the network is given whatever the image; how the image lies in it is found by comparing the two.

    Args:
        tensor: (C, h, w) or (1, C, h, w) floats, or what an image processor returned.
        declared: Says how the image lies in it, and nothing is compared; see :class:`Preprocessing`.

    Raises:
        GeometryError: for what is no network input.
    """

    def __init__(
        self, tensor: Any, declared: Declared | Callable[[tuple[int, int]], ImageGeometry] | None = None
    ) -> None:
        try:
            self._tensor, self._extras = read_answer(tensor)
        except GeometryError as error:
            raise GeometryError(f'the ready input: {error}') from error
        super().__init__(self.values, declared, 'the ready input')
        self._seen: tuple[np.ndarray, ImageGeometry] | None = None

    def values(self, image: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """The tensor, and what came with it."""
        return self._tensor, self._extras

    def __call__(self, image: np.ndarray, over_input: bool = False) -> NetworkInput:
        """The tensor, with the place of an (H, W, 3) RGB uint8 image in it.

        Args:
            image: The image.
            over_input: Take the tensor for the image, whatever it was made of.

        Raises:
            GeometryError: it was not made of this image, or not by a scaling, shift, flip and crop of a usual kind.
        """
        if self._declared is None and not over_input:
            return NetworkInput(self._tensor, self._found(image), self._extras)
        return super().__call__(image, over_input)

    def _found(self, image: np.ndarray) -> ImageGeometry:
        if self._seen is None or not np.array_equal(self._seen[0], image):
            try:
                self._seen = image.copy(), find_image(self._tensor.numpy(), image).geometry
            except GeometryError as error:
                function = written('preprocess')
                raise GeometryError(
                    f'{self.name}: {error}; give the image that it was made of, or {function}, what made it; or '
                    f'{ways_out()}'
                ) from error
        return self._seen[1]
