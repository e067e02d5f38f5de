"""A module that is built already, from wherever, as a ``Network``: fed and read as the options of a run say."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import nn

from featmap.models.bare import unwrapped
from featmap.models.checkpoint import Checkpoint
from featmap.models.huggingface.modules import ModelClass
from featmap.models.huggingface.network import TransformersNetwork, is_of_transformers, reader_of
from featmap.models.network import Network
from featmap.models.outputs import OutputReader
from featmap.models.preprocessing import Preprocessing
from featmap.models.reading import classes_of, preprocessing_of
from featmap.models.torchvision_detectors import TorchvisionDetector, resized_inside, resizes_inside
from featmap.options import Run


def network_of(
    run: Run,
    model: nn.Module,
    *,
    device: torch.device,
    checkpoint: Checkpoint | None,
    name: str,
    random_weights: bool = False,
    weights_name: str | None = None,
    beside: ModuleType | None = None,
    place: str = '',
) -> Network:
    """The network of a module that no library says more of.

    Args:
        run: The run.
        model: The module. A detector of torchvision is told by its transform, and fed as one; a model of transformers
            by its config, which names classes.
        device: As for :class:`Network`, like the next four.
        checkpoint: Weights to put into it.
        name: What it is called.
        random_weights: Whether its weights mean nothing.
        weights_name: What its weights are called, where they are of no checkpoint.
        beside: See :func:`preprocessing_of`, like the next one.
        place: What that is called in messages.

    Raises:
        FeatMapError: as :func:`preprocessing_of` and :class:`Network`.
    """
    model = unwrapped(model)
    # A network input that is ready went through no transform, and is not measured.
    inside = resizes_inside(model) and not isinstance(run.model.preprocess, Preprocessing)
    make, feed = (TorchvisionDetector, resized_inside) if inside else (Network, preprocessing_of)
    if is_of_transformers(model):
        make, reader = TransformersNetwork, reader_of(run, model, ModelClass(type(model), model.config))
    else:
        classes = classes_of(run, model)
        reader = OutputReader(classes, score_thr=run.what.score_thr, asked=run.model.classes is not None)
    return make(
        model,
        feed(run, model, beside, place),
        reader,
        device=device,
        checkpoint=checkpoint,
        random_weights=random_weights,
        name=name,
        weights_name=weights_name,
        amp=run.model.amp,
    )
