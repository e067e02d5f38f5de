"""Explanations: a classifier beside pytorch-grad-cam, the shipped detector beside bare forwards and backwards."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.context import ROOT, Context, demo_image
from benchmarks.report import Row
from featmap.errors import MissingPackageError
from featmap.explaining import Explaining
from featmap.models.openmmlab.detector import Detector
from featmap.models.source import find_source
from featmap.options import Run
from featmap.targets import parse_target

PEER = 'pytorch-grad-cam'
BARE = 'bare forward and backward'
CONFIG, CHECKPOINT = 'configs/demo/yolov5_n_demo.py', 'demo/yolov5_n_demo.pth'
LAYER = 'backbone.stage2'
CLASSIFIER, LAST = 'resnet18', 'layer4'
TARGETS = 8
MASKS = 64
"""Of the 2,000 of a map: what a mask takes does not depend on how many there are."""


def run(context: Context) -> dict[str, list[Row]]:
    """The table ``explain``."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return {'explain': [*_classifier_rows(context), *_detector_rows(context)]}


def _classifier_rows(context: Context) -> list[Row]:
    """The same model, layer and targets by both tools; this one's time holds the preprocessing too."""
    try:
        network = find_source(f'torchvision:{CLASSIFIER}', 'none').open(Run.of({'device': str(context.device)}))
        import pytorch_grad_cam as peer
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        what = 'torchvision' if isinstance(error, MissingPackageError) else error.name
        return [Row('a classifier', None, peer_name=PEER, note=f'{what} is not installed')]
    image = demo_image(224, 224)
    inputs = network.prepare([image]).inputs.contiguous()
    layer = network.model.get_submodule(LAST)
    rows = []
    for what, count, method, other, goal in (
        ('gradcam, one target', 1, 'gradcam', peer.GradCAM, 'never slower'),
        (f'gradcam, {TARGETS} targets', TARGETS, 'gradcam', peer.GradCAM, 'at least 4x'),
        ('layercam, one target', 1, 'layercam', peer.LayerCAM, 'never slower'),
        ('eigengradcam, one target', 1, 'eigengradcam', peer.EigenGradCAM, 'at least 5x'),
    ):
        specs = [parse_target(f'class:{number}') for number in range(count)]
        mine = Explaining(network, specs, [method], [LAST])
        theirs = other(model=network.model, target_layers=[layer])
        targets = [ClassifierOutputTarget(number) for number in range(count)]
        calls = {'mine': partial(mine, image), 'theirs': partial(theirs, inputs.repeat(count, 1, 1, 1), targets)}
        took = {name: seconds * 1000 for name, seconds in context.interleave(calls).items()}
        theirs.activations_and_grads.release()
        rows.append(Row(f'{what}, {CLASSIFIER}', took['mine'], took['theirs'], PEER, goal, note=f'on {LAST}, 224x224'))
    return rows


def _detector_rows(context: Context) -> list[Row]:
    detector = Detector(ROOT / CONFIG, ROOT / CHECKPOINT, str(context.device))
    image = demo_image()
    count = len(detector.predict(detector.prepare([image]))[0])  # type: ignore[index]
    explain = {spec: Explaining(detector, parse_target(spec), ['layercam'], [LAYER]) for spec in ('box:0', 'boxes')}
    masks = Explaining(detector, parse_target('boxes'), ['drise'], arguments={'drise': {'masks': MASKS, 'until': 1}})
    bare = _Bare(detector, image)
    took = context.interleave(
        {
            BARE: bare,
            'box': partial(explain['box:0'], image),
            'boxes': partial(explain['boxes'], image),
            'forwards': bare.forwards,
            'masks': partial(masks, image),
        }
    )
    took = {name: seconds * 1000 for name, seconds in took.items()}
    alike: dict[str, Any] = {'peer_name': BARE, 'ratio_of': 'featmap/peer'}
    return [
        Row('a box of the shipped detector', took['box'], took[BARE], goal='at most 3 of it', note=LAYER, **alike),
        Row(f'{count} boxes of it', took['boxes'], took[BARE], note='one forward, a backward each', **alike),
        Row(
            f'drise, {count} boxes', MASKS / took['masks'] * 1000, MASKS / took['forwards'] * 1000,
            'bare batched forward', 'at least 0.9 of it', '/s', 'featmap/peer', f'masks a second, {MASKS} of them',
        ),
    ]  # fmt: skip


class _Bare:
    """The shortest way to a gradient: a forward, kept from one layer on, and a backward to it."""

    def __init__(self, detector: Detector, image: np.ndarray) -> None:
        self._model: Any = detector.model
        self._inputs = detector.prepare([image]).inputs
        self._batch = self._inputs.repeat(8, 1, 1, 1).contiguous(memory_format=torch.channels_last)

    def __call__(self) -> None:
        kept: list[torch.Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            kept.append(output.detach().requires_grad_())
            return kept[0].clone()

        handle = self._model.get_submodule(LAYER).register_forward_hook(keep)
        try:
            self._model.requires_grad_(False)
            with torch.enable_grad():
                scores = self._model.bbox_head(self._model.extract_feat(self._inputs))[0][0]
                torch.autograd.grad(scores.flatten()[0], kept)
        finally:
            handle.remove()
            self._model.requires_grad_(True)

    def forwards(self) -> None:
        """As many forms of the image as there are masks, eight at a time."""
        with torch.no_grad():
            for _ in range(MASKS // len(self._batch)):
                self._model.bbox_head(self._model.extract_feat(self._batch))
