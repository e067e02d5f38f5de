"""A network input without an image: its own picture stands for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry
from featmap.models.preprocessing.answers import read_answer
from featmap.models.preprocessing.preprocessing import NetworkInput, Preprocessing


class InputAlone(Preprocessing):
    """A tensor that the network is given, and a picture of it that stands for the image.

    The lowest value of the tensor is black in the picture and the highest white, over all channels; other pictures of
    its size, such as the same one blurred, become network inputs by the same levels.

    Args:
        tensor: (C, h, w) or (1, C, h, w) floats, or what an image processor returned.

    Raises:
        GeometryError: for what is no network input.
    """

    def __init__(self, tensor: Any) -> None:
        try:
            self._tensor, self._extras = read_answer(tensor)
        except GeometryError as error:
            raise GeometryError(f'the network input: {error}') from error
        super().__init__(self.values, ImageGeometry.whole, 'the network input')
        finite = self._tensor[torch.isfinite(self._tensor)]
        self._low = float(finite.min()) if len(finite) else 0.0
        self._span = max(float(finite.max()) - self._low, 1e-12) if len(finite) else 1.0
        shares = torch.nan_to_num((self._tensor - self._low) / self._span).clamp(0, 1)
        shares = shares if len(shares) == 3 else shares.mean(dim=0).expand(3, -1, -1)
        self.picture: np.ndarray = (shares * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        """(h, w, 3) RGB uint8."""

    def values(self, image: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """The tensor for its own picture, and what came with it; what another picture of its size stands for."""
        if image.shape != self.picture.shape or np.array_equal(image, self.picture):
            return self._tensor, self._extras
        shares = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
        shares = shares if len(self._tensor) == 3 else shares.mean(dim=0).expand(len(self._tensor), -1, -1)
        return (shares * self._span + self._low).contiguous(), self._extras

    def __call__(self, image: np.ndarray, over_input: bool = False) -> NetworkInput:
        """The network input of a picture (h, w, 3) uint8, which it covers."""
        tensor, extras = self.values(image)
        return NetworkInput(tensor, ImageGeometry.whole((int(tensor.shape[-2]), int(tensor.shape[-1]))), extras)
