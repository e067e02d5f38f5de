from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import featmap
from featmap.errors import FeatMapError, OptionError

IMAGE = np.zeros((40, 80, 3), np.uint8)


@pytest.fixture
def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())


def preprocess(image):
    return torch.from_numpy(np.asarray(image)[:, ::-1].copy()).permute(2, 0, 1) / 255


def test_one_line_for_a_module_and_an_image(net):
    image = IMAGE.copy()
    image[10:14, 60:64] = 255
    nn.init.constant_(net[0].weight, 1.0)
    result = featmap.visualize(net, image, [net[0], '2'], preprocess=preprocess, channel_reduction='squeeze_mean')
    assert [item.name for item in result.maps] == ['0', '2']
    assert result.maps[0].geometry.flip == (True, False)
    row, column = np.unravel_index(result.maps[0].values[0].argmax(), (20, 40))
    assert 4 <= row <= 7
    assert 39 - 32 <= column <= 39 - 29  # mirrored, as the network sees it
    heat = result.image[:, result.rendering.panels[1].x :]
    assert result.image.dtype == np.uint8
    assert heat.shape[1] > 80


def test_the_mode_of_each_part_is_kept(net):
    net.train()
    net[1].eval()
    featmap.visualize(net, IMAGE, '0', input_size=32)
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    with pytest.raises(FeatMapError):
        featmap.visualize(net, IMAGE, 'attic', input_size=32)
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert not any(part._forward_hooks for part in net.modules())


def test_a_network_input_that_is_ready(net):
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8), (5, 5), 0)
    ready = preprocess(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))
    geometry = featmap.visualize(net, image, '0', inputs=ready).maps[0].geometry
    assert (geometry.scale, geometry.offset, geometry.flip) == ((0.8, 1.6), (0, 0), (True, False))
    with pytest.raises(FeatMapError, match='does not look as if it was made of this image'):
        featmap.visualize(net, image.transpose(1, 0, 2), '0', inputs=ready)
    with pytest.raises(FeatMapError, match='preprocess and inputs both say'):
        featmap.visualize(net, image, '0', inputs=ready, preprocess=preprocess)


def test_what_a_function_does_can_be_declared(net):
    def turned(image):
        return preprocess(image).rot90(2, (1, 2))[:, :32, :32]

    geometry = featmap.visualize(net, IMAGE, '0', preprocess=turned, input_size=32, resize='stretch').maps[0].geometry
    assert (geometry.scale, geometry.flip) == ((0.4, 0.8), (False, False))


def test_several_images(net):
    assert len(featmap.visualize(net, [IMAGE, IMAGE], '0', input_size=32)) == 2


def test_the_name_of_a_function_alone_is_in_no_file(net):
    with pytest.raises(OptionError, match=r"^preprocess='mine': expected package\.module:function or"):
        featmap.visualize(net, IMAGE, '0', preprocess='mine')


def test_what_is_no_module():
    with pytest.raises(FeatMapError, match='str was given as the model: expected'):
        featmap.visualize('resnet', IMAGE)


class Bright(nn.Module):
    """Class 0 speaks for what is bright in the left half, class 1 for what is bright in the right one."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.body.weight, 1.0)

    def forward(self, inputs):
        halves = self.body(inputs).unflatten(3, (2, -1)).mean(dim=(2, 4))
        return halves.flatten(1)


def test_explain_says_where_in_a_tensor_a_class_is():
    net, ready = Bright(), torch.zeros(1, 3, 8, 12)
    ready[0, :, 2, 3], ready[0, :, 5, 10] = 1, 2
    net.train()
    for target, place in (('class:0', (2, 3)), ('class:1', (5, 10)), (lambda output: output[:, 0].sum(), (2, 3))):
        result = featmap.explain(net, ready, target, 'body', 'layercam', classes=('left', 'right'))
        assert np.unravel_index(result.heat.argmax(), result.heat.shape) == place
        assert (result.heat.shape, result.heat.max()) == ((8, 12), 1)
        assert (result.heat > 0).sum() == 1
    assert result.original.shape == (8, 12, 3)
    assert result.original[5, 10].tolist() == [255, 255, 255]
    assert [item.name for item in featmap.explain(net, ready[0], 'class:1', net.body).maps] == ['body']
    assert net.training
    assert net.body.weight.requires_grad
    assert net.body.weight.grad is None
    assert not net.body._forward_hooks


def test_explain_takes_images_as_visualize_does(net):
    image = IMAGE.copy()
    image[10:14, 60:64] = 255
    results = featmap.explain(
        Bright(), [image, image], 'class:left', 'body', ['layercam', 'gradcam'], preprocess=preprocess,
        classes=('left', 'right'),
    )  # fmt: skip
    assert len(results) == 2
    first, second = results[0].explanations
    assert (first.label.partition(' ')[0], first.method, second.method) == ('left', 'layercam', 'gradcam')
    y, x = np.unravel_index(first.heat.argmax(), first.heat.shape)
    assert 10 <= y < 14
    assert 60 <= x < 64  # where it is in the image; the network sees it mirrored, on the left
    with pytest.raises(FeatMapError, match='class:5'):
        featmap.explain(Bright(), image, 'class:5', preprocess=preprocess)


def test_what_tells_no_classes_apart_is_explained_by_a_function(net):
    image = IMAGE.copy()
    image[10:14, 60:64] = 255
    nn.init.constant_(net[0].weight, 1.0)
    with pytest.raises(FeatMapError, match='a function of its output explains it'):
        featmap.explain(net, image, 'box:0', '0', preprocess=preprocess)
    result = featmap.explain(net, image, lambda output: output[0, 1].sum(), '0', preprocess=preprocess)
    y, x = np.unravel_index(result.heat.argmax(), result.heat.shape)
    assert 8 <= y < 16
    assert 58 <= x < 66
