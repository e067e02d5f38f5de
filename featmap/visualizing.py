"""``visualize``: one line for a module and an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from torch import nn

from featmap.errors import OptionError
from featmap.images import AnyImage
from featmap.inferencer import FeatMapInferencer
from featmap.models.modes import modes_kept
from featmap.models.preprocessing import ReadyInput
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
