"""How a preprocessing wants to be given an image, found by annotation or by trying."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featmap.errors import GeometryError, OptionError, SourceError, first_line
from featmap.models.preprocessing.answers import read_answer

_FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    'a PIL image': Image.fromarray,
    'an RGB array': np.copy,  # which it may write into
    'a tensor': lambda image: torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
}


class Caller:
    """Gives (H, W, 3) RGB uint8 images to a function as it wants them, and reads what comes back.

    A function is given PIL images where it takes them, else arrays of (H, W, 3), else tensors of (3, H, W), all uint8;
    in another order where the annotation of its first argument says so. An image processor of transformers is given
    PIL images and asked for tensors.

    Attributes:
        function: What is called.
        name: Its name, for messages.

    Raises:
        OptionError: for what is no function.
    """

    def __init__(self, function: Callable[..., Any], name: str = '') -> None:
        function = getattr(function, 'image_processor', None) or function
        if not callable(function):
            raise OptionError(
                f'{type(function).__name__} was given as the preprocessing: expected a function of a PIL image or an '
                'RGB array that returns a tensor'
            )
        self.function = function
        self.name = name or _name_of(function)
        self._is_processor = hasattr(function, 'model_input_names') and hasattr(function, 'preprocess')
        self._forms = ['a PIL image'] if self._is_processor else _order(function)

    def __call__(self, image: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """What :func:`read_answer` makes of the function's answer.

        Raises:
            SourceError: it cannot take the image in any form.
            GeometryError: what it returns is no network input.
        """
        errors: dict[str, Exception] = {}
        for form in self._forms:
            try:
                found = read_answer(self._run(form, image))
            except Exception as error:  # whatever a function makes of an image that it cannot take
                errors[form] = error
                continue
            self._forms = [form]
            return found
        raise self._refusal(image, errors) from next(iter(errors.values()))

    def given(self, image: np.ndarray) -> Any:
        """An image as the function wants it, as far as that is known by now."""
        return _FORMS[self._forms[0]](image)

    def _run(self, form: str, image: np.ndarray) -> Any:
        given = _FORMS[form](image)
        # A probe is of one level: what divides by its deviation is no news.
        with np.errstate(all='ignore'), warnings.catch_warnings():
            warnings.simplefilter('ignore', RuntimeWarning)
            if self._is_processor:
                return self.function(images=given, return_tensors='pt')
            return self.function(given)

    def _refusal(self, image: np.ndarray, errors: dict[str, Exception]) -> Exception:
        height, width = image.shape[:2]
        reasons = {form: _reason(error) for form, error in errors.items()}
        # What the function returned says more than why it did not take another form.
        unread = [error for error in errors.values() if isinstance(error, GeometryError)]
        if unread:
            return GeometryError(f'{self.name}: {unread[0]}')
        if len(set(reasons.values())) == 1:
            said = f'{next(iter(reasons.values()))}, whether as {" or ".join(reasons)}'
        else:
            said = '; '.join(f'as {form}: {reason}' for form, reason in reasons.items())
        return SourceError(f'the preprocessing {self.name} cannot take an image of {width}x{height}: {said}')


def _reason(error: Exception) -> str:
    return f'{type(error).__name__}: {first_line(error)}'


def _name_of(function: Any) -> str:
    name = getattr(function, '__name__', None)
    if name == '<lambda>':
        return 'preprocess'
    return name or type(function).__name__


def _order(function: Callable[..., Any]) -> list[str]:
    """The forms to try, the one that the annotation of the first argument names first."""
    forms = list(_FORMS)
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):  # compiled, without a signature
        return forms
    # Not that of a tensor: torchvision's transforms say so, and are given PIL images by everyone.
    if first is not None and 'ndarray' in str(first.annotation).lower():
        forms.insert(0, forms.pop(1))
    return forms
