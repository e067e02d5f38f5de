"""Models of timm: ``timm:resnet50``."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from featmap.errors import ConfigError, nearest
from featmap.models.checkpoint import Checkpoint, is_word
from featmap.models.device import pick_device
from featmap.models.libraries import PRETRAINED, built, import_library, preprocessing_like
from featmap.models.network import Network
from featmap.models.outputs import OutputReader
from featmap.models.overrides import as_dict
from featmap.models.preprocessing import Preprocessing
from featmap.models.reading import DECLARING, classes_of, weights_of
from featmap.models.source import ModelSource
from featmap.options import Run
from featmap.registry import MODEL_SOURCES


@MODEL_SOURCES.register_module('timm')
class TimmSource(ModelSource):
    """A name of ``timm.create_model``, fed as its data config says.

    The checkpoint is a file, the word ``pretrained``, for which timm downloads it, or ``none``.
    """

    kind = 'a model of timm'
    takes = frozenset({'model_args', *DECLARING})

    def open(self, run: Run) -> Network:
        """Build the model and load its weights.

        Raises:
            FeatMapError: timm is not installed, has no such model, cannot build or download it; or what
                :class:`Network` raises.
        """
        name = f'timm:{self.request.name}'
        timm = import_library('timm', f"the model '{name}'")
        config = _config(timm, self.request.name)
        downloaded = is_word(self.request.checkpoint, PRETRAINED)
        weights = None if downloaded else weights_of(run, self.request)
        asked = as_dict(run.model.model_args, 'model_args', 'img_size=256')
        arguments = {**_of_size(run, config), **_of_classes(weights, config), **asked}
        hint = ''
        if downloaded:
            _refuse_without_weights(timm, self.request.name, config)
            arguments['pretrained'] = True
            hint = f'where there is no network, give a file in place of {PRETRAINED}'
        model = built(timm.create_model, {'model_name': self.request.name, **arguments}, name, hint)
        counted = 'num_classes' in arguments
        classes = classes_of(run, model) or _classes(model, counted)
        is_classifier = bool(classes) or (counted and arguments['num_classes'] != 0)
        return Network(
            model,
            _preprocessing(run, model, arguments),
            # What timm's own weights put out besides classes that it names is the embedding of a CLIP.
            OutputReader(classes, score_thr=run.what.score_thr, task='classification' if is_classifier else ''),
            device=pick_device(run.model.device),
            checkpoint=None if weights is None else _in_layout(weights, model),
            random_weights=weights is None and not downloaded,
            name=name,
            weights_name=PRETRAINED if downloaded else None,
            amp=run.model.amp,
        )


def _config(timm: Any, name: str) -> Any:
    """What timm says of a model that it has; None where it says nothing."""
    if ':' in name:  # of the Hub, or of a folder
        return None
    architecture, _, tag = name.partition('.')
    if not timm.is_model(architecture):
        close = ', '.join(nearest(architecture, timm.list_models()))
        raise ConfigError(f'timm {timm.__version__} has no model {architecture!r}; nearest: {close}')
    try:
        return timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = _tags(timm, architecture)
        close = ', '.join(nearest(name, tags)) if tags else 'it has none'
        raise ConfigError(
            f'timm {timm.__version__} has no weights {tag!r} of {architecture}; nearest: {close}'
        ) from error


def _tags(timm: Any, architecture: str) -> list[str]:
    """The names of an architecture's weights."""
    return [name for name in timm.list_models(pretrained=True) if name.partition('.')[0] == architecture]


def _refuse_without_weights(timm: Any, name: str, config: Any) -> None:
    """Refuse where timm itself would go on with random weights."""
    if ':' not in name and not (config and (config.url or config.file or config.hf_hub_id)):
        known = _tags(timm, name.partition('.')[0])
        there = f': there are {", ".join(known[:5])}' if known else ''
        raise ConfigError(f'timm {timm.__version__} has no weights for {name} to download{there}; give a file, or none')


def _of_size(run: Run, config: Any) -> dict[str, Any]:
    """The size that is asked for, as an argument, where the model is built for one size."""
    fixed = config is not None and config.fixed_input_size
    return {'img_size': run.model.input_size} if fixed and run.model.input_size else {}


def _of_classes(weights: Checkpoint | None, config: Any) -> dict[str, Any]:
    """As many classes as a checkpoint has, as an argument, where it was trained for other ones than timm's own."""
    classifier = config.classifier if weights is not None and config is not None else None
    first = classifier[0] if isinstance(classifier, (list, tuple)) and classifier else classifier
    tensor = weights.state_dict.get(f'{first}.weight') if weights is not None and first else None
    if tensor is None or tensor.ndim < 2 or tensor.shape[0] == config.num_classes:
        return {}
    return {'num_classes': int(tensor.shape[0])}


def _preprocessing(run: Run, model: nn.Module, arguments: Mapping[str, Any]) -> Preprocessing:
    data = import_library('timm.data', 'a model of timm')
    config = data.resolve_model_data_config(model)
    size = arguments.get('img_size') or config['input_size'][-2:]
    height, width = (size, size) if isinstance(size, int) else size

    def make(size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
        channels = config['input_size'][0]
        return data.create_transform(
            **{**config, 'input_size': (channels, *size), 'mean': mean, 'std': std}, is_training=False
        )

    return preprocessing_like(run, model, (height, width), config['mean'], config['std'], make)


def _classes(model: nn.Module, counted: bool) -> tuple[str, ...]:
    """The classes that the model's own weights tell apart; none where their number was asked for."""
    config = getattr(model, 'pretrained_cfg', None) or {}
    count = getattr(model, 'num_classes', 0)
    if counted or not count or count != config.get('num_classes'):
        return ()
    labels, described = config.get('label_names'), config.get('label_descriptions') or {}
    if not labels:
        data = import_library('timm.data', 'a model of timm')
        subset = data.infer_imagenet_subset(model)
        labels = data.ImageNetInfo(subset).label_descriptions() if subset else ()
    return tuple(str(described.get(label, label)) for label in labels) if len(labels) == count else ()


def _in_layout(weights: Checkpoint, model: nn.Module) -> Checkpoint:
    """Weights in the model's layout: those that others published renamed, positions resampled to its grid."""
    own, given = model.state_dict(), weights.state_dict
    convert = getattr(sys.modules.get(type(model).__module__), 'checkpoint_filter_fn', None)
    if convert is None or all(name in given and given[name].shape == tensor.shape for name, tensor in own.items()):
        return weights
    try:
        return replace(weights, state_dict=OrderedDict(convert(dict(given), model)))
    # Each architecture's own, made for the weights that it was published with: any others may break it.
    except Exception:
        return weights
