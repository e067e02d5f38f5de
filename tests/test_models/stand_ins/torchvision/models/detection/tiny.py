"""A detector as torchvision's: it resizes inside, and answers in pixels of what it was given."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..api import ToTensor, WeightsEnum, load, weights
from .image_list import ImageList


class TinyRCNN_Weights(WeightsEnum):  # noqa: N801
    COCO_V1 = weights('https://x.org/tiny_rcnn.pth', ToTensor, ['__background__', 'dot'])
    DEFAULT = COCO_V1


class Transform(nn.Module):
    """Normalises, resizes to the shorter side within the longer, and pads to whole cells."""

    def __init__(self, min_size, max_size):
        super().__init__()
        self.min_size, self.max_size, self.fixed_size = (min_size,), max_size, None
        self.image_mean, self.image_std = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]

    def forward(self, images, targets=None):
        images = [self.resize((image - 0.5) / 0.25) for image in images]
        sizes = [tuple(image.shape[-2:]) for image in images]
        height, width = (math.ceil(max(sides) / 32) * 32 for sides in zip(*sizes))
        padded = [F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images]
        return ImageList(torch.stack(padded), sizes), targets

    def resize(self, image):
        factor = min(self.min_size[-1] / min(image.shape[-2:]), self.max_size / max(image.shape[-2:]))
        return F.interpolate(image[None], scale_factor=factor, mode='bilinear', recompute_scale_factor=True)[0]

    def postprocess(self, found, sizes, originals):
        for each, size, original in zip(found, sizes, originals):
            (x, y), (height, width) = [original[1] / size[1], original[0] / size[0]], original
            each['boxes'] = each['boxes'] * torch.tensor([x, y, x, y])
            each['masks'] = torch.zeros(len(each['boxes']), 1, height, width)
            for mask, (x1, y1, x2, y2) in zip(each['masks'], each['boxes'].round().int().tolist()):
                mask[0, y1:y2, x1:x2] = 1
        return found


class TinyRCNN(nn.Module):
    """Finds the brightest cell, surely, and all of the image, hardly."""

    def __init__(self, num_classes=2, min_size=64, max_size=96, score_thresh=0.05):
        super().__init__()
        self.transform = Transform(min_size, max_size)
        self.backbone = nn.Sequential(nn.Conv2d(3, num_classes, 4, stride=4, bias=False))
        nn.init.ones_(self.backbone[0].weight)
        self.score_thresh = score_thresh

    def forward(self, images, targets=None):
        originals = [tuple(image.shape[-2:]) for image in images]
        images, _ = self.transform(images, targets)
        found = []
        for features, (height, width) in zip(self.backbone(images.tensors)[:, 1], images.image_sizes):
            row, column = divmod(int(features.argmax()), features.shape[1])
            boxes = torch.tensor([[column, row, column + 1, row + 1], [0, 0, width / 4, height / 4]]) * 4.0
            scores = torch.tensor([0.9, 0.01])
            kept = scores >= self.score_thresh
            found.append({'boxes': boxes[kept], 'scores': scores[kept], 'labels': torch.tensor([1, 1])[kept]})
        return self.transform.postprocess(found, images.image_sizes, originals)


def tiny_rcnn(*, weights=None, weights_backbone='downloaded', **arguments):
    assert weights_backbone is None
    return load(TinyRCNN(**arguments), weights)


tiny_rcnn.weights = TinyRCNN_Weights
