"""Explainers that make heat of a map and its gradient, against a net whose weights and gradients are written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from featmap.registry import EXPLAINERS

NAN, INF = float('nan'), float('inf')
GRADIENT = [[[1.0, -1.0], [0.0, 2.0]], [[0.5, 2.0], [-1.0, 0.0]]]
FEATURES = [[[1.0, 2.0], [3.0, 4.0]], [[0.0, -1.0], [2.0, 1.0]]]
PER_CELL = ['layercam', 'hirescam', 'odam']
WEIGHTED = ['gradcam', 'gradcam++', 'xgradcam', 'ssgradcam', 'ssgradcam++', 'eigengradcam']
ALL = PER_CELL + WEIGHTED


def explained(name: str, features, gradient) -> torch.Tensor:
    """What the formula gives, before what is negative is cut off."""
    with torch.no_grad():
        return EXPLAINERS.build({'type': name}).explain(torch.as_tensor(features), torch.as_tensor(gradient))


def heat(name: str, features, gradient) -> torch.Tensor:
    return EXPLAINERS.build({'type': name}).heat(torch.as_tensor(features), torch.as_tensor(gradient))


def tiny_net() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A map, the score of a linear layer on it, and the score's gradient, by autograd.

    The image is [[1, 2], [3, 4]]; the first channel is the image, the second 2 - x for x in (2, 3, 0, 1).
    """
    image = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[2.0, 3.0], [0.0, 1.0]]])
    layer = nn.Conv2d(2, 2, 1)
    layer.weight.data = torch.tensor([[1.0, 0.0], [0.0, -1.0]]).reshape(2, 2, 1, 1)
    layer.bias.data = torch.tensor([0.0, 2.0])
    score = nn.Linear(8, 1)
    score.weight.data = torch.tensor(GRADIENT).reshape(1, 8)
    score.bias.data = torch.tensor([5.0])
    features = layer(image[None])
    result = score(features.flatten(1))[0, 0]
    (gradient,) = torch.autograd.grad(result, features)
    return features.detach()[0], gradient[0], result.detach()


def test_the_tiny_net_is_what_the_figures_below_are_worked_out_from():
    features, gradient, score = tiny_net()
    assert features.tolist() == FEATURES
    assert gradient.tolist() == GRADIENT
    assert score == 8  # 1 - 2 + 0 + 8, 0 - 2 - 2 + 0, and 5


# w: means 0.5 and 0.375; of Grad-CAM++ 1/12 + 2/22 and 0.5/3 + 2/6; of XGrad-CAM 7/10 and -4/2.
W = 23 / 132


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('layercam', [[1.0, -2.0], [0.0, 8.0]]),
        ('hirescam', [[1.0, -4.0], [-2.0, 8.0]]),
        ('odam', [[1.0, -4.0], [-2.0, 8.0]]),
        ('gradcam', [[0.5, 0.625], [2.25, 2.375]]),
        ('gradcam++', [[W, 2 * W - 0.5], [3 * W + 1, 4 * W + 0.5]]),
        ('xgradcam', [[0.7, 3.4], [-1.9, 0.8]]),
        ('ssgradcam', [[0.25, 0.125], [0.375, 2.0]]),
        ('ssgradcam++', [[W / 2, W - 0.5], [0.5, 4 * W]]),
    ],
)
def test_each_formula_gives_what_was_worked_out_by_hand(name, expected):
    features, gradient, _ = tiny_net()
    assert np.allclose(explained(name, features, gradient), expected, atol=1e-6)
    assert np.allclose(heat(name, features, gradient), np.maximum(expected, 0), atol=1e-6)


def test_hirescam_adds_up_to_the_score_of_a_linear_layer_less_its_bias():
    features, gradient, score = tiny_net()
    assert explained('hirescam', features, gradient).sum() == score - 5


def test_layercam_counts_negative_activations_and_not_negative_gradients():
    assert explained('layercam', [[[-3.0]], [[2.0]]], [[[1.0]], [[-4.0]]]).tolist() == [[-3.0]]


def test_gradcam_plus_plus_of_gradients_far_below_its_usual_constant():
    """pytorch-grad-cam's 1e-6 in the denominator would give 0.001³ / 1e-6, and nothing of the smaller one."""
    weights = explained('gradcam++', [[[0.0, 1.0]], [[1.0, 0.0]]], [[[1e-5, 0.0]], [[0.0, 4e-5]]])
    assert weights.tolist()[0] == pytest.approx([2e-5, 5e-6], rel=1e-4)


def test_gradcam_plus_plus_has_no_pole_where_activations_are_negative():
    """2 + Σ A g = 2 - 4 · 0.5 = 0."""
    assert explained('gradcam++', [[[-4.0, 0.0]]], [[[0.0, 0.5]]]).tolist() == [[-1.0, 0.0]]


def test_xgradcam_leaves_out_channels_whose_activations_cancel():
    features = [[[1.0, -1.0]], [[3.0, 1.0]], [[0.0, 0.0]]]
    assert explained('xgradcam', features, [[[5.0, 1.0]], [[2.0, 2.0]], [[7.0, 7.0]]]).tolist() == [[6.0, 2.0]]


def test_xgradcam_is_gradcam_where_the_gradient_is_the_same_in_all_cells():
    features = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0))
    gradient = torch.tensor([1.0, -2.0, 0.5, 3.0])[:, None, None].expand(4, 3, 5)
    assert torch.allclose(
        explained('xgradcam', features, gradient), explained('gradcam', features, gradient), atol=1e-5
    )


def test_ssgradcam_plus_plus_adds_up_activations_where_the_gradient_is():
    """S = 1 of the first two cells, not 11: w = 2 / (2 + 1 · 2) = 0.5; Grad-CAM++ has 2 / (2 + 11 · 2)."""
    features, gradient = [[[1.0, 0.0, 10.0]]], [[[2.0, -1.0, 0.0]]]
    assert explained('ssgradcam++', features, gradient).tolist() == [[0.5, 0.0, 0.0]]
    assert explained('gradcam++', features, gradient).tolist()[0] == pytest.approx([2 / 24, 0, 20 / 24])


def test_a_space_map_is_of_one_channel_and_its_weight_of_all_cells():
    """Means 1 and -0.5; space maps (1, 0.5) and (1, 0)."""
    features, gradient = [[[1.0, 1.0]], [[4.0, 4.0]]], [[[2.0, 0.0]], [[-1.0, 0.0]]]
    assert explained('ssgradcam', features, gradient).tolist() == [[-1.0, 0.0]]


# --- eigengradcam


def by_svd(features: torch.Tensor, gradient: torch.Tensor) -> np.ndarray:
    """The definition: the whole singular value decomposition of gradient times activation, centred."""
    cells = (features * gradient).double().numpy().reshape(len(features), -1).T
    centred = cells - cells.mean(axis=0)
    plane = centred @ np.linalg.svd(centred, full_matrices=True)[2][0]
    return plane.reshape(features.shape[1:]) * np.sign(plane @ cells.sum(axis=1))


def test_eigengradcam_of_one_channel_is_the_product_less_its_mean():
    assert explained('eigengradcam', [[[1.0, 2.0, 3.0]]], [[[2.0, 2.0, 2.0]]]).tolist()[0] == pytest.approx([-2, 0, 2])


@pytest.mark.parametrize('shape', [(4, 6, 7), (70, 3, 4), (130, 12, 11), (300, 13, 9)])
def test_eigengradcam_is_the_first_component_of_a_whole_decomposition(shape):
    draw = torch.Generator().manual_seed(1)
    features, gradient = torch.rand(shape, generator=draw), torch.randn(shape, generator=draw)
    features[:, :2] += 2
    ours, theirs = explained('eigengradcam', features, gradient).numpy(), by_svd(features, gradient)
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()


@pytest.mark.parametrize('sign', [1.0, -1.0])
def test_eigengradcam_is_positive_where_the_products_are(sign):
    features = torch.tensor([[[1.0, 1.0, 9.0, 1.0]], [[1.0, 1.0, 5.0, 1.0]]])
    plane = explained('eigengradcam', features, torch.full_like(features, sign))
    assert (plane.argmax() if sign > 0 else plane.argmin()) == 2


# --- what may go wrong


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('shape', [(1, 4, 5), (3, 1, 1), (1, 1, 1), (6, 1, 7)])
def test_small_maps_have_a_finite_heat_of_their_size(name, shape):
    draw = torch.Generator().manual_seed(2)
    found = heat(name, torch.rand(shape, generator=draw), torch.randn(shape, generator=draw))
    assert found.shape == shape[1:]
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert (found >= 0).all()


@pytest.mark.parametrize('name', ALL)
def test_no_activation_or_no_gradient_is_no_heat(name):
    assert heat(name, torch.zeros(3, 2, 2), torch.ones(3, 2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert heat(name, torch.ones(3, 2, 2), torch.zeros(3, 2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize('name', [name for name in ALL if name != 'eigengradcam'])
def test_gradients_that_are_all_negative_are_no_heat(name):
    draw = torch.Generator().manual_seed(3)
    features = torch.rand(3, 4, 4, generator=draw)
    assert heat(name, features, -torch.rand(3, 4, 4, generator=draw) - 0.1).eq(0).all()


@pytest.mark.parametrize('bad', [NAN, INF, -INF])
@pytest.mark.parametrize('name', ALL)
def test_a_cell_that_is_not_finite_leaves_the_others_as_they_are(name, bad):
    draw = torch.Generator().manual_seed(4)
    features, gradient = torch.rand(3, 4, 4, generator=draw), torch.rand(3, 4, 4, generator=draw)
    clean = features.clone()
    features[1, 2, 3] = bad
    clean[1, 2, 3] = 0
    found, expected = heat(name, features, gradient), heat(name, clean, gradient)
    assert found[2, 3].isnan() or found[2, 3] == 0
    others = torch.ones(4, 4, dtype=torch.bool)
    others[2, 3] = False
    assert torch.isfinite(found[others]).all()
    if name != 'eigengradcam':  # its cells are centred together
        assert torch.allclose(found[others], expected[others], atol=1e-5)


@pytest.mark.parametrize('precision', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('name', ALL)
def test_other_precisions_are_computed_in_float32(name, precision):
    """Sums of 4,096 cells of 60 and more would overflow in float16."""
    draw = torch.Generator().manual_seed(5)
    features = (60 + torch.rand(2, 64, 64, generator=draw)).to(precision)
    gradient = torch.randn(2, 64, 64, generator=draw).to(precision)
    found = heat(name, features, gradient)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert torch.equal(found, heat(name, features.float(), gradient.float()))


@pytest.mark.parametrize('name', ALL)
def test_neither_features_nor_graph_are_touched(name):
    features, gradient, _ = tiny_net()
    features.requires_grad_()
    before = features.detach().clone(), gradient.clone()
    found = heat(name, features, gradient)
    assert not found.requires_grad
    assert features.grad is None
    assert torch.equal(features.detach(), before[0])
    assert torch.equal(gradient, before[1])


@pytest.mark.parametrize('name', ALL)
def test_a_target_in_another_unit_has_the_same_heat_but_for_its_scale(name):
    """Only Grad-CAM++'s α is not linear in them."""
    draw = torch.Generator().manual_seed(6)
    features, gradient = torch.rand(3, 4, 4, generator=draw), torch.randn(3, 4, 4, generator=draw)
    found, small = heat(name, features, gradient), heat(name, features, gradient * 1e-4)
    if '++' in name:
        assert torch.corrcoef(torch.stack([found.flatten(), small.flatten()]))[0, 1] > 0.9
    else:
        assert torch.allclose(found, small * 1e4, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('name', ALL)
def test_each_says_its_name_its_group_and_that_it_is_of_the_target(name):
    explainer = EXPLAINERS.build({'type': name})
    assert explainer.name == name
    assert explainer.group in ('element-wise gradient', 'channel-weighted gradient')
    assert not explainer.class_agnostic


# --- baselines of no target


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('squeeze_mean', [[2.0, 0.0], [0.5, 0.0]]),
        ('sum', [[4.0, 0.0], [1.0, 0.0]]),
        ('pixel_max', [[4.0, 3.0], [1.0, 0.0]]),
        ('mean_abs', [[2.0, 3.5], [0.5, 1.0]]),
        ('l2', [[4.0, 5.0], [1.0, 2.0**0.5]]),
        ('std', [[2.0, 3.5], [0.5, 0.0]]),
    ],
)
def test_reducers_are_baselines(name, expected):
    features = [[[4.0, 3.0], [0.0, -1.0]], [[0.0, -4.0], [1.0, -1.0]]]
    assert np.allclose(heat(name, features, torch.zeros(2, 2, 2)), expected)


def test_eigen_is_the_first_singular_vector_with_the_sign_that_adds_up():
    """Two channels in proportion, -3 and 4: the vector is their own, of length 5."""
    plane = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    assert torch.allclose(heat('eigen', torch.stack([-3 * plane, 4 * plane]), torch.zeros(2, 2, 2)), 5 * plane)


@pytest.mark.parametrize('name', ['eigen', 'l2', 'mean_abs', 'pixel_max', 'squeeze_mean', 'std', 'sum'])
def test_baselines_say_that_they_are_of_no_target(name):
    draw = torch.Generator().manual_seed(8)
    features = torch.rand(4, 3, 5, generator=draw)
    found = [heat(name, features, torch.randn(4, 3, 5, generator=draw)) for _ in range(2)]
    assert torch.equal(*found)
    explainer = EXPLAINERS.build({'type': name})
    assert (explainer.name, explainer.group, explainer.class_agnostic) == (name, 'baseline', True)
