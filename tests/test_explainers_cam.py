"""CAM of a net whose weights are written out, and of nets that are not of its kind."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from demo.classifier import classifier
from featmap.answers import Answers
from featmap.asked import Asked
from featmap.errors import LayerError
from featmap.explainers import CAM, GradCAM
from featmap.layers import resolve
from featmap.models.protocol import Batch
from featmap.targets import Chosen, Scene, choose, parse_target
from tests.conftest import ROOT, hooks
from tests.explainer_helpers import Plain

# Red and green on four pixels, in fifths of the full level.
FIFTHS = np.array([[[1, 2, 0], [3, 0, 0]], [[0, 5, 0], [4, 1, 0]]])
IMAGE = (FIFTHS * 51).astype(np.uint8)


class Net(nn.Module):
    """Channels red and green, averaged; class 0 is 2 · red − green, class 1 green, and class 2 neither."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2, 3)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:2, :, None, None])
            self.fc.weight.copy_(torch.tensor([[2.0, -1.0], [0.0, 1.0], [0.0, 0.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.relu(self.conv(x))).flatten(1))


class Classes(Plain):
    def _respond(self, batch: Batch, raw: float | None) -> tuple[Answers, ...]:
        return tuple(Answers('classes', logits=each, output=each) for each in self.model(batch.inputs))


def asked_of(module: nn.Module, image: np.ndarray = IMAGE, network: type[Plain] = Classes) -> Asked:
    model = network(module)
    return Asked(model, image, model.prepare([image]))


def chosen_of(asked: Asked, text: str) -> Chosen:
    answers = asked.network.respond(asked.batch)[0]
    return choose(parse_target(text), Scene(answers, asked.geometry, gradients=False))[0]


def test_the_weights_of_a_class_add_its_channels_up() -> None:
    asked = asked_of(Net())
    targets = [chosen_of(asked, text) for text in ('class:0', 'class:1', 'class:0-class:1', 'class:2')]
    first, second, rather, none = (heats[0] for heats in CAM().explain(asked, targets))
    assert (first.values * 5).tolist() == [[0.0, 6.0], [0.0, 7.0]]  # 2 − 2, 6 − 0, 0 − 5, 8 − 1
    assert (second.values * 5).tolist() == [[2.0, 0.0], [5.0, 1.0]]
    assert (rather.values * 5).tolist() == [[0.0, 6.0], [0.0, 6.0]]
    assert none.values.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert (first.layer, first.shape, first.note) == ('relu', (2, 2, 2), 'weights of fc')
    assert not hooks(asked.network.model)


def test_a_layer_that_is_named_has_to_be_the_one_that_is_averaged() -> None:
    asked = asked_of(Net())
    target = [chosen_of(asked, 'class:0')]
    named = CAM().explain(asked, target, resolve(asked.network.model, ['relu']))[0][0]
    assert torch.equal(named.values, CAM().explain(asked, target)[0][0].values)
    image = IMAGE.copy()
    net = Net()
    with torch.no_grad():
        net.conv.weight.neg_()  # the relu leaves nothing of it
    other = asked_of(net, image)
    with pytest.raises(LayerError, match=r'goes into fc is not the mean of conv: it is of relu'):
        CAM().explain(other, target, resolve(net, ['conv']))


def test_on_the_averaged_map_it_is_gradcam_but_for_the_number_of_cells() -> None:
    """The shipped classifier averages by a function, not by a layer."""
    module = classifier().eval()
    module.load_state_dict(torch.load(ROOT / 'demo' / 'classifier.pth', weights_only=True)['state_dict'])
    image = np.array(Image.open(ROOT / 'demo' / 'object.jpg').convert('RGB').resize((96, 64)))
    asked = asked_of(module, image)
    best = chosen_of(asked, 'top')
    heat = CAM().explain(asked, [best])[0][0]
    assert heat.layer == 'stages'
    features = module.stages(module.stem(asked.batch.inputs)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(module.head(features.mean(dim=(2, 3)))[0, best.class_index], features)
    expected = GradCAM().heat(features[0], gradient[0]) * heat.values.numel()
    assert torch.allclose(heat.values, expected, rtol=1e-3, atol=1e-5)
    assert float(heat.values.max()) > 0


class Tokens(nn.Module):
    """Patches as tokens, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 3, 2, 2, bias=False)
        self.norm = nn.Identity()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1))


def test_tokens_that_are_averaged_are_a_map() -> None:
    draw = np.random.default_rng(1)
    asked = asked_of(Tokens().eval(), draw.integers(0, 256, (8, 12, 3), np.uint8))
    module = asked.network.model
    heat = CAM().explain(asked, [chosen_of(asked, 'class:1')])[0][0]
    assert heat.layer == 'norm'
    expected = torch.einsum('c,chw->hw', module.head.weight[1], module.patches(asked.batch.inputs)[0]).clamp(min=0)
    assert torch.allclose(heat.values, expected.detach(), atol=1e-5)


def linear(inputs: int, outputs: int, bias: float = 1.0) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.constant_(layer.weight, 0.5)
    nn.init.constant_(layer.bias, bias)
    return layer


def net_with(**parts: nn.Module) -> nn.Module:
    net = Net()
    for name, part in parts.items():
        setattr(net, name, part)
    return net.eval()


@pytest.mark.parametrize(
    ('net', 'told'),
    [
        (net_with(pool=nn.AdaptiveMaxPool2d(1)), 'what goes into fc is the mean of no layer'),
        (
            net_with(fc=nn.Sequential(linear(2, 4), nn.ReLU(), linear(4, 3))),
            'what goes into fc.2 is the mean of no',
        ),
        (net_with(fc=nn.Sequential(linear(2, 3, -9.0), nn.ReLU())), 'come out of none of its 1'),
        (net_with(pool=nn.Conv2d(2, 3, 2), fc=nn.Identity()), 'come out of none of its 0'),
    ],
)
def test_other_nets_are_refused_by_what_they_lack(net: nn.Module, told: str) -> None:
    asked = asked_of(net)
    with pytest.raises(LayerError, match=re.escape(told)) as refused:
        CAM().explain(asked, [chosen_of(asked, 'class:0')])
    assert 'gradcam' in str(refused.value)
    assert not hooks(net)


def test_what_gives_no_classes_has_no_cam() -> None:
    asked = asked_of(Net(), network=Plain)
    with pytest.raises(LayerError, match=r'Net gives no classes of a whole image; .*layercam'):
        CAM().explain(asked, [Chosen(torch.zeros(()), 'box 0')])


def test_a_net_that_writes_into_its_input_is_asked_about_the_same_image_again() -> None:
    class Darkening(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(0.5))

    asked = asked_of(Darkening())
    before = asked.inputs.clone()
    CAM().explain(asked, [Chosen(torch.zeros(()), 'class 1', again=lambda answers: answers.logits[1])])
    assert torch.equal(asked.inputs, before)
