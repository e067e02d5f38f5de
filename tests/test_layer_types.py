"""Layers by the class of their module: which are found, and what is said where none is."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from featmap.errors import LayerError
from featmap.inferencer import FeatMapInferencer
from featmap.layers import resolve
from tests.inferencer_helpers import IMAGE, build


class Conv2d(nn.Conv2d):
    """A class of the same name as the one that it derives from."""


class PaddedConv(nn.Conv2d):
    pass


class BasicBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 1, 1), Conv2d(1, 1, 1)
        self.bn = nn.BatchNorm2d(1)


class WideBlock(BasicBlock):
    pass


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = PaddedConv(1, 1, 1)
        self.layer1 = nn.Sequential(BasicBlock(), WideBlock())
        self.layer2 = nn.Sequential(BasicBlock())
        self.again = self.stem
        self.head = nn.Linear(1, 1)


@pytest.fixture
def net() -> Net:
    return Net()


def found(net: nn.Module, *names: str) -> list[str]:
    return [target.label for target in resolve(net, names)]


CONVS = ['layer1.0.conv1', 'layer1.0.conv2', 'layer1.1.conv1', 'layer1.1.conv2', 'layer2.0.conv1', 'layer2.0.conv2']


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('type:Conv2d', CONVS),  # PaddedConv is another class
        ('type:PaddedConv', ['stem']),  # once, though it has two names
        ('type:_ConvNd', ['stem', *CONVS]),  # no class is called so: those that derive from it
        ('type:_BatchNorm', ['layer1.0.bn', 'layer1.1.bn', 'layer2.0.bn']),
        ('type:BasicBlock', ['layer1.0', 'layer2.0']),
        ('type:*Block', ['layer1.0', 'layer1.1', 'layer2.0']),
        ('type:BatchNorm?d', ['layer1.0.bn', 'layer1.1.bn', 'layer2.0.bn']),
        ('layer1.type:Conv2d', CONVS[:4]),
        ('layer1.0.type:Conv2d', CONVS[:2]),
        ('layer?.type:WideBlock', ['layer1.1']),
        ('type:BasicBlock.conv2', ['layer1.0.conv2', 'layer2.0.conv2']),
        ('type:Sequential.type:BatchNorm2d', ['layer1.0.bn', 'layer1.1.bn', 'layer2.0.bn']),
        ('type:WideBlock[0]', ['layer1.1[0]']),
    ],
)
def test_a_type_finds_every_module_of_its_class(net, name, expected):
    assert found(net, name) == expected


def test_what_a_type_finds_may_put_out_no_map(net):
    assert all(target.optional for target in resolve(net, 'type:Linear'))
    assert [target.optional for target in resolve(net, ['stem', 'layer1.type:BatchNorm2d'])] == [False, True, True]


def test_types_beside_names_come_once(net):
    assert found(net, 'layer1.1.conv1', 'layer1.type:Conv2d') == ['layer1.1.conv1', CONVS[0], CONVS[1], CONVS[3]]


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('type:conv2d', "the model has no layer of type 'conv2d'; it has Conv2d (6), "),
        ('type:Botleneck', "the model has no layer of type 'Botleneck'; it has "),
        ('layer2.type:WideBlock', "layer2 has no layer of type 'WideBlock'; it has BasicBlock (1), "),
        ('layer*.type:Linear', "layer1 has no layer of type 'Linear'; it has "),
        ('layer1.0.bn.type:Conv2d', 'layer1.0.bn has no layers inside'),
        ('layer9.type:Conv2d', "the model has no layer 'layer9.type:Conv2d'; nearest: "),
        ('type:BasicBlock.conv3', "the model has no layer 'type:BasicBlock.conv3'; nearest: "),
        ('type:', "'type:' names no class: expected one such as type:Conv2d"),
    ],
)
def test_what_is_said_where_none_is_found(net, name, message):
    with pytest.raises(LayerError) as caught:
        resolve(net, name)
    assert str(caught.value).startswith(message)


@pytest.fixture(scope='module')
def vis() -> FeatMapInferencer:
    return build(target_layers=['backbone.stage1.type:Conv2d'], boxes=False)


def test_each_of_a_type_is_drawn_where_it_ran(vis):
    result = vis(IMAGE)
    names = [item.layer for item in result.maps]
    assert names == [target.name for target in vis.targets]
    assert len(names) > 3
    assert all(name.startswith('backbone.stage1.') and name.endswith('.conv') for name in names)
    alone = vis(IMAGE, target_layers=[names[2]])
    # Batch norms after convolutions that are watched are not taken into them, which changes maps by rounding.
    np.testing.assert_allclose(result.maps[2].values, alone.maps[0].values, rtol=1e-3, atol=1e-6)
    assert result.refused == ()


def test_a_type_that_puts_out_no_map(vis):
    with pytest.raises(LayerError, match=r'none of the \d+ layers that the pattern matches .*type:Conv2d'):
        vis(IMAGE, target_layers=['type:ModuleList'])
