"""``visualize`` and ``explain``: one line for a module and an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from featmap.errors import OptionError
from featmap.explained_results import ExplainedResult
from featmap.images import AnyImage
from featmap.inferencer import FeatMapInferencer
from featmap.models.modes import modes_kept
from featmap.models.preprocessing import InputAlone, ReadyInput
from featmap.options import OPTIONS
from featmap.results import Result


def visualize(
    module: nn.Module,
    image: AnyImage,
    layers: str | nn.Module | Sequence[str | nn.Module] = (),
    *,
    preprocess: Callable[..., Any] | None = None,
    inputs: Any = None,
    bgr: bool = False,
    **options: Any,
) -> Result | list[Result]:
    """Draw what a module's layers put out for an image.

    The module stays on its device, and is left in the mode, training or not, that it was in.

    Args:
        module: Any PyTorch module.
        image: A path, a URL, a PIL image, an array of (H, W, 3) RGB or (H, W) grey uint8, or a tensor of (3, H, W)
            uint8; several give a list of results.
        layers: Names of layers, or the modules themselves; by default those that are chosen for the model.
        preprocess: From a PIL image or an RGB array to the network input: any function, torchvision's transforms, or a
            processor of transformers. Where it puts the image is measured. By default ``input_size``, ``resize``,
            ``mean`` and ``std`` say it.
        inputs: A network input that is ready, (C, h, w) or (1, C, h, w), in place of ``preprocess``: a float tensor
            that was made of ``image``. How that lies in it is found by comparing the two.
        bgr: Whether an array or tensor is BGR, as OpenCV reads it.
        **options: Any of :class:`featmap.FeatMapInferencer`, such as ``channel_reduction`` or ``norm``.

    Raises:
        FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.

    Example:
        >>> featmap.visualize(resnet, 'dog.jpg', ['layer3', 'layer4'], preprocess=weights.transforms())
    """
    if not isinstance(layers, Sequence) or len(layers):
        options['target_layers'] = layers
    if preprocess is not None and inputs is not None:
        raise OptionError('preprocess and inputs both say what the network is given: give either')
    if preprocess is not None or inputs is not None:
        options['preprocess'] = preprocess if inputs is None else ReadyInput(inputs)
    with modes_kept(module) if isinstance(module, nn.Module) else nullcontext():
        return FeatMapInferencer(model=module, **options)(image, bgr=bgr)


def explain(
    module: nn.Module,
    inputs: Any,
    target: Any = None,
    layers: str | nn.Module | Sequence[str | nn.Module] = (),
    method: str | Sequence[str] | None = None,
    *,
    preprocess: Callable[..., Any] | None = None,
    bgr: bool = False,
    **options: Any,
) -> ExplainedResult | list[ExplainedResult]:
    """Say what in an image speaks for a class, a detection or a region that a module answers with.

    The module stays on its device, and is left as it was: its mode, its parameters' ``requires_grad`` and ``grad``.

    Args:
        module: Any PyTorch module.
        inputs: A network input that is ready, a float tensor of (C, h, w) or (1, C, h, w), for which a picture of it
            stands as the image; or an image as for :func:`visualize`, together with ``preprocess``.
        target: ``top`` (the default), ``class:dog``, ``class:16``, ``class:dog-class:cat``, ``box:0``, ``boxes``, or a
            function from what the module returns to a scalar.
        layers: Names of layers, or the modules themselves; by default what measured best.
        method: One or several of EXPLAINERS; by default what measured best.
        preprocess: As for :func:`visualize`.
        bgr: Likewise.
        **options: Any of :class:`featmap.FeatMapInferencer`, such as ``classes``, ``fuse``, ``zoom``.

    Returns:
        A result whose ``heat`` is (H, W) float32 from 0 to 1 on the image, ``maps`` the same at each layer's own
        resolution with its place, and ``explanations`` what each is about.

    Raises:
        FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.

    Example:
        >>> featmap.explain(resnet, tensor, 'class:16', 'layer3').heat
    """
    image = inputs
    if preprocess is not None:
        options['preprocess'] = preprocess
    elif _is_ready(inputs):
        options['preprocess'] = alone = InputAlone(inputs)
        image = alone.picture
    chosen = layers if not isinstance(layers, Sequence) or len(layers) else None
    with modes_kept(module) if isinstance(module, nn.Module) else nullcontext():
        vis = FeatMapInferencer(model=module, **_of_model(options))
        return vis.explain(image, target, method, chosen, bgr=bgr, **_of_call(options))


def _of_model(options: Mapping[str, Any]) -> dict[str, Any]:
    """What says how the module is fed and run, and what is no option."""
    return {name: value for name, value in options.items() if name not in OPTIONS or OPTIONS[name].group == 'model'}


def _of_call(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in OPTIONS and OPTIONS[name].group != 'model'}


def _is_ready(inputs: Any) -> bool:
    """Whether this is a network input rather than an image."""
    if isinstance(inputs, Mapping):
        return True
    return isinstance(inputs, torch.Tensor) and inputs.is_floating_point()
