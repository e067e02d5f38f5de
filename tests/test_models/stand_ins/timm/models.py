"""Models as timm has them: a net of convolutions, and a transformer for one size of image."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn


class TinyNet(nn.Module):
    def __init__(self, num_classes=1000, width=4):
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Conv2d(3, width, 4, stride=4)
        self.stages = nn.Sequential(*(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(2)))
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def forward(self, x):
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


class TinyViT(nn.Module):
    def __init__(self, num_classes=1000, img_size=32):
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.num_classes, self.img_size = num_classes, (height, width)
        self.patch_embed = nn.Conv2d(3, 4, 8, stride=8)
        self.pos_embed = nn.Parameter(torch.rand(1, height // 8 * (width // 8), 4))
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        assert x.shape[2:] == self.img_size, f'Input size {tuple(x.shape[2:])} is not {self.img_size}'
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        return self.head(x.mean(dim=1))


BUILDERS = {'tiny_net': TinyNet, 'tiny_vit': TinyViT}


def get_pretrained_cfg(name):
    architecture, _, tag = name.partition('.')
    if tag not in ('', 'a_in1k', 'b_in1k', 'c_in1k'):
        raise RuntimeError(f'Invalid pretrained tag ({tag}) for {architecture}.')
    fixed = architecture == 'tiny_vit'
    return SimpleNamespace(
        input_size=(3, 32, 32), num_classes=1000, crop_pct=0.5, fixed_input_size=fixed, classifier='head',
        url='https://example.com/x.pth' if not fixed else '', file=None, hf_hub_id=None,
    )  # fmt: skip


def checkpoint_filter_fn(state_dict, model):
    """Of the names that others published, and of another grid."""
    if 'encoder.weight' in state_dict:
        state_dict['patch_embed.weight'] = state_dict.pop('encoder.weight')
        state_dict['patch_embed.bias'] = state_dict.pop('encoder.bias')
    given, own = state_dict['pos_embed'], model.pos_embed
    state_dict['pos_embed'] = nn.functional.interpolate(given.transpose(1, 2), own.shape[1]).transpose(1, 2)
    return state_dict
