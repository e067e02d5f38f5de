"""Which of several transforms is the one after which an image cannot be placed any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from torch import Tensor

from featmap.errors import GeometryError
from featmap.geometry.measured import fit
from featmap.geometry.probes import asymmetric_probe, probe_images
from featmap.models.preprocessing.callers import Caller
from featmap.models.steadiness import is_steady

RANDOM = 'gives another result each time, so that a map cannot be laid over the image'

_REPEATS = 15


def first_culprit(caller: Caller, image_shape: tuple[int, int]) -> str | None:
    """Its name and what is wrong with it; None where the preprocessing is not a row of transforms, or none is at fault.

    A row of transforms is what has ``transforms``, such as torchvision's ``Compose``.
    """
    twin: Any = caller.given(asymmetric_probe(image_shape))
    probes: list[Any] = [caller.given(probe) for probe in probe_images(image_shape)]
    for transform in _steps(caller.function):
        name = getattr(transform, '__name__', type(transform).__name__)

        def picture(given: Any, transform: Callable[[Any], Any] = transform) -> np.ndarray:
            return _array(transform(given))

        try:
            if not is_steady(picture, twin, _REPEATS):
                return f'{name} {RANDOM}'
            twin, probes = transform(twin), [transform(probe) for probe in probes]
            fit([_array(probe) for probe in probes], image_shape)
        except GeometryError as error:
            return f'{name}: {error}'
        except (TypeError, ValueError, RuntimeError, AttributeError):
            return None  # it cannot be shown a probe by itself, so that all that is known is known of the whole
    return None


def _steps(function: Any) -> Iterable[Callable[[Any], Any]]:
    steps = getattr(function, 'transforms', None)
    return steps if isinstance(steps, Iterable) and all(map(callable, steps)) else ()


def _array(step: Any) -> np.ndarray:
    """What a transform handed on, as (C, h, w) or (h, w)."""
    if isinstance(step, Tensor):
        return step.detach().cpu().numpy()
    if isinstance(step, (tuple, list)):
        raise GeometryError(f'got {len(step)} results, such as crops: expected one')
    pixels = np.asarray(step)
    return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
