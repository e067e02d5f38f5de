"""Models of torchvision: ``torchvision:resnet50``, ``torchvision:fasterrcnn_resnet50_fpn``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from featmap.download import is_url
from featmap.errors import CheckpointError, ConfigError, nearest
from featmap.models.checkpoint import Checkpoint, is_none, is_word
from featmap.models.device import pick_device
from featmap.models.libraries import PRETRAINED, built, import_library, preprocessing_like
from featmap.models.network import Network
from featmap.models.outputs import OutputReader
from featmap.models.overrides import as_dict
from featmap.models.preprocessing import Declared, Preprocessing
from featmap.models.preprocessing.declared import IMAGENET_MEAN, IMAGENET_STD
from featmap.models.reading import DECLARING, classes_of, weights_of
from featmap.models.source import ModelSource
from featmap.models.torchvision_detectors import TorchvisionDetector, resized_inside
from featmap.options import Run
from featmap.registry import MODEL_SOURCES

# By the package of torchvision.models that builds them.
_TASKS = ('detection', 'segmentation')
# The weights that have an output for each class, where they are not the last ones.
_CLASSIFIERS = {
    'detection': ('roi_heads.box_predictor.cls_score.weight',),
    'segmentation': ('classifier.4.weight', 'classifier.low_classifier.weight'),
}
_REFUSED = {
    'quantization': 'computes in whole numbers, which are no maps: take it without quantized_',
    'video': 'takes clips, and its maps have a time axis: images are drawn here',
    'optical_flow': 'takes two images, and one is drawn here',
}


@MODEL_SOURCES.register_module('torchvision')
class TorchvisionSource(ModelSource):
    """A name of ``torchvision.models.list_models``: a classifier, detector or segmenter, fed as its weights say.

    The checkpoint is a file, the name of weights (``DEFAULT``, ``IMAGENET1K_V2``), which are downloaded, or ``none``.
    """

    kind = 'a model of torchvision'
    takes = frozenset({'model_args', *DECLARING})

    def open(self, run: Run) -> Network:
        """Build the model and load its weights.

        Raises:
            FeatMapError: torchvision is not installed, has no such model or weights, cannot build or download them; or
                what :class:`Network` raises.
        """
        name = f'torchvision:{self.request.name}'
        import_library('torchvision', f"the model '{name}'")
        models = import_library('torchvision.models', f"the model '{name}'")
        builder = _builder(models, self.request.name)
        task = _room(builder) if _room(builder) in _TASKS else 'classification'
        known = models.get_model_weights(builder)
        named = _named_weights(known, self.request)
        weights = None if named is not None else weights_of(run, self.request)
        source = named or _weights_of_file(known, self.request.checkpoint) or getattr(known, 'DEFAULT', None)
        asked = {
            **_of_classes(weights, source, task),
            **as_dict(run.model.model_args, 'model_args', 'num_classes=5'),
        }
        arguments = {'weights': named, **_nothing_downloaded(builder, named), **asked}
        hint = 'where there is no network, give a file in place of the name of weights' if named is not None else ''
        model = built(builder, arguments, name, hint)
        reader = OutputReader(
            classes_of(run, model) or (() if 'num_classes' in asked else _categories(source)),
            score_thr=run.what.score_thr,
            task=task,
        )
        make = TorchvisionDetector if task == 'detection' else Network
        return make(
            model,
            _preprocessing(run, model, source, task),
            reader,
            device=pick_device(run.model.device),
            checkpoint=weights,
            random_weights=weights is None and named is None,
            name=name,
            weights_name=None if named is None else f'{type(named).__name__}.{named.name}',
            amp=run.model.amp,
        )


def _builder(models: Any, name: str) -> Callable[..., nn.Module]:
    """The function that builds a model."""
    known = models.list_models()
    if name.lower() not in known:
        fit = [each for each in known if _room(models.get_model_builder(each)) not in _REFUSED]
        raise ConfigError(f'torchvision has no model {name!r}; nearest: {", ".join(nearest(name.lower(), fit))}')
    builder = models.get_model_builder(name)
    reason = _REFUSED.get(_room(builder))
    if reason:
        raise ConfigError(f'torchvision:{name} {reason}')
    return builder


def _room(builder: Callable[..., Any]) -> str:
    """The package below ``torchvision.models`` that a builder is in; empty for that of the classifiers."""
    rest = builder.__module__.partition('.models.')[2].split('.')
    return rest[0] if len(rest) > 1 else ''


def _named_weights(known: Any, request: Any) -> Any:
    """The weights that the checkpoint is the name of; None where it is a file, an address or none."""
    given = request.checkpoint
    if given is None or is_none(given) or is_url(str(given)) or Path(given).exists():
        return None
    text = str(given)
    if is_word(given, PRETRAINED):
        text = 'DEFAULT'
    name = text.rpartition('.')[2].upper()
    if text.upper() in (name, f'{known.__name__.upper()}.{name}') and name in known.__members__:
        return known[name]
    if Path(text).suffix in ('.pth', '.pt', '.safetensors', '.bin', '.ckpt', '.tar') or Path(text).name != text:
        return None  # the reader of files says that there is none
    raise CheckpointError(
        f"torchvision has no weights '{text}' of {request.name}, and there is no such file; its weights are "
        f'{", ".join(known.__members__) or "none"}'
    )


def _nothing_downloaded(builder: Callable[..., Any], named: Any) -> dict[str, Any]:
    """Arguments without which weights of a backbone are downloaded."""
    there = 'weights_backbone' in inspect.signature(builder).parameters
    return {'weights_backbone': None} if named is None and there else {}


def _of_classes(weights: Checkpoint | None, source: Any, task: str) -> dict[str, Any]:
    """As many classes as a file has, as an argument, where it was trained for other ones than torchvision's own."""
    given = weights.state_dict if weights is not None else {}
    names = _CLASSIFIERS.get(task) or [name for name, tensor in given.items() if tensor.ndim > 1][-1:]
    counts = [len(given[name]) for name in names if name in given]
    return {'num_classes': counts[0]} if counts and counts[0] != len(_categories(source)) else {}


def _weights_of_file(known: Any, checkpoint: Any) -> Any:
    """The weights that a file of that name is downloaded for; None where there are none."""
    name = Path(str(checkpoint)).name
    return next((each for each in known if each.url.rpartition('/')[2] == name), None)


def _categories(weights: Any) -> tuple[str, ...]:
    return tuple(weights.meta.get('categories') or ()) if weights is not None else ()


def _preprocessing(run: Run, model: nn.Module, weights: Any, task: str) -> Preprocessing:
    """That of weights, with what the run asks of it otherwise."""
    preset = weights.transforms() if weights is not None else None
    if task == 'detection':
        return resized_inside(run, model, preset=preset)
    crop: Any = getattr(preset, 'crop_size', None)
    sides: Any = crop or getattr(preset, 'resize_size', None) or [224]
    mean, std = getattr(preset, 'mean', IMAGENET_MEAN), getattr(preset, 'std', IMAGENET_STD)

    def make(size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[..., Any]:
        if preset is None or (crop is None and run.model.input_size is not None):
            return Declared(size, 'center-crop' if preset is None else 'letterbox', mean, std)
        if run.model.input_size is not None:
            # The same share of the image at another size.
            preset.resize_size = [round(max(size) * preset.resize_size[0] / crop[0])]
            preset.crop_size = list(size)
        preset.mean, preset.std = list(mean), list(std)
        return preset

    return preprocessing_like(run, model, (sides[0], sides[-1]), mean, std, make)
