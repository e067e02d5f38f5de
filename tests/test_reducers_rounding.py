"""What rounding alone makes of a plane is told, and drawn flat; what is more is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from featmap.geometry import ImageGeometry
from featmap.reducers import build_reducer, reduce
from featmap.reducers.rounding import magnitude, noise_of
from featmap.rendering.normalize import value_range
from featmap.structures import Reduction

EVERY = ('select_max', 'pixel_max', 'l2', 'mean_abs', 'squeeze_mean', 'sum', 'pca', 'eigen', 'std')


def seen(features, reducer):
    """The range of the first plane as the label has it, and what it is allowed by rounding."""
    reduction = reduce(build_reducer(reducer), features, torch.ones(features.shape[1:]))
    values = reduction.values.numpy()
    noise = noise_of(reduction, values, features.shape[0], features.dtype)
    return value_range(values[0], noise[0])


def alike(kind, channels):
    """Features that differ from cell to cell, but by whose statistic all cells are alike."""
    torch.manual_seed(channels)
    features = torch.randn(channels, 12, 17) * torch.rand(12, 17).add(1) + torch.randn(channels, 1, 1)
    if kind == 'layer norm':
        return functional.layer_norm(features.movedim(0, -1), (channels,), eps=0).movedim(-1, 0)
    return functional.normalize(features, dim=0) if kind == 'unit length' else features.softmax(dim=0)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('channels', [16, 256, 2048])
@pytest.mark.parametrize(
    ('kind', 'reducer'),
    [('layer norm', 'l2'), ('layer norm', 'squeeze_mean'), ('layer norm', 'std'), ('unit length', 'l2'),
     ('shares', 'squeeze_mean'), ('shares', 'mean_abs')],
)  # fmt: skip
def test_what_is_constant_but_for_rounding_is_flat(kind, reducer, channels, dtype):
    features = alike(kind, channels).to(dtype)
    found = seen(features, reducer)
    assert found.high > found.low, 'without rounding there is nothing to test'
    assert found.constant
    assert str(found).endswith('but for rounding')
    features = features.float()
    features[:, 3:5, 3:5] *= 1.05  # more than half precision rounds
    features[0, 3:5, 3:5] += features.abs().mean() * channels * 0.05
    assert not seen(features.to(dtype), reducer).constant


@pytest.mark.parametrize(
    'reducer', ['select_max', 'pixel_max', 'l2', 'mean_abs', 'squeeze_mean', 'sum', 'pca', 'eigen', 'std']
)
def test_cells_that_are_alike_are_flat(reducer):
    cell = torch.linspace(-1, 3, 32)[:, None, None].expand(32, 9, 9)
    ulps = torch.randint(-1, 2, (32, 9, 9), generator=torch.Generator().manual_seed(0))
    found = seen(cell * (1 + ulps * 2**-23), reducer)
    assert found.constant


@pytest.mark.parametrize(
    'reducer', ['select_max', 'pixel_max', 'l2', 'mean_abs', 'squeeze_mean', 'sum', 'pca', 'eigen', 'std']
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_a_map_in_a_hundredth_of_its_offset_is_no_noise(reducer, dtype):
    torch.manual_seed(0)
    features = torch.randn(64, 9, 9) * 0.1 + 4 * torch.rand(64, 1, 1)
    assert not seen(features.to(dtype), reducer).constant


def test_a_map_far_below_one_is_no_noise():
    torch.manual_seed(0)
    assert not seen(torch.randn(8, 5, 5) * 1e-20, 'squeeze_mean').constant
    assert seen(torch.zeros(8, 5, 5), 'squeeze_mean').constant


def test_noise_by_hand():
    values = np.array([[[1.0, -4.0, np.nan]]], np.float32)
    ulp = 2.0**-23
    one = Reduction(torch.from_numpy(values), (7,))
    assert noise_of(one, values, 256, torch.float32) == pytest.approx((6 * ulp * 4,))
    many = Reduction(torch.from_numpy(values), (None,))
    assert noise_of(many, values, 256, torch.float32) == pytest.approx((66 * ulp * 4,))
    assert noise_of(many, values, 256, torch.float16) == pytest.approx(((2 * 2**-10 + 64 * ulp) * 4,))
    told = Reduction(torch.from_numpy(values), (None,), magnitude=torch.tensor(10.0))
    assert noise_of(told, values, 256, torch.float32) == pytest.approx((66 * ulp * 10,))
    overflown = Reduction(torch.from_numpy(values), (None,), magnitude=torch.tensor(torch.inf))
    assert noise_of(overflown, values, 256, torch.float32) == pytest.approx((66 * ulp * 4,))
    nothing = np.full((1, 1, 3), np.nan, np.float32)
    assert noise_of(one, nothing, 256, torch.int64) == (0.0,)


def test_magnitude():
    features = torch.tensor([[[1.0, -3.0]], [[2.0, torch.nan]]])
    assert float(magnitude(features)) == 1.5
    assert float(magnitude(torch.full((3, 100, 100), -2.0, dtype=torch.float16))) == 2


def test_a_chain_keeps_the_magnitude_of_what_it_began_with():
    features = torch.randn(16, 6, 6) + 5
    weights = torch.ones(6, 6)
    chain = reduce(build_reducer(['squeeze_mean', 'l2']), features, weights)
    assert chain.magnitude == magnitude(features)


def test_the_dtype_of_the_layer_reaches_the_map():
    from featmap.rendering.scales import scales_of
    from featmap.structures import FeatureMap

    values = np.linspace(1.0, 1.001, 64, dtype=np.float32).reshape(1, 8, 8)
    geometry = ImageGeometry.whole((64, 64))
    reduction = Reduction(torch.from_numpy(values), (None,))
    for dtype, flat in ((torch.float32, False), (torch.float16, True)):
        noise = noise_of(reduction, values, 4, dtype)
        item = FeatureMap(values, 'neck', (4, 8, 8), (8, 8), geometry, noise=noise)
        assert scales_of([item])[0][0].constant is flat
