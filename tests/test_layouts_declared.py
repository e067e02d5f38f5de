"""What modules say of their tokens, by the names that packages of transformers use, where no trail leads to them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featmap.layers import resolve
from featmap.layouts import Grid, Layout, declared_layout, maps_of
from featmap.placement import Placement
from featmap.recorder import ActivationRecorder
from featmap.tokens import Tokens


def tree(parameters: dict[str, tuple[int, ...]] | None = None, **attributes: Any) -> nn.Module:
    """A module with attributes, parameters of these shapes, and children for attributes that are modules."""
    module = nn.Module()
    for name, shape in (parameters or {}).items():
        module.register_parameter(name, nn.Parameter(torch.zeros(shape)))
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def layer() -> nn.Module:
    return tree(block=nn.Identity())


def config(**entries: Any) -> SimpleNamespace:
    return SimpleNamespace(**entries)


MODELS = {
    'timm': tree(
        {'cls_token': (1, 1, 8), 'reg_token': (1, 4, 8)},
        num_prefix_tokens=5,
        num_reg_tokens=4,
        patch_embed=tree(patch_size=(14, 14), img_size=(56, 70), grid_size=(4, 5)),
        blocks=layer(),
    ),
    'timm, distilled, its tokens without a number': tree(
        {'cls_token': (1, 1, 8), 'dist_token': (1, 1, 8)}, patch_embed=tree(patch_size=(16, 16)), blocks=layer()
    ),
    'transformers': tree(
        config=config(patch_size=16, image_size=224),
        embeddings=tree({'cls_token': (1, 1, 8), 'mask_token': (1, 1, 8), 'position_embeddings': (1, 50, 8)}),
        blocks=layer(),
    ),
    'transformers, with registers': tree(
        config=config(patch_size=14, num_register_tokens=4),
        embeddings=tree({'cls_token': (1, 1, 8), 'register_tokens': (1, 4, 8), 'mask_token': (1, 8)}),
        blocks=layer(),
    ),
    'transformers, detection': tree(
        vit=tree(
            config=config(patch_size=[16, 16], num_detection_tokens=10),
            embeddings=tree({'cls_token': (1, 1, 8), 'detection_tokens': (1, 10, 8)}),
            blocks=layer(),
        )
    ),
    'CLIP': tree(
        vision=tree(
            config=config(patch_size=32),
            embeddings=tree({'class_embedding': (8,)}),
            encoder=layer(),
        )
    ),
    'torchvision': tree({'class_token': (1, 1, 8)}, patch_size=16, image_size=64, encoder=layer()),
    'mmpretrain': tree({'cls_token': (1, 1, 8)}, patch_resolution=(6, 7), img_size=(60, 70), blocks=layer()),
    'no class token': tree(config=config(patch_size=16), embeddings=tree(), blocks=layer()),
    'a pyramid': tree(config=config(patch_sizes=[4, 2, 2, 2]), blocks=layer()),
}


@pytest.mark.parametrize(
    ('model', 'name', 'size', 'count', 'grid', 'start'),
    [
        ('timm', 'blocks.block', (56, 70), 25, (4, 5), 5),
        ('timm', 'patch_embed', (56, 70), 20, (4, 5), 0),
        ('timm', 'blocks.block', (42, 140), 35, (3, 10), 5),  # another size than it was made for
        ('timm', 'blocks.block', (50, 60), 5 + 4 * 5, (4, 5), 5),  # padded
        ('timm', 'blocks.block', (50, 60), 5 + 3 * 4, (3, 4), 5),  # cut off
        ('timm, distilled, its tokens without a number', 'blocks.block', (32, 64), 10, (2, 4), 2),
        ('transformers', 'blocks.block', (48, 32), 7, (3, 2), 1),
        ('transformers', 'embeddings', (48, 32), 7, (3, 2), 1),
        ('transformers, with registers', 'blocks.block', (28, 70), 15, (2, 5), 5),
        ('transformers, detection', 'vit.blocks.block', (48, 64), 23, (3, 4), 1),
        ('transformers, detection', 'vit.blocks.block', (48, 64), 13, (3, 4), 1),
        ('CLIP', 'vision.encoder.block', (64, 96), 7, (2, 3), 1),
        ('torchvision', 'encoder.block', (64, 64), 17, (4, 4), 1),
        ('mmpretrain', 'blocks.block', (60, 70), 43, (6, 7), 1),
        ('no class token', 'blocks.block', (48, 80), 15, (3, 5), 0),
        ('a pyramid', 'blocks.block', (64, 96), 24, (4, 6), 0),
    ],
)
def test_what_is_said(
    model: str, name: str, size: tuple[int, int], count: int, grid: tuple[int, int], start: int
) -> None:
    found = declared_layout(MODELS[model], name, size, torch.zeros(1, count, 8))
    assert found == Layout((1,), (Grid(grid, start),))


@pytest.mark.parametrize(
    ('model', 'name', 'size', 'count'),
    [
        ('timm', 'blocks.block', (56, 70), 26),
        ('mmpretrain', 'blocks.block', (61, 70), 43),  # made for another size, and no patches told
        ('no class token', 'blocks.block', (48, 80), 16),
        ('transformers', 'blocks.block', (48, 32), 1),
    ],
)
def test_what_does_not_fit_is_not_taken(model: str, name: str, size: tuple[int, int], count: int) -> None:
    assert declared_layout(MODELS[model], name, size, torch.zeros(1, count, 8)) is None


def test_attributes_that_mean_something_else_are_passed_over() -> None:
    odd = tree(
        patch_size='large',
        grid_size=(1, 2, 3),
        img_size=None,
        num_prefix_tokens=True,
        config=lambda: 16,
        blocks=layer(),
    )
    assert declared_layout(odd, 'blocks.block', (64, 64), torch.zeros(1, 17, 8)) is None


class Untraced(nn.Module):
    """A transformer whose patches are cut where PyTorch does not see it: 12 tokens before 12 cells of 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_size, self.num_prefix_tokens, self.block = 16, 12, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        cells = torch.from_numpy(x.numpy()[:, :, 8::16, 8::16].copy()).flatten(2).transpose(1, 2)
        return self.block(torch.cat([torch.full((1, 12, cells.shape[2]), -1.0), cells], dim=1))


def test_it_is_asked_before_numbers_and_after_what_ran() -> None:
    net, x = Untraced(), torch.rand(1, 3, 48, 64)
    placement = Placement(net)

    def consume(target, output):
        # By their number alone these would be 24 cells of 12 by 16 pixels, without any token before them.
        return maps_of(output, (48, 64), 1, (), target.name, placement.layouts_of(target))

    recorder = ActivationRecorder(net, resolve(net, ['block']), consume)
    with torch.no_grad(), placement.watched(x, recorder.calls), recorder:
        net(x)
    (item,) = recorder.records[0].value
    assert torch.equal(item.features, x[:, :, 8::16, 8::16])
    assert item.tokens == Tokens(24, 12)
