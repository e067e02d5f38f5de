"""A stand-in for timm: two tiny models, behind the functions by which timm is asked for its own."""

from __future__ import annotations

import torch

from . import data, models

__version__ = '1.0'

TAGS = ['tiny_net.a_in1k', 'tiny_net.b_in1k', 'tiny_vit.c_in1k']


def is_model(name):
    return name in models.BUILDERS


def list_models(pretrained=False):
    return TAGS if pretrained else sorted(models.BUILDERS)


def create_model(model_name, pretrained=False, **arguments):
    architecture = model_name.partition('.')[0]
    config = models.get_pretrained_cfg(model_name)
    model = models.BUILDERS[architecture](**{'num_classes': config.num_classes, **arguments})
    model.pretrained_cfg = vars(config)
    if pretrained:
        if data.OFFLINE:
            raise OSError('Name or service not known\nwhile requesting HEAD')
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, 0.5)
    return model
