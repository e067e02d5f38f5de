from __future__ import annotations

from functools import partial

from torch import nn

from ..api import Preset, WeightsEnum, load, weights


class TinyFCN_Weights(WeightsEnum):  # noqa: N801
    COCO_V1 = weights('https://x.org/tiny_fcn.pth', partial(Preset, 48), ['__background__', 'cat'])
    DEFAULT = COCO_V1


class TinyFCN(nn.Module):
    def __init__(self, num_classes=2):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 4, stride=4)
        self.classifier = nn.Conv2d(4, num_classes, 1)

    def forward(self, x):
        return {'out': nn.functional.interpolate(self.classifier(self.backbone(x)), x.shape[-2:], mode='bilinear')}


def tiny_fcn(*, weights=None, weights_backbone='downloaded', **arguments):
    assert weights_backbone is None
    return load(TinyFCN(**arguments), weights)


tiny_fcn.weights = TinyFCN_Weights
