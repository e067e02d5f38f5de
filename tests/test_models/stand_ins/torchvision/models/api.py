"""Weights and the preprocessings that go with them."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import nn


class WeightsEnum(Enum):
    @property
    def url(self):
        return self.value.url

    @property
    def transforms(self):
        return self.value.transforms

    @property
    def meta(self):
        return self.value.meta


def weights(url, transforms, categories):
    return SimpleNamespace(url=url, transforms=transforms, meta={'categories': categories})


def _tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


class Preset(nn.Module):
    """Resizes the shorter side; crops where it has a size for that."""

    def __init__(self, resize_size, crop_size=None):
        super().__init__()
        self.resize_size, self.mean, self.std = [resize_size], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]
        if crop_size:
            self.crop_size = [crop_size]

    def forward(self, image):
        factor = self.resize_size[0] / min(image.size)
        image = image.resize([int(side * factor) for side in image.size], Image.Resampling.BILINEAR)
        if hasattr(self, 'crop_size'):
            rows, columns = self.crop_size[0], self.crop_size[-1]
            left, top = round((image.width - columns) / 2), round((image.height - rows) / 2)
            image = image.crop((left, top, left + columns, top + rows))
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (_tensor(image) - mean) / std


class ToTensor(nn.Module):
    def forward(self, image):
        return _tensor(image)


def load(model, named):
    """What weights are downloaded for."""
    if named is not None:
        raise OSError(f'<urlopen error {named.url}>\nName or service not known')
    return model
