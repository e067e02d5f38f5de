"""A network of your own, as featmap takes it: a factory, a preprocessing and the names of its classes.

    featmap demo/object.jpg demo/classifier.py:classifier demo/classifier.pth --preprocess preprocess

It needs PyTorch, NumPy and Pillow only. tools/train_demo_classifier.py trained its weights.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

CLASSES = ('balloon', 'kite', 'sailboat', 'lighthouse', 'house', 'tree', 'fish', 'ball')
RESIZE, CROP = 208, 192  # pixels
MEAN, STD = 0.55, 0.22  # of each channel, from 0 to 1


def preprocess(image: Image.Image) -> Tensor:
    """An image as (3, 192, 192): the shorter side resized to 208 pixels, the centre cut out, normalised."""
    scale = RESIZE / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    left, top = (width - CROP) // 2, (height - CROP) // 2
    resized = image.convert('RGB').resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.array(resized.crop((left, top, left + CROP, top + CROP)))
    return (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - MEAN) / STD


class Block(nn.Module):
    """Two convolutions and a way around them, (N, C, H, W) to (N, out, H / stride, W / stride)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            convolution(channels, out, stride),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            convolution(out, out),
            nn.BatchNorm2d(out),
        )
        way = [nn.AvgPool2d(stride), nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out)]
        self.around = nn.Identity() if channels == out else nn.Sequential(*way)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.convs(x) + self.around(x))


class Classifier(nn.Module):
    """A small residual network: the map is halved by the stem and by each stage but the first."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, width, stride=2), nn.BatchNorm2d(width), nn.ReLU())
        self.stages = nn.Sequential(
            Block(width, width, stride=1),
            Block(width, 2 * width, stride=2),
            Block(2 * width, 4 * width, stride=2),
            Block(4 * width, 8 * width, stride=2),
        )
        self.head = nn.Linear(8 * width, num_classes)
        self.classes = CLASSES

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W)."""
        return self.head(self.stages(self.stem(images)).mean(dim=(2, 3)))


def convolution(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    # A kernel of 4 where the map is halved: each output then lies in the middle of what it sees, as its cell does.
    return nn.Conv2d(channels, out, kernel_size=4 if stride == 2 else 3, stride=stride, padding=1, bias=False)


def classifier(width: int = 16, num_classes: int = len(CLASSES)) -> Classifier:
    """The network with random weights; demo/classifier.pth fits the defaults."""
    return Classifier(width, num_classes)
