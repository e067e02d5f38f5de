"""From a config to a module: which class it is, what it is made for, and the weights in it."""

from __future__ import annotations

import inspect
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from featmap.errors import ConfigError
from featmap.models.checkpoint import Checkpoint
from featmap.models.huggingface.configs import Place
from featmap.models.libraries import built

IMAGES = 'pixel_values'
"""The argument of a forward that takes images."""
# By the end of a class's name; what else there is puts out features.
_TASKS = (
    (re.compile(r'For(?:Universal|Semantic|Image|Instance|Panoptic)Segmentation$'), 'segmentation'),
    (re.compile(r'ForImageClassification\w*$'), 'classification'),
    (re.compile(r'For(?:ObjectDetection|Segmentation)$'), 'detection'),
)
_MAPPINGS = (
    'MODEL_MAPPING',
    'MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING',
    'MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING',
    'MODEL_FOR_OBJECT_DETECTION_MAPPING',
    'MODEL_FOR_DEPTH_ESTIMATION_MAPPING',
)
_UNNAMED = re.compile(r'LABEL_\d+')
_VISION_ONLY = 'vision_model'  # the part of a model of images and text, in the names of its weights


@dataclass(frozen=True)
class ModelClass:
    """The class that a config asks for.

    Attributes:
        make: The class.
        config: What it is built from: the config, or the one of its vision part.
        is_part: Whether that is a part of the whole model.
    """

    make: Any
    config: Any
    is_part: bool = False

    @property
    def task(self) -> str:
        """What the model is made for, as :data:`featmap.models.outputs.TASKS` has it."""
        name = self.make.__name__
        return next((task for pattern, task in _TASKS if pattern.search(name)), '')

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes; none where the config merely counts them, or the model has no head."""
        labels = getattr(self.config, 'id2label', None) or {}
        names = [str(labels[number]) for number in range(len(labels))] if set(labels) == set(range(len(labels))) else []
        named = self.task and not all(_UNNAMED.fullmatch(name) for name in names)
        return tuple(names) if named else ()

    def takes(self, argument: str) -> bool:
        """Whether its forward has an argument of this name."""
        return argument in inspect.signature(self.make.forward).parameters


def class_of(transformers: Any, config: Any, place: Place, trust: bool) -> ModelClass:
    """The class with the head that a config names, else the one without; of images and text the part for images.

    Raises:
        ConfigError: it takes no images, or transformers has no such class.
    """
    named = (getattr(config, 'architectures', None) or [''])[0]
    make = getattr(transformers, named, None) if named else None
    if make is None and trust and place.folder is not None:
        make = _own_class(config, named, place)
    if make is None:
        make = _usual(transformers, config)
    whole = None if make is None else ModelClass(make, config)
    if whole is not None and whole.takes(IMAGES) and not whole.takes('input_ids'):
        return whole
    part = getattr(config, 'vision_config', None)
    make = None if part is None else _usual(transformers, part)
    if make is not None and ModelClass(make, part).takes(IMAGES):
        return ModelClass(make, part, is_part=True)
    if whole is None:
        said = repr(named) if named else f'for a {type(config).__name__}'
        raise ConfigError(f"transformers {transformers.__version__} has no model {said}, which '{place.name}' is")
    taken = ', '.join(list(inspect.signature(whole.make.forward).parameters)[1:3])
    raise ConfigError(
        f"'{place.name}' is a {whole.make.__name__}, which takes {taken}: expected a model of images alone, or one "
        'with a part for them'
    )


def _usual(transformers: Any, config: Any) -> Any:
    """The class that goes with a config: the one without a head, where there is one."""
    for mapping in _MAPPINGS:
        try:
            found = getattr(transformers, mapping)[type(config)]
        except (AttributeError, KeyError):
            continue
        return found[0] if isinstance(found, (tuple, list)) else found
    return getattr(transformers, type(config).__name__.removesuffix('Config') + 'Model', None)


def _own_class(config: Any, named: str, place: Place) -> Any:
    """The class in Python code that lies beside a config."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    references = dict(getattr(config, 'auto_map', None) or {})
    fitting = [each for each in references.values() if isinstance(each, str) and each.rpartition('.')[2] == named]
    reference = fitting[0] if fitting else references.get('AutoModel')
    return None if reference is None else get_class_from_dynamic_module(reference, str(place.folder))


def build(found: ModelClass, weights: Checkpoint | None, name: str) -> tuple[nn.Module, Checkpoint | None]:
    """The module, random but for the weights, and the weights by its own names for them.

    transformers knows under which names older versions of it, and other heads, saved what the module has.

    Args:
        found: The class.
        weights: As they were read from a file.
        name: What the model is called in messages.

    Raises:
        ConfigError: it cannot be built.
    """
    if weights is None:
        model = built(found.make, {'config': found.config}, name)
        return _in_float32(model), None
    loaded: dict[str, Any] = {}

    def load() -> nn.Module:
        module, loaded['info'] = found.make.from_pretrained(
            None,
            config=found.config,
            state_dict=dict(weights.state_dict),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        return module

    model = _in_float32(built(load, {}, name))
    return model, replace(weights, state_dict=_renamed(model, weights, loaded['info'], found.is_part))


def _renamed(model: nn.Module, weights: Checkpoint, info: Any, is_part: bool) -> OrderedDict[str, torch.Tensor]:
    """What went into a module by its own names, with what did not as it was."""
    given, nothing = weights.state_dict, torch.empty(0)
    # With both shapes, but in transformers 4.5x.
    mismatched = [(each,) if isinstance(each, str) else tuple(each) for each in info['mismatched_keys']]
    others = {name: shapes[0] if shapes else given.get(name, nothing).shape for name, *shapes in mismatched}
    left = {*info['missing_keys'], *others}
    tensors = OrderedDict((name, value) for name, value in model.state_dict().items() if name not in left)
    for name, shape in others.items():
        tensors[name] = torch.empty(()).expand(tuple(shape))
    for name in sorted(info['unexpected_keys']):
        # Of a part it is no news that the rest of the whole is not used.
        if not is_part or name.startswith(_VISION_ONLY):
            tensors.setdefault(name, given.get(name, nothing))
    return tensors


def _in_float32(model: nn.Module) -> nn.Module:
    """Whatever type a config names: half precision is asked for by an option."""
    return model.float()


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without the library's progress bars and reports, which are told otherwise here."""
    logging: Any = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
