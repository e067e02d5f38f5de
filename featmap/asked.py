"""``Asked``: all that an explainer may ask of a model about one image."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from featmap.answers import Answers
from featmap.errors import ConfigError, OptionError
from featmap.geometry import ImageGeometry
from featmap.models.protocol import AnyModel, Batch

FLOOR = 1e-3
"""Raw predictions of a lower score are not looked at: they count as none."""
BASELINES = ('blur', 'black', 'mean')
_BLUR = 0.05  # of the longer side: the standard deviation of the blur that takes objects away
_BLURRED_AT = 512  # pixels of the longer side at which it is computed


@dataclass(frozen=True)
class Asked:
    """One image, and the model that is asked about it.

    Attributes:
        network: The model.
        image: (H, W, 3) RGB uint8.
        batch: The image as the network's input.
        seed: Of whatever is drawn by lot.
        batch_size: How many forms of the image go through the network at a time.
        extra_tokens: How many tokens stand before the cells, where the model is not to be asked.
    """

    network: AnyModel
    image: np.ndarray = field(repr=False)
    batch: Batch = field(repr=False)
    seed: int = 0
    batch_size: int = 8
    extra_tokens: int | None = None
    _baselines: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def geometry(self) -> ImageGeometry:
        """How the image lies in the network input."""
        return self.batch.geometries[0]

    @property
    def inputs(self) -> Tensor:
        """The network input, (C, h, w), on the model's device."""
        return self.batch.inputs[0]

    def answer(self, inputs: Tensor, recorder: AbstractContextManager[Any] | None = None) -> tuple[Answers, ...]:
        """What the model answers to other network inputs, (B, C, h, w): raw predictions, without gradients.

        Args:
            inputs: The inputs.
            recorder: Entered around the forward, see :meth:`featmap.models.protocol.AnyModel.predict`.

        Raises:
            ConfigError: where it gives no answer.
        """
        with torch.no_grad():
            return self.joined_answer(inputs, recorder)

    def joined_answer(self, inputs: Tensor, recorder: AbstractContextManager[Any] | None = None) -> tuple[Answers, ...]:
        """As :meth:`answer`, in the caller's grad mode."""
        if self.batch.inputs.is_contiguous(memory_format=torch.channels_last):
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        answers = self.network.respond(self.batch.repeated(inputs), recorder, raw=FLOOR)
        if answers is None:
            raise ConfigError(f'{type(self.network.model).__name__} gives no answer that could be explained')
        return answers

    def baseline(self, kind: str = 'blur') -> Tensor:
        """The network input, (C, h, w), of the image with nothing to see on it.

        Blending with it is the same as blending images first, for networks are fed with what is linear in the levels.

        Args:
            kind: One of :data:`BASELINES`: the image blurred, by 5 % of its longer side; black; of its mean colour.
        """
        if kind not in BASELINES:
            raise OptionError(f'no baseline is called {kind!r}: expected one of {", ".join(BASELINES)}')
        if kind not in self._baselines:
            self._baselines[kind] = self.network.prepare([_plain(self.image, kind)]).inputs[0]
        return self._baselines[kind]


def _plain(image: np.ndarray, kind: str) -> np.ndarray:
    if kind == 'blur':
        return blurred(image)
    return np.full_like(image, 0 if kind == 'black' else image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8))


def blurred(image: np.ndarray) -> np.ndarray:
    """An (H, W, 3) uint8 image, blurred until objects are gone: by a Gaussian of 5 % of its longer side."""
    height, width = image.shape[:2]
    shrunk = max(max(height, width) / _BLURRED_AT, 1)  # what is so smooth has no detail to lose
    small = cv2.resize(
        image, (max(round(width / shrunk), 1), max(round(height / shrunk), 1)), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), _BLUR * max(small.shape[:2]), borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
