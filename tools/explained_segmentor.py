"""A small segmentation network whose explanations are measured; tools/train_explained_segmentor.py trains it.

featmap scene.png tools/explained_segmentor.py:segmentor segmentor.pth --preprocess preprocess --explain class:kite
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

DEMO = Path(__file__).resolve().parents[1] / 'demo'
sys.path.insert(0, str(DEMO))

from classifier import CLASSES, MEAN, STD, Classifier, classifier  # noqa: E402

SIDE, STEP = 192, 16  # pixels: the longer side, and what both sides are multiples of


def preprocess(image: Image.Image) -> Tensor:
    """An image as (3, h, w): the longer side resized to 192 pixels, normalised as for the classifier."""
    scale = SIDE / max(image.size)
    width, height = (max(STEP, round(side * scale / STEP) * STEP) for side in image.size)
    pixels = np.array(image.convert('RGB').resize((width, height), Image.Resampling.BILINEAR))
    return (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - MEAN) / STD


class Decoder(nn.Module):
    """Maps of several strides, mixed on the grid of the first and read cell by cell."""

    def __init__(self, channels: list[int], width: int, classes: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList([nn.Conv2d(each, width, 1) for each in channels])
        self.read = nn.Conv2d(width, classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        mixed, *coarser = [lateral(each) for lateral, each in zip(self.laterals, maps)]
        for each in coarser:
            mixed = mixed + functional.interpolate(each, mixed.shape[-2:], mode='bilinear')
        return self.read(torch.relu(mixed))


class Segmentor(nn.Module):
    """The shipped classifier's stages under a decoder of convolutions over single cells.

    Args:
        trunk: A classifier, whose stages become this network's.
        width: Channels in which the strides are mixed.
    """

    def __init__(self, trunk: Classifier, width: int = 48) -> None:
        super().__init__()
        self.stem, self.stages = trunk.stem, trunk.stages
        channels = trunk.head.in_features
        self.decoder = Decoder([channels // 4, channels // 2, channels], width, 1 + len(CLASSES))
        self.classes = ('background', *CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1 + classes, H / 4, W / 4) of images (N, 3, H, W) whose sides are multiples of 16."""
        maps = [self.stages[0](self.stem(images))]
        for stage in list(self.stages)[1:]:
            maps.append(stage(maps[-1]))
        return self.decoder(maps[1:])


def segmentor() -> Segmentor:
    """The network with random weights."""
    return Segmentor(classifier())
