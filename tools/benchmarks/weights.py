"""Weights for a detector that nobody trained, saved once so that all tools load the same file.

How long post-processing takes depends on how many boxes there are, so two kinds are made: plain random weights, with
which every box at every place passes the head's low threshold, and weights with the scores of a trained detector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.context import Context
from featmap.models.openmmlab.detector import Detector
from featmap.sources import read_image

# Shares of all anchors on the demo image that have at least this objectness.
_OBJECTNESS = {0.0004: 0.7, 0.1: 0.001}
# Means of the class logits, and their deviation: one class is likely, a few are possible, the rest are not.
_LIKELY, _POSSIBLE, _UNLIKELY = 1.0, -3.0, -8.0
_FEW = 4
_CLASS_DEVIATION = 0.2


def save_weights(context: Context, name: str) -> Path:
    """Save a checkpoint for the context's config.

    Args:
        context: Its config is of a YOLOv5.
        name: ``random``, as PyTorch initialises layers, or ``trained-like``.
    """
    detector = Detector(context.config, None, device='cpu')
    _reset(detector.model)
    if name == 'trained-like':
        _calibrate(detector, context.image())
    path = context.scratch / f'{name}.pth'
    meta = {'dataset_meta': {'classes': tuple(detector.classes)}}
    torch.save({'meta': meta, 'state_dict': detector.model.state_dict()}, path)
    return path


def _reset(model: nn.Module) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()


@torch.no_grad()
def _calibrate(detector: Detector, image: Path) -> None:
    """Scale and shift what a YOLOv5 head predicts so that scores on the demo image are spread as after training."""
    inputs = detector.prepare([read_image(image)], contiguous=True).inputs
    module = detector.model.get_submodule('bbox_head.head_module')
    _settle_norms(detector.model, inputs)
    levels = detector.model(inputs, mode='tensor')
    priors: int = module.num_base_priors  # type: ignore[assignment]
    likely = torch.full((int(module.num_classes),), _UNLIKELY)  # type: ignore[arg-type]
    likely[: _FEW + 1], likely[0] = _POSSIBLE, _LIKELY
    scale, shift = _stretch(levels[2], _OBJECTNESS)
    convs = [child for child in module.get_submodule('convs_pred').children() if isinstance(child, nn.Conv2d)]
    for conv, classes, objectness in zip(convs, levels[0], levels[2]):
        weight, bias = conv.weight.view(priors, -1, conv.in_channels), conv.bias.view(priors, -1)  # type: ignore[union-attr]
        for rows, logits, deviation, mean in (
            (slice(4, 5), objectness, scale, torch.tensor(shift)),
            (slice(5, None), classes, _CLASS_DEVIATION, likely),
        ):
            middle, spread = (part.reshape(priors, -1) for part in _moments(logits))
            weight[:, rows] *= (deviation / spread)[..., None]
            bias[:, rows] = (bias[:, rows] - middle) * deviation / spread + mean


def _settle_norms(model: nn.Module, inputs: Tensor) -> None:
    """Let batch norms see the image once: without, the signal of random layers fades away with depth."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    model(inputs, mode='tensor')
    for norm, momentum in zip(norms, before):
        norm.momentum = momentum
        norm.eval()


def _stretch(levels: Sequence[Tensor], wanted: dict[float, float]) -> tuple[float, float]:
    """Deviation and mean to give each channel, so that these shares of all values reach these probabilities."""
    spread = torch.cat([_standard(level).flatten() for level in levels]).sort(descending=True).values
    (few, high), (many, low) = ((float(spread[int(share * len(spread))]), _logit(p)) for share, p in wanted.items())
    scale = (high - low) / (few - many)
    return scale, high - scale * few


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of (1, C, h, w), as (1, C, 1, 1)."""
    return values.mean(dim=(2, 3), keepdim=True), values.std(dim=(2, 3), keepdim=True)


def _standard(values: Tensor) -> Tensor:
    middle, spread = _moments(values)
    return (values - middle) / spread


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
