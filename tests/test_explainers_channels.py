"""Score-CAM and Ablation-CAM, of nets whose channels can be followed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featmap.errors import LayerError, OptionError
from featmap.explainers import AblationCAM, ScoreCAM
from featmap.layers import resolve
from tests.conftest import hooks
from tests.explainer_helpers import asked_of, output

# Red on the left, green at half its level on the right.
IMAGE = np.zeros((8, 8, 3), np.uint8)
IMAGE[:, :4, 0], IMAGE[:, 4:, 1] = 255, 51


class Net(nn.Module):
    """Channels red, green and blue; then a relu in place; what is returned: 3 · red on the left, and the sum of all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.stem.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        return torch.stack([3 * x[:, 0, :, :4].mean(dim=(1, 2)), x.sum(dim=(1, 2, 3))], dim=1)


class Tokens(nn.Module):
    """Patches of 2 × 2 as tokens, behind one that is no cell; both are added up."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 3, 2, 2, bias=False)
        self.block = nn.Identity()
        with torch.no_grad():
            self.patches.weight.copy_(torch.eye(3)[:, :, None, None].expand(-1, -1, 2, 2) / 4)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.block(torch.cat([cells.new_ones(len(cells), 1, 3), cells], dim=1))
        return tokens.sum(dim=(1, 2))


class Twice(nn.Module):
    """One layer, called for the image and for twice the image, and the difference of both."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.layer(x), self.layer(2 * x)
        return second.mean(dim=(1, 2, 3)) - first.mean(dim=(1, 2, 3)) / 2


def explained(method, module: nn.Module, *layers: str, targets=(0,), batch_size: int = 8):
    asked = asked_of(module, IMAGE, batch_size=batch_size)
    return method.explain(asked, [output(number) for number in targets], resolve(module, list(layers)))


@pytest.mark.parametrize('batch_size', [1, 2, 8])
def test_scorecam_by_hand(batch_size):
    (left,), (whole,) = explained(ScoreCAM(), Net(), 'stem', targets=(0, 1), batch_size=batch_size)
    # Seen through red, which is 1 on the left and 0 on the right, 3 is left of 3; through green 0; blue hides all.
    red, green = torch.from_numpy(IMAGE[:, :, :2].copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(left.values, 3 * red)
    torch.testing.assert_close(whole.values, 32 * red + 32 * 0.2 * green)
    assert left.layer == 'stem'
    assert left.shape == (3, 8, 8)
    assert left.cells.stride == (1.0, 1.0)


def test_scorecam_weighs_by_the_rise_above_the_baseline():
    class Raised(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 7

    (left,) = explained(ScoreCAM(), Raised(), 'stem')[0]
    torch.testing.assert_close(left.values, 3 * (torch.from_numpy(IMAGE[:, :, 0].copy()) / 255))


@pytest.mark.parametrize('batch_size', [1, 2, 8])
def test_ablationcam_by_hand(batch_size):
    module = Net()
    (left,), (whole,) = explained(AblationCAM(), module, 'stem', targets=(0, 1), batch_size=batch_size)
    red, green = torch.from_numpy(IMAGE[:, :, :2].copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(left.values, red)  # without red nothing is left of it, without another all
    torch.testing.assert_close(whole.values, red * 32 / 38.4 + green * 6.4 / 38.4)
    assert not hooks(module)


def test_ablationcam_clears_cells_of_tokens_and_leaves_the_others():
    asked = asked_of(Tokens(), IMAGE, batch_size=2)
    (heat,) = AblationCAM().explain(asked, [output()], resolve(asked.network.model, ['block']))[0]
    # 16 cells: 8 red ones, 8 of 0.2 green, and 3 of the token that is no cell: 12.6 in all.
    expected = torch.zeros(4, 4)
    expected[:, :2], expected[:, 2:] = 8 / 12.6, 0.2 * 1.6 / 12.6
    torch.testing.assert_close(heat.values, expected)
    assert heat.shape == (3, 4, 4)
    assert heat.tokens.left_out == 1
    assert heat.cells.stride == (2.0, 2.0)


def test_each_call_of_a_layer_has_its_own_heat():
    asked = asked_of(Twice(), IMAGE, batch_size=4)
    (heats,) = AblationCAM().explain(asked, [output()], resolve(asked.network.model, ['layer']))
    assert [(heat.call, heat.calls) for heat in heats] == [(0, 2), (1, 2)]
    red, green = torch.from_numpy(IMAGE[:, :, :2].copy()).permute(2, 0, 1) / 255
    # The second call gives 2 (red 0.5 + green 0.1) / 3 = 0.4, of which half of half is taken away: 0.3 is left.
    torch.testing.assert_close(heats[1].values, 2 * (red * (1 / 3) + green * (0.2 / 3)) / 0.3)
    assert heats[0].values.eq(0).all()  # the first call counts against it


def test_layers_are_explained_one_by_one():
    for method in (ScoreCAM(), AblationCAM()):
        assert [heat.layer for heat in explained(method, Net(), 'stem', 'relu')[0]] == ['stem', 'relu']


def test_a_target_that_is_nothing_has_no_heat():
    asked = asked_of(Net(), np.zeros_like(IMAGE))
    (heat,) = AblationCAM().explain(asked, [output(0)], resolve(asked.network.model, ['stem']))[0]
    assert heat.values.eq(0).all()


@pytest.mark.parametrize('method', [ScoreCAM(), AblationCAM()])
def test_without_a_layer_they_say_so(method):
    with pytest.raises(OptionError, match=f'{method.name} works on the channels of layers: name at least one'):
        method.explain(asked_of(Net(), IMAGE), [output(0)])


@pytest.mark.parametrize('method', [ScoreCAM(), AblationCAM()])
def test_a_model_that_writes_into_its_input_is_fed_with_the_image_again(method):
    class Writing(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(0.5))

    asked = asked_of(Writing(), IMAGE, batch_size=1)
    before = asked.inputs.clone()
    (heat,) = method.explain(asked, [output(0)], resolve(asked.network.model, ['stem']))[0]
    assert torch.equal(asked.inputs, before)
    red = torch.from_numpy(IMAGE[:, :, 0].copy()) / 255 / 2
    torch.testing.assert_close(heat.values, red * (1.5 if method.name == 'scorecam' else 1))


def test_no_hook_is_left_behind_by_a_forward_that_fails():
    class Failing(Net):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) == 2:
                raise LayerError('no')
            return super().forward(x)

    module = Failing()
    with pytest.raises(LayerError, match='no'):
        explained(AblationCAM(), module, 'stem', batch_size=2)
    assert not hooks(module)
