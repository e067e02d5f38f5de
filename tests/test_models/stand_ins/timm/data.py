"""How timm feeds its models, and what their classes are called."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

OFFLINE = True


def resolve_model_data_config(model):
    config = model.pretrained_cfg
    half = (0.5, 0.5, 0.5)
    return {'input_size': config['input_size'], 'crop_pct': config['crop_pct'], 'mean': half, 'std': half}


class CenterCrop:
    """The middle of what the shorter side was resized for."""

    def __init__(self, size, crop_pct, mean, std):
        self.size, self.crop_pct, self.mean, self.std = size, crop_pct, mean, std

    def __call__(self, image):
        rows, columns = self.size
        factor = max(rows, columns) / self.crop_pct / min(image.size)
        image = image.resize([int(side * factor) for side in image.size], Image.Resampling.BILINEAR)
        left, top = round((image.width - columns) / 2), round((image.height - rows) / 2)
        pixels = np.asarray(image.crop((left, top, left + columns, top + rows)), np.float32) / 255
        return torch.from_numpy((pixels - np.float32(self.mean)) / np.float32(self.std)).permute(2, 0, 1)


def create_transform(input_size, is_training, crop_pct, mean, std):
    assert not is_training
    return CenterCrop(input_size[-2:], crop_pct, mean, std)


def infer_imagenet_subset(model):
    return 'imagenet-1k' if model.num_classes == 1000 else None


class ImageNetInfo:
    def __init__(self, subset):
        self.subset = subset

    def label_descriptions(self):
        return [f'thing {number}, {self.subset}' for number in range(1000)]
