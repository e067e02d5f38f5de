"""Gradients of post-processing where PyTorch's own are lost in rounding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from featmap.gradients import GradientRecorder
from featmap.models.differentiable import joined, kept_whole


class Decoder(nn.Module):
    """A head that detaches what it decodes."""

    def predict_by_feat(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.detach()
        return x[0].sigmoid(), torch.exp(x[1])


def test_a_saturated_score_and_an_overflowing_width_have_true_gradients() -> None:
    head = Decoder()
    x = torch.tensor([20.0, 100.0], requires_grad=True)
    with joined(head, 'predict_by_feat'):
        score, width = head.predict_by_feat(x)
    assert float(score.detach()) == 1
    assert math.isinf(float(width.detach()))
    gradient = torch.autograd.grad(torch.stack([score, width])[0].log(), x)[0]
    # PyTorch's own: σ·(1 − σ) is 0, and 0 · inf is NaN.
    assert gradient.tolist() == [pytest.approx(math.exp(-20), rel=1e-4), 0]
    assert 'predict_by_feat' not in vars(head)


def test_elsewhere_they_are_what_they_were() -> None:
    head = Decoder()
    x = torch.tensor([0.3, -1.2], requires_grad=True)
    with joined(head, 'predict_by_feat'):
        score, width = head.predict_by_feat(x)
    sigmoid, exponential = 1 / (1 + math.exp(-0.3)), math.exp(-1.2)
    assert torch.autograd.grad(score, x)[0].tolist() == [pytest.approx(sigmoid * (1 - sigmoid)), 0]
    with joined(head, 'predict_by_feat'):
        score, width = head.predict_by_feat(x)
    assert torch.autograd.grad(width, x)[0].tolist() == [0, pytest.approx(exponential)]


class Chooser(nn.Module):
    """A head that chooses one of some classes."""

    def predict_by_feat(self, x: torch.Tensor) -> torch.Tensor:
        return functional.softmax(x, dim=-1)


@pytest.mark.parametrize('logits', [[25.0, 0.0, 1.0], [0.5, 2.0, 1.0], [1.0, 1.0, 0.0], [0.0, 30.0, 30.0]])
@pytest.mark.parametrize('place', [0, 1, 2])
def test_a_class_that_is_next_to_certain_keeps_its_gradient(logits: list[float], place: int) -> None:
    x = torch.tensor([logits], requires_grad=True)
    head = Chooser()
    with joined(head, 'predict_by_feat'):
        found = head.predict_by_feat(x)
    gradient = torch.autograd.grad(found[0, place].log(), x)[0][0]
    true = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(true.softmax(-1)[0, place].log(), true)[0][0]
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-13)
    assert logits != [25.0, 0.0, 1.0] or place or 0 < float(gradient[0]) < 1e-9


class Stage(nn.Module):
    """A part that throws its own away in training, to compute it again."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Tanh()
        self.with_cp = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.layer, x, use_reentrant=True) if self.with_cp else self.layer(x)


def test_nothing_is_computed_twice() -> None:
    model = nn.Sequential(nn.Tanh(), Stage())
    x = torch.tensor([0.3])
    with pytest.raises(RuntimeError):  # PyTorch's own words: such parts allow no gradient of an activation
        torch.autograd.grad(model(x.requires_grad_()), x)
    with GradientRecorder(model, ['0', '1.layer']) as recorder, kept_whole(model):
        value = model(x.detach())
    slope = 1 - float(value.detach()) ** 2
    assert [each[''].tolist() for each in recorder.gradients(value)] == [[pytest.approx(slope)], [1]]
    assert model[1].with_cp
    with pytest.raises(ZeroDivisionError), kept_whole(model):
        raise ZeroDivisionError
    assert model[1].with_cp
