"""What the options of a run say of a model that is fed with images directly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from featmap.errors import FeatMapWarning, OptionError
from featmap.models.checkpoint import Checkpoint, is_none, load_checkpoint
from featmap.models.classes import read_classes
from featmap.models.factories import attribute_of, find_object
from featmap.models.preprocessing import Declared, Preprocessing
from featmap.models.source import Request
from featmap.options import Run
from featmap.wording import option as written

_SIZE = (224, 224)
_DECLARED = ('input_size', 'resize', 'mean', 'std')

DECLARING = frozenset({'preprocess', *_DECLARED, 'classes'})
"""Options that say how a model is fed, and what its classes are called."""


def preprocessing_of(
    run: Run, module: nn.Module, beside: ModuleType | None = None, place: str = '', default: Any = None
) -> Preprocessing:
    """The preprocessing that a run asks for.

    Args:
        run: The run.
        module: The model, which may know the size of its input.
        beside: The module in which a function that is named alone is found.
        place: What that is called in messages.
        default: What the model itself asks for, such as a callable, where the run asks for nothing.

    Raises:
        FeatMapError: where a function is not found, or what is declared makes no sense.
    """
    model = run.model
    if isinstance(model.preprocess, Preprocessing):
        return model.preprocess
    if model.preprocess is not None:
        return Preprocessing(_function(model.preprocess, beside, place), _said(run))
    asked = any(run.asks(name) for name in _DECLARED)
    if default is not None and not asked:
        return Preprocessing(default)
    size = model.input_size or own_input_size(module) or _SIZE
    channels = own_channels(module)
    if not asked:
        warnings.warn(
            f'images are {"turned grey, " if channels == 1 else ""}letterboxed to {size[1]}x{size[0]} and normalised '
            f'as for ImageNet, for nothing says what the model is made for; {_listed(("preprocess", *_DECLARED))} say '
            'otherwise',
            FeatMapWarning,
            stacklevel=2,
        )
    return Preprocessing(Declared.parse(size, model.resize, model.mean, model.std, channels))


def _said(run: Run) -> Declared | None:
    """Where a function of one's own puts images, where the run says so."""
    size, resize = run.model.input_size, run.model.resize
    if size is None and resize is None:
        return None
    if size is None or resize is None:
        raise OptionError(
            f'{written("preprocess")} is measured unless both {written("input_size")} and {written("resize")} say what '
            f'it does to images: give the other one too, or neither'
        )
    return Declared.parse(size, resize)


def weights_of(run: Run, request: Request) -> Checkpoint | None:
    """The checkpoint that is asked for; None for random weights."""
    if request.checkpoint is None or is_none(request.checkpoint):
        return None
    return load_checkpoint(request.checkpoint, trust=run.model.trust_checkpoint)


def _listed(names: Sequence[str]) -> str:
    return ', '.join(written(name) for name in names[:-1]) + f' and {written(names[-1])}'


def own_input_size(module: nn.Module) -> tuple[int, int] | None:
    """Height and width of the input that a module says it is made for, where it says so.

    Asked are timm's ``pretrained_cfg``, the ``config`` of transformers and the ``image_size`` of torchvision.
    """
    said = getattr(module, 'pretrained_cfg', None)
    if isinstance(said, Mapping) and len(said.get('input_size') or ()) == 3:
        return int(said['input_size'][1]), int(said['input_size'][2])
    for holder in (getattr(module, 'config', None), module):
        size = getattr(holder, 'image_size', None)
        size = (size, size) if isinstance(size, int) else size
        if isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(side, int) for side in size):
            return size[0], size[1]
    return None


def own_channels(module: nn.Module) -> int:
    """1 where a module's first convolution takes grey images, and none takes colours; else 3."""
    taken = [layer.in_channels for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    return 1 if taken and taken[0] == 1 and 3 not in taken else 3


def _function(given: str | Callable[..., Any], beside: ModuleType | None, place: str) -> Callable[..., Any]:
    if not isinstance(given, str):
        return given
    if ':' in given:
        return find_object(given)
    if '.' in given and not given.endswith('.py'):  # no name of one place has a dot in it
        return find_object(':'.join(given.rpartition('.')[::2]))
    if beside is None:
        raise OptionError(
            f'{written("preprocess", given)}: expected package.module:function or file.py:function, for this model '
            'is of no file in which a name alone could be found'
        )
    return attribute_of(beside, given, place)


def classes_of(run: Run, model: nn.Module) -> tuple[str, ...]:
    """The names of the classes: those that a run gives, else those that the module has as ``classes`` or ``names``."""
    if run.model.classes is not None:
        given = run.model.classes
        return read_classes(Path(given) if isinstance(given, str) else given)
    for name in ('classes', 'class_names', 'names', 'CLASSES'):
        own = getattr(model, name, None)
        if isinstance(own, (list, tuple, dict)) and own:
            return read_classes(own)
    return ()
