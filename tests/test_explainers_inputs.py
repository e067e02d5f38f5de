"""Integrated gradients and SmoothGrad, of functions whose integrals and gradients are worked out by hand."""

from __future__ import annotations

import pytest
import torch

from featmap.errors import LayerError
from featmap.explainers.integrated_gradients import integrated
from featmap.explainers.smoothgrad import smoothed


def pixels(*values: float) -> torch.Tensor:
    """(1, 1, N)."""
    return torch.tensor(values, dtype=torch.float32)[None, None]


def product(inputs: torch.Tensor) -> torch.Tensor:
    """x0 · x1 of each."""
    return inputs[:, 0, 0, 0] * inputs[:, 0, 0, 1]


def square(inputs: torch.Tensor) -> torch.Tensor:
    return inputs.square().sum(dim=(1, 2, 3))


def late(inputs: torch.Tensor) -> torch.Tensor:
    """relu(x0 - 1.5)."""
    return (inputs[:, 0, 0, 0] - 1.5).relu()


# --- integrated gradients


def test_a_product_is_shared_as_the_integral_says():
    """From (1, 0) to (2, 3), x0 = 1 + t and x1 = 3t: 1 · ∫ 3t and 3 · ∫ (1 + t), together the 6 that it rises by."""
    (found,) = integrated(lambda inputs: [product(inputs)], pixels(2, 3), pixels(1, 0), steps=4)
    assert found.values.flatten().tolist() == pytest.approx([1.5, 4.5])
    assert found.change == pytest.approx(6)
    assert found.error == pytest.approx(0, abs=1e-6)


def test_each_target_has_its_own_attributions():
    found = integrated(
        lambda inputs: [product(inputs), square(inputs)], pixels(2, 3), pixels(0, 0), steps=5, batch_size=2
    )
    assert found[0].values.flatten().tolist() == pytest.approx([3, 3])
    assert found[1].values.flatten().tolist() == pytest.approx([4, 9])
    assert found[1].change == pytest.approx(13)


@pytest.mark.parametrize('batch_size', [1, 3, 64])
def test_the_batch_size_changes_nothing(batch_size):
    draw = torch.Generator().manual_seed(0)
    image, baseline = torch.rand(3, 4, 5, generator=draw), torch.rand(3, 4, 5, generator=draw)
    seen = []

    def track(inputs):
        seen.append(len(inputs))
        return [inputs.pow(3).sum(dim=(1, 2, 3))]

    (found,) = integrated(track, image, baseline, steps=7, batch_size=batch_size)
    assert torch.allclose(found.values, image**3 - baseline**3, atol=1e-5)  # each pixel stands alone
    assert max(seen) <= max(batch_size, 2)
    assert sum(seen) == 7 + 2


def test_a_rule_too_coarse_for_the_function_says_so():
    """Half way is 1, below where the function begins to rise: nothing is found of the 0.5 that it rises by."""
    (found,) = integrated(lambda inputs: [late(inputs)], pixels(2), pixels(0), steps=1)
    assert found.values.flatten().tolist() == [0]
    assert found.change == pytest.approx(0.5)
    assert found.error == pytest.approx(1)
    (finer,) = integrated(lambda inputs: [late(inputs)], pixels(2), pixels(0), steps=200)
    assert finer.error < 0.02


def test_nothing_to_explain_between_an_image_and_itself():
    (found,) = integrated(lambda inputs: [square(inputs)], pixels(2, 3), pixels(2, 3), steps=3)
    assert found.values.eq(0).all()
    assert found.error == 0


# --- smoothgrad


def test_noise_leaves_the_gradient_of_a_linear_function():
    weights = pixels(2, -3)
    (found,) = smoothed(lambda inputs: [(inputs * weights).sum(dim=(1, 2, 3))], pixels(1, 1), deviation=0.5, samples=9)
    assert found.flatten().tolist() == pytest.approx([2, -3])


@pytest.mark.parametrize('batch_size', [1, 4, 16])
def test_the_gradient_is_the_mean_over_the_seeded_noise(batch_size):
    draw = torch.Generator().manual_seed(7)
    noise = torch.stack([torch.randn(1, 1, 2, generator=draw) for _ in range(10)]) * 0.3
    expected = 2 * (pixels(1, 5) + noise.mean(dim=0))
    (found,) = smoothed(lambda inputs: [square(inputs)], pixels(1, 5), 0.3, samples=10, batch_size=batch_size, seed=7)
    assert torch.allclose(found, expected, atol=1e-5)


def test_noise_rounds_a_corner():
    """Of relu(x - 1.5) at 1.5 about half of the copies have a gradient of 1."""
    (found,) = smoothed(lambda inputs: [late(inputs)], pixels(1.5), deviation=0.1, samples=400, batch_size=100)
    assert float(found) == pytest.approx(0.5, abs=0.08)


# --- what neither can do


@pytest.mark.parametrize(
    'cut',
    [
        lambda inputs: inputs.detach().sum(dim=(1, 2, 3)),
        lambda inputs: inputs.new_ones(len(inputs), requires_grad=True),
    ],
)
def test_a_target_that_does_not_depend_on_the_input_is_refused(cut):
    with pytest.raises(LayerError, match='does not depend on the network input'):
        smoothed(lambda inputs: [cut(inputs)], pixels(1, 2), deviation=0.1, samples=2)
    with pytest.raises(LayerError, match='does not depend on the network input'):
        integrated(lambda inputs: [cut(inputs)], pixels(1, 2), pixels(0, 0), steps=2)


def test_gradients_are_taken_where_they_are_switched_off_outside():
    with torch.no_grad():
        (found,) = smoothed(lambda inputs: [square(inputs)], pixels(1), deviation=0.0, samples=1)
    assert found.flatten().tolist() == [2]
