"""``pca`` and ``eigen`` of one map, against scikit-learn and NumPy."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from sklearn import decomposition

from featmap.errors import DrawError, OptionError
from featmap.geometry import ImageGeometry
from featmap.reducers import PCA, Eigen, build_reducer, reduce
from featmap.structures import FeatureMap
from featmap.visualizer import FeatMapVisualizer
from tests.pca_helpers import cells_of, everywhere, features, projected

NAN, INF = float('nan'), float('inf')
PRECISIONS = [torch.float32, torch.float16, torch.bfloat16]


def shares_in(names: tuple[str, ...]) -> list[int]:
    return [int(re.search(r'(\d+)%', name)[1]) for name in names]


def drawn(reduction, image: np.ndarray, channels: int = 64) -> tuple[np.ndarray, list[str]]:
    """The first panel of the reduction over an image of 8 pixels a cell, fully opaque, and all labels."""
    rows, columns = reduction.values.shape[1:]
    item = FeatureMap(
        reduction.values.numpy(), 'neck', (channels, rows, columns), (8, 8), ImageGeometry.whole(image.shape[:2]),
        kind=reduction.kind, names=reduction.names, ranges=reduction.ranges, channels=tuple(reduction.channels),
    )  # fmt: skip
    rendering = FeatMapVisualizer(alpha=1.0).draw_maps(image, [item])
    panel = rendering.panels[1]
    return (
        rendering.image[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width],
        [each.label for each in rendering.panels[1:]],
    )


# --- pca

SHAPES = [(8, 9, 11), (24, 5, 4), (130, 12, 12), (4, 30, 30), (2, 6, 6), (40, 3, 3)]


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('k', [1, 2, 4])
def test_pca_of_one_map_is_that_of_scikit_learn(shape, k, precision):
    maps = features(*shape).to(precision)
    weights = torch.zeros(shape[1:])
    weights[:, 1:] = 1
    cells = cells_of(maps, weights)
    kept = min(k, *cells.shape)
    reference = decomposition.PCA(kept, svd_solver='full').fit(cells)
    reduction = reduce(PCA(k), maps, weights)
    assert reduction.kind == 'heat'
    assert reduction.channels == (None,) * kept
    expected = projected(reference, maps)
    np.testing.assert_allclose(reduction.values.numpy(), expected, atol=2e-3 * np.abs(expected).max())
    for number, (name, share) in enumerate(zip(reduction.names, reference.explained_variance_ratio_)):
        assert name.startswith(f'component {number + 1}, ')
        assert abs(shares_in((name,))[0] - 100 * share) <= 0.51
    spreads = reference.transform(cells).std(0)
    np.testing.assert_allclose(reduction.ranges, np.outer(2.5 * spreads, [-1, 1]), rtol=2e-3, atol=1e-5 * spreads[0])


@pytest.mark.parametrize('fitted', [False, True])
def test_padding_has_no_part_in_the_basis_and_is_projected_on_it(fitted):
    maps = features(10, 8, 8)
    weights = torch.zeros(8, 8)
    weights[2:6] = 1
    clean = maps.clone()
    maps[:, :2], maps[:, 6:] = 1e4, -3e3
    reducer = PCA(2)
    if fitted:
        reducer.observe(maps, weights)
        reducer.fit()
    reference = decomposition.PCA(2, svd_solver='full').fit(cells_of(clean, weights))
    values = reduce(reducer, maps, weights).values.numpy()
    np.testing.assert_allclose(values[:, 2:6], projected(reference, clean)[:, 2:6], atol=1e-3)
    assert (np.abs(values[0, :2]) > 100).all()


@pytest.mark.parametrize('bad', [NAN, INF, -INF])
@pytest.mark.parametrize('fitted', [False, True])
def test_cells_that_are_not_finite_take_no_part(bad, fitted):
    maps = features(10, 7, 7)
    maps[4, 3, 2], maps[:, 0, 0] = bad, bad
    reducer = PCA(3)
    if fitted:
        reducer.observe(maps, everywhere(maps))
        reducer.fit()
    reference = decomposition.PCA(3, svd_solver='full').fit(cells_of(maps))
    assert len(cells_of(maps)) == 47
    reduction = reduce(reducer, maps, everywhere(maps))
    values = reduction.values.numpy()
    assert np.argwhere(~np.isfinite(values).any(0)).tolist() == [[0, 0], [3, 2]]
    finite = np.isfinite(maps.numpy()).all(0)
    np.testing.assert_allclose(values[:, finite], projected(reference, torch.nan_to_num(maps))[:, finite], atol=1e-3)
    assert np.isfinite(reduction.ranges).all()


def test_a_mean_that_is_large_beside_the_spread_costs_no_digits():
    maps = features(12, 20, 20) + 3000
    reference = decomposition.PCA(3, svd_solver='full').fit(cells_of(maps))
    for fitted in (False, True):
        reducer = PCA(3)
        if fitted:
            reducer.observe(maps, everywhere(maps))
            reducer.fit()
        reduction = reduce(reducer, maps, everywhere(maps))
        expected = projected(reference, maps)
        np.testing.assert_allclose(reduction.values.numpy(), expected, atol=5e-3 * np.abs(expected).max())
        np.testing.assert_allclose(np.array(reduction.ranges)[:, 1], 2.5 * expected.std((1, 2)), rtol=5e-3)


@pytest.mark.parametrize('value', [0.0, 0.1, -3.7, 1e4])
@pytest.mark.parametrize('fitted', [False, True])
@pytest.mark.parametrize('k', [2, 3])
def test_a_constant_map_is_flat(value, fitted, k):
    maps = torch.full((16, 9, 9), value)
    reducer = PCA(k)
    if fitted:
        reducer.observe(maps, everywhere(maps))
        reducer.fit()
    reduction = reduce(reducer, maps, everywhere(maps))
    assert np.ptp(reduction.values.numpy(), axis=(1, 2)).max() == 0
    np.testing.assert_allclose(reduction.ranges, 0, atol=1e-3)
    picture, labels = drawn(reduction, np.zeros((72, 72, 3), np.uint8))
    assert (picture == picture[0, 0]).all()
    assert 'nan' not in labels[0]


@pytest.mark.parametrize(('channels', 'present'), [(1, 1), (2, 2), (3, 3), (9, 3)])
@pytest.mark.parametrize('fitted', [False, True])
def test_three_components_are_red_green_and_blue_and_missing_ones_black(channels, present, fitted):
    maps = features(channels, 8, 8)
    reducer = PCA()
    if fitted:
        reducer.observe(maps, everywhere(maps))
        reducer.fit()
    reduction = reduce(reducer, maps, everywhere(maps))
    assert reduction.kind == 'image'
    assert reduction.values.shape == (3, 8, 8)
    assert len(reduction.ranges) == 3
    assert (reduction.values[present:] == 0).all()
    assert reduction.ranges[present:] == ((0, 0),) * (3 - present)
    picture, labels = drawn(reduction, np.full((64, 64, 3), 200, np.uint8), channels)
    assert (picture[..., present:] == 0).all()
    assert (np.ptp(picture[..., :present], axis=(0, 1)) > 100).all()
    share = decomposition.PCA(present, svd_solver='full').fit(cells_of(maps)).explained_variance_ratio_.sum()
    assert abs(shares_in(reduction.names)[0] - 100 * share) <= 0.51
    assert labels == [f'neck · {reduction.names[0]} · {channels}×8×8 · stride 8']


@pytest.mark.parametrize(('k', 'as_rgb', 'kind'), [(3, None, 'image'), (3, False, 'heat'), (5, None, 'heat')])
def test_whether_components_are_one_picture(k, as_rgb, kind):
    maps = features(9, 6, 6)
    reduction = reduce(PCA(k, as_rgb), maps, everywhere(maps))
    assert reduction.kind == kind
    assert len(reduction.values) == len(reduction.ranges) == k
    assert len(reduction.names) == (1 if kind == 'image' else k)


def test_the_colours_of_a_component_span_two_and_a_half_standard_deviations():
    maps = features(9, 30, 30)
    reduction = reduce(PCA(3), maps, everywhere(maps))
    picture, _ = drawn(reduction, np.zeros((240, 240, 3), np.uint8))
    centres = picture[4::8, 4::8].astype(float).transpose(2, 0, 1)  # where interpolation shows about the cell itself
    for plane, seen in zip(reduction.values.numpy(), centres):
        scaled = np.clip((plane / plane.std() + 2.5) / 5, 0, 1) * 255
        assert np.abs(np.median(scaled - seen)) < 2
        assert np.corrcoef(scaled.ravel(), seen.ravel())[0, 1] > 0.95
        assert abs(plane.mean()) < 1e-3  # the mean is the middle


@pytest.mark.parametrize(
    ('config', 'message'),
    [({'k': 0}, 'k must be at least 1'), ({'k': 4, 'as_rgb': True}, 'take 3 components, got k=4'), ({'q': 1}, 'pca')],
)
def test_pca_that_cannot_be(config, message):
    with pytest.raises(OptionError, match=message):
        build_reducer({'type': 'pca', **config})


def test_the_option_components_is_k():
    maps = features(9, 6, 6)
    assert len(reduce(build_reducer('pca', components=5), maps, everywhere(maps)).values) == 5
    assert len(reduce(build_reducer({'type': 'pca', 'k': 2}, components=5), maps, everywhere(maps)).values) == 2


# --- eigen


def uncentred(maps: torch.Tensor, weights: torch.Tensor) -> np.ndarray:
    """All cells on the first left singular vector of the cells that count; their sum is not negative."""
    left = np.linalg.svd(cells_of(maps, weights).T, full_matrices=False)[0][:, 0]
    values = np.nan_to_num(maps.double().numpy(), nan=0, posinf=0, neginf=0)
    plane = np.tensordot(left, values, 1)
    finite = np.isfinite(maps.numpy()).all(0)
    return plane * (-1 if (plane * weights.numpy())[finite].sum() < 0 else 1)


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('shape', [(6, 9, 11), (150, 12, 12), (300, 5, 4), (5, 1, 1), (1, 6, 6), (130, 20, 10)])
@pytest.mark.parametrize('sign', [1, -1])
def test_eigen_against_the_svd(shape, precision, sign):
    maps = (sign * (features(*shape) + 0.5)).to(precision)
    weights = torch.ones(shape[1:])
    weights[shape[1] // 2 + 1 :] = 0
    plane = reduce(Eigen(), maps, weights).values.numpy()[0]
    expected = uncentred(maps.float(), weights)
    np.testing.assert_allclose(plane, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize('seed', range(12))
def test_eigen_never_comes_out_inverted(seed):
    maps = features(int(np.random.default_rng(seed).integers(2, 130)), 12, 11, seed=seed)
    weights = torch.zeros(12, 11)
    weights[3:9] = 1
    # On the padding, of which there is as much, the signs are the other way round.
    maps[:, :3], maps[:, 9:] = -maps[:, 3:6] * 20, -maps[:, 6:9] * 20
    planes = [reduce(Eigen(), maps * sign, weights).values for sign in (1, -1)]
    for plane in planes:
        assert (plane * weights).sum() > 0
        assert plane.sum() < 0
    np.testing.assert_allclose(planes[0], planes[1], atol=1e-3 * planes[0].abs().max())


def test_eigen_leaves_out_cells_that_are_not_finite():
    maps = features(8, 7, 7)
    maps[2, 1, 4], maps[5, 6, 6] = NAN, INF
    plane = reduce(Eigen(), maps, everywhere(maps)).values.numpy()[0]
    assert np.argwhere(~np.isfinite(plane)).tolist() == [[1, 4], [6, 6]]
    finite = np.isfinite(plane)
    expected = uncentred(maps, everywhere(maps))
    np.testing.assert_allclose(plane[finite], expected[finite], atol=2e-3)


@pytest.mark.parametrize('value', [0.0, 2.0, -2.0])
def test_eigen_of_a_constant_map_is_flat_and_not_negative(value):
    for channels in (1, 4, 120):
        maps = torch.full((channels, 11, 11), value)
        plane = reduce(Eigen(), maps, everywhere(maps)).values
        np.testing.assert_allclose(plane, abs(value) * np.sqrt(channels), rtol=1e-4, atol=1e-6)


def test_eigen_of_nothing_finite_is_refused_when_it_is_drawn():
    maps = torch.full((4, 5, 5), NAN)
    reduction = reduce(Eigen(), maps, everywhere(maps))
    assert reduction.values.isnan().all()
    with pytest.raises(DrawError, match='holds no finite value'):
        drawn(reduction, np.zeros((40, 40, 3), np.uint8))
