"""What any model has to be here: fed with images, run for what it finds, and open to hooks."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from featmap.answers import Answers, RawLayer
from featmap.errors import ConfigError, FeatMapError
from featmap.geometry import ImageGeometry
from featmap.meaning import Meanings
from featmap.models.checkpoint import WeightReport
from featmap.models.differentiable import frozen, kept_whole
from featmap.models.modes import evaluating, uncompiled
from featmap.structures import Detections

# The words of PyTorch and of extensions where a tensor does not lie in memory as a layer wants it.
_LAYOUT = re.compile('contiguous|stride', re.IGNORECASE)

_Found = TypeVar('_Found')

BLANK = np.full((480, 640, 3), 127, np.uint8)
"""An image with nothing on it."""


@dataclass(frozen=True)
class Batch:
    """Preprocessed images.

    Attributes:
        inputs: The network input, (N, C, H, W), on the model's device.
        geometries: How each image lies in it.
    """

    inputs: Tensor
    geometries: tuple[ImageGeometry, ...]

    @property
    def input_shape(self) -> tuple[int, int]:
        """Height and width of the network input."""
        return int(self.inputs.shape[-2]), int(self.inputs.shape[-1])

    def repeated(self, inputs: Tensor) -> Batch:
        """The first image of this batch in other forms, (B, C, H, W): all lie as it does."""
        return replace(self, inputs=inputs, geometries=self.geometries[:1] * len(inputs))


class AnyModel(ABC):
    """A model on its device, in eval mode, whatever it comes from.

    A source of one's own makes a subclass of it, or a :class:`featmap.models.network.Network`.

    Attributes:
        model: The module, whose layers are recorded.
        device: Where it is.
        classes: Names of its classes; empty where they are not known.
        weights: What of a checkpoint went into it; None where there was none.
        random_weights: Whether its weights mean nothing.
        score_thr: What is found below it is left out.
        head_score_thr: The threshold that the model itself applies, if any.
        classifies: Whether plain scores are answers about classes, though nothing but who asks says so.
    """

    model: nn.Module
    device: torch.device
    classes: tuple[str, ...] = ()
    weights: WeightReport | None = None
    random_weights: bool = False
    score_thr: float = 0.3
    head_score_thr: float | None = None
    classifies: bool = False
    amp: bool = False
    _channels_last: bool = False
    _took_channels_last: bool = False

    @property
    @abstractmethod
    def provenance(self) -> Mapping[str, str | None]:
        """Where the model comes from: ``config``, ``checkpoint``, ``checkpoint_sha256``."""

    @abstractmethod
    def prepare(self, images: Sequence[np.ndarray], contiguous: bool = False, over_input: bool = False) -> Batch:
        """The network input for (H, W, 3) RGB uint8 images, and where they lie in it.

        Args:
            images: The images.
            contiguous: Keep PyTorch's default memory layout, whatever is faster.
            over_input: Take the network input for the image, so that maps and what is found are in its pixels. Then
                nothing has to be known of where the images lie in it.

        Raises:
            GeometryError: it cannot be said where an image lies in the input.
            SourceError: an image cannot be preprocessed.
        """

    def blank(self) -> Batch:
        """An input with nothing on it, for what a forward shows of the layers alone: there is no image to lie in it."""
        return self.prepare([BLANK], over_input=True)

    @abstractmethod
    def _predict(self, batch: Batch) -> tuple[Detections, ...] | None:
        """One forward: what is found in each image; None where that is not known."""

    def meanings(self) -> Meanings:
        """What the outputs of the model's layers mean."""
        return Meanings()

    def predict(
        self, batch: Batch, recorder: AbstractContextManager[Any] | None = None
    ) -> tuple[Detections, ...] | None:
        """Run the model as for inference, in eval mode: what it finds in each image, from ``score_thr`` up.

        All is in original pixels. Boxes end at the image's edges; those that are not finite are left out.

        Args:
            batch: The images.
            recorder: Entered around the forward, which it may end: there are no detections then. Where a layer can only
                take the default memory layout, as one that calls ``view`` on its input, the forward is run again and
                the recorder entered anew; one around this call would see both runs.
        """
        return self._run(self._predict, batch, recorder)

    def respond(
        self, batch: Batch, recorder: AbstractContextManager[Any] | None = None, raw: float | None = None
    ) -> tuple[Answers, ...] | None:
        """Run the model as :meth:`predict` does; what it answers stays joined to the graph, where gradients are on.

        Parameters take no part in the graph, and are left as they were.

        Args:
            batch: The images.
            recorder: As for :meth:`predict`.
            raw: Every prediction of a higher score than this, before anything is suppressed; None for the final answer.

        Raises:
            ConfigError: where the model's answers are not joined to what they come from.
        """
        with frozen(self.model), kept_whole(self.model):
            return self._run(partial(self._respond, raw=raw), batch, recorder)

    def _respond(self, batch: Batch, raw: float | None) -> tuple[Answers, ...]:
        """One forward, in the caller's grad mode."""
        raise ConfigError(f'{type(self).__name__} cannot be explained: it has no answers that can be differentiated')

    def raw_layers(self) -> list[RawLayer]:
        """The layers that put out raw predictions, where that is known."""
        return []

    def _run(
        self, forward: Callable[[Any], _Found], batch: Batch, recorder: AbstractContextManager[Any] | None
    ) -> _Found | None:
        try:
            return self._in_any_layout(forward, batch, nullcontext() if recorder is None else recorder)
        except FeatMapError:
            raise
        except Exception as error:
            told = self._explained(error, batch)
            if told is None:
                raise
            raise told from error

    def _explained(self, error: Exception, batch: Batch) -> FeatMapError | None:
        """What an error of the forward is for who runs the model; None where it speaks for itself."""
        return None

    def _in_any_layout(
        self, forward: Callable[[Any], _Found], batch: Batch, recorder: AbstractContextManager[Any]
    ) -> _Found | None:
        """One forward, or a second one where a layer cannot take the faster memory layout."""
        if batch.inputs.is_contiguous():
            return self._recorded(forward, batch, recorder)
        try:
            # A copy: the forward may write into it before it comes to the layer that cannot take it.
            inputs = batch.inputs if self._took_channels_last else batch.inputs.clone()
            found = self._recorded(forward, replace(batch, inputs=inputs), recorder)
            self._took_channels_last |= found is not None  # of None it may have ended before that layer
            return found
        except (RuntimeError, ValueError, AssertionError, FeatMapError) as error:
            if not _is_about_layout(error):
                raise
        found = self._recorded(forward, replace(batch, inputs=batch.inputs.contiguous()), recorder)
        self._channels_last = False
        return found

    def _recorded(
        self, forward: Callable[[Any], _Found], batch: Batch, recorder: AbstractContextManager[Any]
    ) -> _Found | None:
        with evaluating(self.model), uncompiled(), recorder:
            return forward(batch)
        return None

    def _laid_out(self, inputs: Tensor, contiguous: bool) -> Tensor:
        """The network input in the memory layout that is faster here."""
        if self._channels_last and not contiguous and inputs.ndim == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def _autocast(self) -> AbstractContextManager[Any]:
        """Half precision for a forward, where it is asked for."""
        half = torch.float16 if self.device.type == 'cuda' else torch.bfloat16
        return torch.autocast(self.device.type, dtype=half, enabled=self.amp)


def _is_about_layout(error: Exception) -> bool:
    """Whether an error may come from a tensor's memory layout; an assertion without a word may."""
    if isinstance(error, FeatMapError):
        cause = error.__cause__  # such as a reducer's
        return isinstance(cause, RuntimeError) and _is_about_layout(cause)
    return bool(_LAYOUT.search(str(error))) or (isinstance(error, AssertionError) and not str(error))
