"""Image processors: one that stretches or crops, and one that keeps the ratio within limits and adds a mask."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch


class ViTImageProcessor:
    model_input_names = ('pixel_values',)
    usual: ClassVar = {
        'size': {'height': 224, 'width': 224}, 'crop_size': None, 'do_center_crop': False, 'do_normalize': True,
        'image_mean': [0.5, 0.5, 0.5], 'image_std': [0.5, 0.5, 0.5],
    }  # fmt: skip

    def __init__(self, **given):
        vars(self).update({**self.usual, **given})

    @classmethod
    def from_dict(cls, given):
        return cls(**given)

    def to_dict(self):
        return dict(vars(self))

    def resized(self, width, height):
        if 'height' in self.size:
            return self.size['width'], self.size['height']
        scale = self.size['shortest_edge'] / min(width, height)
        return int(width * scale), int(height * scale)

    def preprocess(self, image):
        image = image.resize(self.resized(*image.size), 2)
        if self.do_center_crop:
            width, height = self.crop_size['width'], self.crop_size['height']
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        values = torch.from_numpy(np.array(image, np.float32) / 255).permute(2, 0, 1)
        mean, std = torch.tensor(self.image_mean), torch.tensor(self.image_std)
        return (values - mean[:, None, None]) / std[:, None, None] if self.do_normalize else values

    def __call__(self, images, return_tensors):
        assert return_tensors == 'pt'
        return {'pixel_values': self.preprocess(images)[None]}


class DetrImageProcessor(ViTImageProcessor):
    model_input_names = ('pixel_values', 'pixel_mask')
    usual: ClassVar = {**ViTImageProcessor.usual, 'size': {'shortest_edge': 64, 'longest_edge': 96}}

    def resized(self, width, height):
        if 'max_height' in self.size:
            scale = min(self.size['max_height'] / height, self.size['max_width'] / width)
        else:
            limits = self.size['shortest_edge'], self.size['longest_edge']
            scale = min(limits[0] / min(width, height), limits[1] / max(width, height))
        return int(width * scale), int(height * scale)

    def __call__(self, images, return_tensors):
        given = super().__call__(images, return_tensors)
        return {**given, 'pixel_mask': torch.ones(1, *given['pixel_values'].shape[2:], dtype=torch.int64)}


PROCESSORS = {'ViTImageProcessor': ViTImageProcessor, 'DetrImageProcessor': DetrImageProcessor}
USUAL = {'vit': 'ViTImageProcessor', 'detr': 'DetrImageProcessor'}
