"""Groups of cells: non-negative concepts and segments, against planted ones and scikit-learn."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, nnls
from sklearn import decomposition
from sklearn.metrics import adjusted_rand_score

from featmap.errors import DrawError, MissingPackageError, OptionError
from featmap.reducers import NMF, KMeans, build_reducer, reduce

NAN, INF = float('nan'), float('inf')
PRECISIONS = [torch.float32, torch.float16, torch.bfloat16]
pytestmark = pytest.mark.filterwarnings('ignore::sklearn.exceptions.ConvergenceWarning')


def everywhere(maps: torch.Tensor) -> torch.Tensor:
    return torch.ones(maps.shape[1:])


def as_maps(cells: np.ndarray, rows: int) -> torch.Tensor:
    """(n, C) cells to (C, rows, n / rows)."""
    return torch.from_numpy(np.ascontiguousarray(cells.T.reshape(cells.shape[1], rows, -1))).float()


def parts(seed: int = 0) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Three parts, each with cells and channels of its own and some shared: the map, (n, 3) and (3, C)."""
    generator = np.random.default_rng(seed)
    strengths = generator.uniform(0.2, 1, (120, 3)) * np.array([1.0, 2.0, 4.0])
    channels = generator.uniform(0.2, 1, (3, 16))
    for part in range(3):
        strengths[part * 30 : part * 30 + 30, [(part + 1) % 3, (part + 2) % 3]] = 0
        channels[[(part + 1) % 3, (part + 2) % 3], part * 4 : part * 4 + 4] = 0
    return as_maps(strengths @ channels, 10), strengths, channels


def shares_in(names: tuple[str, ...]) -> list[int]:
    return [int(re.search(r'(\d+)%', name)[1]) for name in names]


# --- nmf


@pytest.mark.parametrize('seed', range(3))
def test_planted_parts_are_found_with_their_shares(seed):
    maps, strengths, channels = parts(seed)
    reduction = reduce(NMF(3, iterations=2000), maps, everywhere(maps))
    planes = reduction.values.flatten(1).double().numpy()
    planted = (strengths * channels.sum(1)).T  # each part's own sum over the channels
    order = np.argsort(-planted.sum(1))
    likeness = np.corrcoef(planes, planted[order])[:3, 3:]
    assert linear_sum_assignment(-likeness)[1].tolist() == [0, 1, 2]
    assert likeness.diagonal().min() > 0.99
    np.testing.assert_allclose(planes, planted[order], atol=0.05 * planted.max())
    shares = planted.sum(1)[order] / planted.sum()
    np.testing.assert_allclose(np.array(shares_in(reduction.names)) / 100, shares, atol=0.02)


@pytest.mark.parametrize('precision', PRECISIONS)
def test_concepts_are_parts_of_a_whole_the_strongest_first(precision):
    maps, _, _ = parts()
    reduction = reduce(NMF(3, iterations=2000), maps.to(precision), everywhere(maps))
    assert reduction.kind == 'concepts'
    assert reduction.channels == (None,) * 3
    assert [name.rpartition(',')[0] for name in reduction.names] == ['concept 1', 'concept 2', 'concept 3']
    assert (reduction.values >= 0).all()
    # Together the planes are the sum over the channels.
    np.testing.assert_allclose(reduction.values.sum(0), maps.sum(0), atol=0.03 * maps.sum(0).max())
    sums = reduction.values.sum((1, 2)).numpy()
    assert (np.diff(sums) < 0).all()
    assert abs(sum(shares_in(reduction.names)) - 100) <= 1
    np.testing.assert_allclose(shares_in(reduction.names), 100 * sums / sums.sum(), atol=0.51)


@pytest.mark.parametrize(('shape', 'k'), [((12, 9, 8), 4), ((30, 6, 6), 6), ((5, 12, 12), 3)])
def test_what_the_concepts_leave_over_is_no_more_than_scikit_learn_leaves(shape, k):
    maps = torch.from_numpy(np.random.default_rng(0).gamma(0.7, size=shape)).float()
    cells = maps.flatten(1).T.double().numpy()
    planes = reduce(NMF(k), maps, everywhere(maps)).values.flatten(1).T.double().numpy()
    left = np.sqrt(sum(nnls(planes, column)[1] ** 2 for column in cells.T))
    errors = []
    for seed in range(3):
        model = decomposition.NMF(k, init='random', solver='mu', max_iter=500, random_state=seed)
        strengths = model.fit_transform(cells)
        errors.append(np.linalg.norm(cells - strengths @ model.components_))
    assert left <= 1.02 * np.mean(errors)


def test_concepts_do_not_depend_on_chance_nor_disturb_it():
    maps, _, _ = parts()
    found = []
    for seed in (1, 2):
        np.random.seed(seed)
        torch.manual_seed(seed)
        state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
        found.append(reduce(NMF(4), maps, everywhere(maps)))
        assert (np.random.get_state()[1] == state).all()
        assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.equal(found[0].values, found[1].values)
    assert found[0].names == found[1].names


def test_negative_features_count_as_zero():
    maps, _, _ = parts()
    mixed = maps - maps.mean()
    expected = reduce(NMF(3), mixed.clamp_min(0), everywhere(maps))
    found = reduce(NMF(3), mixed, everywhere(maps))
    assert torch.equal(found.values, expected.values)
    assert found.names == expected.names


@pytest.mark.parametrize('reducer', [NMF(3), KMeans(3), KMeans(3, normalize=False)])
def test_padding_and_cells_that_are_not_finite_take_no_part(reducer):
    maps, _, _ = parts()
    inner = reduce(reducer, maps[:, 2:8], torch.ones(6, 12))
    weights = torch.zeros(10, 12)
    weights[2:8] = 1
    spoilt = maps.clone()
    spoilt[:, :2], spoilt[:, 8:] = 1e4, NAN
    outer = reduce(reducer, spoilt, weights)
    assert torch.equal(outer.values[:, 2:8], inner.values)
    assert outer.names == inner.names
    assert torch.equal(outer.values[:, :2], inner.values[:, :1].expand(-1, 2, -1))  # as their neighbours on the image
    assert torch.equal(outer.values[:, 8:], inner.values[:, -1:].expand(-1, 2, -1))
    # A cell with one bad channel is left out like padding.
    for bad in (NAN, INF, -INF):
        spoilt = maps.clone()
        spoilt[3, 4, 5] = bad
        weights = torch.ones(10, 12)
        found = reduce(reducer, spoilt, weights).values
        weights[4, 5] = 0
        np.testing.assert_array_equal(found, reduce(reducer, maps, weights).values)
        assert np.argwhere(found[0].isnan().numpy()).tolist() == [[4, 5]]


@pytest.mark.parametrize('value', [0.0, -2.0])
def test_without_a_positive_feature_there_are_no_concepts(value):
    maps = torch.full((6, 4, 4), value)
    reduction = reduce(NMF(3), maps, everywhere(maps))
    assert (reduction.values == 0).all()
    assert shares_in(reduction.names) == [0, 0, 0]


@pytest.mark.parametrize(
    ('shape', 'count'), [((1, 1, 1), 1), ((9, 1, 1), 1), ((1, 4, 4), 1), ((200, 1, 3), 3), ((2, 5, 5), 2)]
)
def test_there_are_no_more_concepts_than_cells_or_channels(shape, count):
    maps = torch.from_numpy(np.random.default_rng(0).random(shape) + 0.5).float()
    reduction = reduce(NMF(4), maps, everywhere(maps))
    assert len(reduction.values) == len(reduction.names) == count
    assert abs(sum(shares_in(reduction.names)) - 100) <= 2
    np.testing.assert_allclose(reduction.values.sum(0), maps.sum(0), rtol=0.05)


@pytest.mark.parametrize('value', [0.5, 3.0])
def test_a_constant_map_is_one_concept(value):
    maps = torch.full((6, 4, 4), value)
    reduction = reduce(NMF(3), maps, everywhere(maps))
    assert np.ptp(reduction.values.numpy(), axis=(1, 2)).max() < 1e-3
    np.testing.assert_allclose(reduction.values.sum(0), 6 * value, rtol=1e-2)


# --- kmeans

DIRECTIONS = np.random.default_rng(7).normal(size=(4, 12))
SIZES = (60, 40, 30, 14)


def segments(seed: int = 0, spread: float = 0.05, lengths: bool = True) -> tuple[torch.Tensor, np.ndarray]:
    """144 cells in four kinds of features, whose strength differs from cell to cell, and the kinds."""
    generator = np.random.default_rng(seed)
    kinds = generator.permutation(np.repeat(np.arange(4), SIZES))
    cells = DIRECTIONS[generator.permutation(4)][kinds] + spread * generator.normal(size=(144, 12))
    if lengths:
        cells = cells * generator.uniform(0.2, 5, size=(144, 1))
    return as_maps(cells, 12), kinds.reshape(12, 12)


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('seed', range(3))
def test_planted_segments_are_found_the_largest_first(seed, precision):
    maps, kinds = segments(seed)
    reduction = reduce(KMeans(4), maps.to(precision), everywhere(maps))
    assert reduction.kind == 'segments'
    assert reduction.channels == (None,)
    assert reduction.names == ('4 segments',)
    np.testing.assert_array_equal(reduction.values[0], kinds)  # which are numbered by size too


def test_strength_counts_where_it_is_not_scaled_away():
    maps, _ = segments(spread=0.0, lengths=False)
    kinds = np.zeros((12, 12), int)
    kinds[:5] = 1
    maps = torch.where(torch.from_numpy(kinds).bool(), maps[:, :1, :1] * 5, maps[:, :1, :1])
    plain = reduce(KMeans(2, normalize=False), maps, everywhere(maps))
    np.testing.assert_array_equal(plain.values[0], kinds)
    scaled = reduce(KMeans(2), maps, everywhere(maps))
    assert scaled.names == ('1 segment',)
    assert (scaled.values == 0).all()
    by_config = reduce(build_reducer({'type': 'kmeans', 'k': 2, 'normalize': False}), maps, everywhere(maps))
    assert torch.equal(by_config.values, plain.values)


@pytest.mark.parametrize('k', [5, 8, 30])
@pytest.mark.parametrize('lengths', [False, True])
def test_there_are_no_more_segments_than_kinds_of_cells(k, lengths):
    """Cells that differ by rounding only are one kind: the fifth segment of four kinds would be noise."""
    maps, kinds = segments(spread=0.0, lengths=lengths)
    reduction = reduce(KMeans(k), maps, everywhere(maps))
    np.testing.assert_array_equal(reduction.values[0], kinds)
    assert reduction.names == ('4 segments',)


@pytest.mark.parametrize('value', [0.0, -1.5, 0.1])
@pytest.mark.parametrize('normalize', [False, True])
def test_a_constant_map_is_one_segment(value, normalize):
    maps = torch.full((16, 6, 6), value)
    reduction = reduce(KMeans(5, normalize), maps, everywhere(maps))
    assert (reduction.values == 0).all()
    assert reduction.names == ('1 segment',)


@pytest.mark.parametrize(('shape', 'count'), [((1, 1, 1), 1), ((9, 1, 1), 1), ((1, 5, 5), 2), ((9, 1, 3), 3)])
def test_segments_of_few_cells_or_channels(shape, count):
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=shape)).float()
    reduction = reduce(KMeans(5), maps, everywhere(maps))
    assert sorted(reduction.values.unique().tolist()) == list(range(count))  # of one channel, scaled: the signs


def test_segments_do_not_depend_on_chance_nor_disturb_it():
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 14, 14))).float()
    found = []
    for seed in (1, 2):
        np.random.seed(seed)
        state = np.random.get_state()[1].copy()
        found.append(reduce(KMeans(5), maps, everywhere(maps)).values)
        assert (np.random.get_state()[1] == state).all()
    assert torch.equal(found[0], found[1])
    sizes = np.bincount(found[0].int().flatten())
    assert len(sizes) == 5
    assert (np.diff(sizes) <= 0).all()


def test_segments_stay_where_the_cells_go():
    maps, kinds = segments(spread=0.3)
    order = np.random.default_rng(3).permutation(144)
    shuffled = reduce(KMeans(4), maps.flatten(1)[:, order].reshape(maps.shape), everywhere(maps)).values
    assert adjusted_rand_score(shuffled.flatten(), kinds.flatten()[order]) > 0.95


# --- both


@pytest.mark.parametrize(('name', 'count'), [('nmf', 3), ('kmeans', 3)])
def test_the_option_components_is_k(name, count):
    maps = torch.from_numpy(np.random.default_rng(0).random((8, 6, 6))).float()
    reduction = reduce(build_reducer(name, components=count), maps, everywhere(maps))
    made = len(reduction.values) if name == 'nmf' else len(reduction.values.unique())
    assert made == count


@pytest.mark.parametrize('name', ['nmf', 'kmeans'])
def test_groups_that_cannot_be(name):
    with pytest.raises(OptionError, match='k must be at least 1, got 0'):
        build_reducer({'type': name, 'k': 0})


@pytest.mark.parametrize('name', ['nmf', 'kmeans'])
def test_without_a_finite_cell_there_is_nothing_to_group(name):
    maps = torch.full((4, 3, 5), NAN)
    with pytest.raises(DrawError, match=r'no cell of a map of \(4, 3, 5\) is finite on the image'):
        reduce(build_reducer(name), maps, everywhere(maps))
    with pytest.raises(DrawError, match='nothing to group'):
        reduce(build_reducer(name), torch.ones(4, 3, 5), torch.zeros(3, 5))


@pytest.mark.parametrize(('name', 'module'), [('nmf', 'sklearn.decomposition'), ('kmeans', 'sklearn.cluster')])
def test_without_scikit_learn_it_is_told_how_to_install_it(name, module, monkeypatch):
    reducer = build_reducer(name)  # building takes no scikit-learn
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=f'the reducer {name} needs scikit-learn: pip install scikit-learn'):
        reduce(reducer, torch.ones(4, 3, 5), torch.ones(3, 5))
