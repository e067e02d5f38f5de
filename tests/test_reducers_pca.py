"""Leading components, ``pca`` and ``eigen`` against NumPy and scikit-learn."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
from sklearn import decomposition

from featmap.errors import DrawError, OptionError, SourceError
from featmap.geometry import ImageGeometry
from featmap.reducers import PCA, Eigen, build_reducer, reduce
from featmap.reducers.components import content_columns, fix_signs, leading_components
from featmap.structures import FeatureMap
from featmap.visualizer import FeatMapVisualizer

NAN, INF = float('nan'), float('inf')
PRECISIONS = [torch.float32, torch.float16, torch.bfloat16]


def everywhere(maps: torch.Tensor) -> torch.Tensor:
    return torch.ones(maps.shape[1:])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def features(channels: int, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Maps of which a few directions hold most of the variance, with a mean of their own."""
    generator = np.random.default_rng(seed)
    parts = generator.normal(size=(channels, channels)) * 0.6 ** np.arange(channels)
    cells = generator.normal(size=(rows * columns, channels)) @ parts.T + generator.normal(size=channels)
    return torch.from_numpy(cells.T.reshape(channels, rows, columns)).float()


def cells_of(maps: torch.Tensor, weights: torch.Tensor | None = None) -> np.ndarray:
    """(n, C) float64: the cells that count."""
    values = maps.double().numpy()
    keep = np.isfinite(values).all(0) & (True if weights is None else weights.numpy() > 0)
    return values[:, keep].T


def by_the_rule(directions: np.ndarray) -> np.ndarray:
    """Rows, each with its entry of largest magnitude positive."""
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    return directions * np.sign(largest)[:, None]


def projected(reference: decomposition.PCA, maps: torch.Tensor) -> np.ndarray:
    """(K, h, w): all cells on the reference's components, signs by the rule."""
    values = maps.double().numpy()
    centred = values.reshape(len(values), -1) - reference.mean_[:, None]
    return (by_the_rule(reference.components_) @ centred).reshape(-1, *values.shape[1:])


def shares_in(names: tuple[str, ...]) -> list[int]:
    return [int(re.search(r'(\d+)%', name)[1]) for name in names]


# --- leading components


def spectrum(rows: int, columns: int, values: np.ndarray, seed: int = 0) -> np.ndarray:
    """A matrix with these singular values."""
    generator = np.random.default_rng(seed)
    left = np.linalg.qr(generator.normal(size=(rows, len(values))))[0]
    right = np.linalg.qr(generator.normal(size=(columns, len(values))))[0]
    return (left * values) @ right.T


MATRICES = {
    'noise': np.random.default_rng(0).normal(size=(150, 300)),
    'noise, n < C': np.random.default_rng(1).normal(size=(300, 120)),
    'noise, square': np.random.default_rng(2).normal(size=(128, 128)),
    'uncentred noise': np.random.default_rng(3).random((200, 400)) + 5,
    'decaying': spectrum(256, 400, 0.8 ** np.arange(60.0)),
    'slowly decaying': spectrum(256, 400, 1 / np.sqrt(1 + np.arange(256.0))),
    'equal leading values': spectrum(200, 300, np.array([3.0] * 4 + [1.0] * 50)),
    'low rank': spectrum(200, 500, np.array([9.0, 4.0, 1.0])),
    'rank one': spectrum(120, 130, np.array([2.0])),
    'zero': np.zeros((150, 200)),
    'tiny': spectrum(200, 300, 0.5 ** np.arange(20.0)) * 1e-6,
    'huge': spectrum(200, 300, 0.5 ** np.arange(20.0)) * 1e6,
    'C < n, exact': np.random.default_rng(4).normal(size=(12, 500)),
    'n < C, exact': np.random.default_rng(5).normal(size=(500, 12)),
    'low rank, exact': spectrum(20, 300, np.array([3.0, 1.0])),
    'low rank and n < C, exact': spectrum(300, 20, np.array([3.0, 1.0])),
    'zero, exact': np.zeros((5, 7)),
    'one column': np.random.default_rng(6).normal(size=(30, 1)),
    'one row': np.random.default_rng(7).normal(size=(1, 30)),
    'one number': np.array([[-2.0]]),
}


@pytest.mark.parametrize('count', [1, 3, 10, 40])
@pytest.mark.parametrize('matrix', MATRICES.values(), ids=MATRICES)
def test_leading_components_against_the_svd(matrix, count):
    directions, squares = leading_components(torch.from_numpy(matrix).float(), count)
    kept = min(count, *matrix.shape)
    assert directions.shape == (len(matrix), kept)
    assert squares.shape == (kept,)
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    first = singular[0] ** 2
    np.testing.assert_allclose(squares, singular[:kept] ** 2, atol=2e-4 * first)
    assert (np.diff(squares) <= 1e-6 * first).all()
    directions = directions.double().numpy()
    np.testing.assert_allclose(directions.T @ directions, np.eye(kept), atol=1e-5)
    # What a direction holds is its own value, whatever the neighbours' are.
    np.testing.assert_allclose((directions.T @ matrix @ matrix.T @ directions), np.diag(singular[:kept] ** 2),
                               atol=1e-3 * first + 1e-30)  # fmt: skip
    for index in range(min(kept, 3)):
        following = singular[index + 1] if index + 1 < len(singular) else 0
        before = singular[index - 1] if index else np.inf
        if (
            singular[index] > 1.2 * following
            and before > 1.2 * singular[index]
            and singular[index] > 0.05 * singular[0]
        ):
            assert abs(left[:, index] @ directions[:, index]) == pytest.approx(1, abs=1e-4)


def test_no_component_of_no_cell_or_no_channel():
    for shape in ((5, 0), (0, 5), (0, 0)):
        directions, squares = leading_components(torch.zeros(shape), 3)
        assert directions.shape == (shape[0], 0)
        assert squares.shape == (0,)


@pytest.mark.parametrize('matrix', ['noise', 'n < C, exact', 'slowly decaying', 'zero'])
def test_components_do_not_depend_on_chance_nor_disturb_it(matrix):
    matrix = torch.from_numpy(MATRICES[matrix]).float()
    found = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(leading_components(matrix, 4))
        assert torch.equal(torch.get_rng_state(), state)
    for directions, squares in found[1:]:
        assert torch.equal(directions, found[0][0])
        assert torch.equal(squares, found[0][1])


@pytest.mark.parametrize(
    ('column', 'fixed'),
    [
        ([1, -2, 0.5], [-1, 2, -0.5]),
        ([1, 2, -0.5], [1, 2, -0.5]),
        ([-3, 3, 1], [3, -3, -1]),  # the first of equal ones
        ([3, -3, 1], [3, -3, 1]),
        ([0, 0, 0], [0, 0, 0]),
        ([-1], [1]),
    ],
)
def test_the_largest_entry_is_positive(column, fixed):
    columns = torch.tensor([column, [-x for x in column]], dtype=torch.float32).T
    both = fix_signs(columns)
    assert both[:, 0].tolist() == fixed
    if abs(min(column)) != max(column):
        assert both[:, 1].tolist() == fixed


def test_signs_of_nothing():
    assert fix_signs(torch.zeros(4, 0)).shape == (4, 0)


def test_the_cells_that_count():
    maps = torch.arange(12.0).reshape(2, 2, 3)
    maps[0, 0, 1], maps[1, 1, 2] = NAN, -INF
    weights = torch.tensor([[1.0, 1, 1], [0, 1, 1]])
    assert content_columns(maps, weights).tolist() == [[0, 2, 4], [6, 8, 10]]
    assert content_columns(maps.half(), weights).dtype == torch.float32
    finite = noise(3, 4, 5)
    assert torch.equal(content_columns(finite, torch.ones(4, 5)), finite.flatten(1))


# --- pca on one map

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


# --- one basis for a run


def run_of_maps() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Two images, with two layers of 12 channels and one of 5 each, and with padding."""
    shown = []
    for image in range(2):
        for layer, (channels, rows, columns) in enumerate([(12, 6, 7), (12, 3, 4), (5, 6, 7)]):
            weights = torch.zeros(rows, columns)
            weights[: rows - image - 1] = 1
            maps = features(channels, rows, columns, seed=10 * image + layer) * (1 + image)
            maps[:, rows - image - 1 :] = 1e5
            shown.append((maps, weights))
    return shown


def fitted_on(shown, k: int = 3) -> PCA:
    reducer = PCA(k)
    for maps, weights in shown:
        reducer.observe(maps, weights)
    reducer.fit()
    return reducer


@pytest.mark.parametrize('k', [2, 3])
def test_the_basis_is_that_of_all_cells_of_all_images_and_of_layers_of_as_many_channels(k):
    shown = run_of_maps()
    reducer = fitted_on(shown, k)
    assert sorted(reducer.bases) == [5, 12]
    for channels, basis in reducer.bases.items():
        cells = np.concatenate([cells_of(maps, weights) for maps, weights in shown if len(maps) == channels])
        reference = decomposition.PCA(k, svd_solver='full').fit(cells)
        np.testing.assert_allclose(basis.mean, reference.mean_, atol=1e-5)
        np.testing.assert_allclose(basis.directions.T, by_the_rule(reference.components_), atol=1e-4)
        np.testing.assert_allclose(basis.variances, reference.transform(cells).var(0), rtol=1e-4)
        assert basis.total == pytest.approx(cells.var(0).sum(), rel=1e-5)
        for maps, weights in shown:
            if len(maps) == channels:
                reduction = reduce(reducer, maps, weights)
                keep = weights.numpy() > 0
                np.testing.assert_allclose(
                    reduction.values.numpy()[:, keep], projected(reference, maps)[:, keep], atol=2e-3
                )
                np.testing.assert_allclose(
                    reduction.ranges, np.outer(2.5 * reference.transform(cells).std(0), [-1, 1]), rtol=1e-3
                )


def test_equal_features_have_equal_values_in_every_image():
    """A basis of its own for each image would colour the same thing differently from image to image."""
    shown = run_of_maps()[::3]
    shown[1][0][:, 1, 2] = shown[0][0][:, 2, 3]
    one, other = [reduce(fitted_on(shown), maps, weights) for maps, weights in shown]
    np.testing.assert_allclose(one.values[:, 2, 3], other.values[:, 1, 2], atol=1e-5)
    assert one.ranges == other.ranges
    alone = [reduce(PCA(), maps, weights) for maps, weights in shown]
    assert (alone[0].values[:, 2, 3] - alone[1].values[:, 1, 2]).abs().max() > 0.1


def test_the_basis_does_not_depend_on_the_order_of_the_images():
    shown = run_of_maps()
    first = fitted_on(shown)
    for order in ([5, 4, 3, 2, 1, 0], [3, 0, 4, 1, 5, 2]):
        other = fitted_on([shown[index] for index in order])
        for channels, basis in first.bases.items():
            np.testing.assert_allclose(other.bases[channels].directions, basis.directions, atol=1e-5)
            np.testing.assert_allclose(other.bases[channels].variances, basis.variances, rtol=1e-5)
            np.testing.assert_allclose(other.bases[channels].mean, basis.mean, atol=1e-5)


def test_pca_is_the_same_to_the_bit_from_run_to_run():
    shown = run_of_maps()
    maps, weights = shown[0]
    torch.manual_seed(1)
    first = [reduce(reducer, maps, weights) for reducer in (fitted_on(shown), PCA())]
    torch.manual_seed(2)
    second = [reduce(reducer, maps, weights) for reducer in (fitted_on(shown), PCA())]
    for one, other in zip(first, second):
        assert torch.equal(one.values, other.values)
        assert (one.ranges, one.names) == (other.ranges, other.names)


@pytest.mark.parametrize('shape', [(9, 8, 8), (120, 14, 14)])
def test_negated_or_scaled_features_keep_the_rule_of_signs(shape):
    maps = features(*shape)
    plain = reduce(PCA(2), maps, everywhere(maps)).values
    np.testing.assert_allclose(reduce(PCA(2), maps * 4, everywhere(maps)).values, plain * 4, atol=1e-2)
    np.testing.assert_allclose(reduce(PCA(2), -maps, everywhere(maps)).values, -plain, atol=1e-2)


def test_what_was_observed_is_forgotten_and_a_second_fit_stands_alone():
    shown = run_of_maps()
    reducer = fitted_on(shown[:3])
    for maps, weights in shown[3:]:
        reducer.observe(maps, weights)
    reducer.fit()
    np.testing.assert_allclose(reducer.bases[12].directions, fitted_on(shown[3:]).bases[12].directions, atol=1e-6)


def test_images_without_a_finite_cell_leave_the_basis_as_it_is():
    shown = run_of_maps()
    empty = (torch.full((12, 4, 4), NAN), torch.ones(4, 4))
    with_it = fitted_on([empty, *shown, empty])
    np.testing.assert_allclose(with_it.bases[12].directions, fitted_on(shown).bases[12].directions, atol=1e-6)
    alone = fitted_on([empty])
    assert torch.isfinite(alone.bases[12].directions).all()
    assert reduce(alone, *shown[0]).values.isfinite().all()


def test_a_map_of_other_channels_than_were_observed_has_its_own_basis():
    maps = features(7, 5, 5)
    expected = reduce(PCA(), maps, everywhere(maps))
    found = reduce(fitted_on(run_of_maps()), maps, everywhere(maps))
    assert torch.equal(found.values, expected.values)


# --- a basis in a file


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / 'basis.npz'
    path.write_bytes(fitted_on(run_of_maps(), k=4).dump())
    return path


@pytest.mark.parametrize('as_config', [False, True])
def test_a_saved_basis_gives_the_same_planes(saved, as_config):
    before = fitted_on(run_of_maps(), k=4)
    if as_config:
        loaded = build_reducer({'type': 'pca', 'k': 4, 'basis': str(saved)})
    else:
        loaded = build_reducer('pca', components=4, basis=str(saved))
    assert not loaded.needs_fit
    for maps, weights in run_of_maps():
        one, other = reduce(before, maps, weights), reduce(loaded, maps, weights)
        assert torch.equal(one.values, other.values)
        assert (one.ranges, one.names, one.kind) == (other.ranges, other.names, other.kind)
    one, other = arrays_in(loaded.dump()), arrays_in(before.dump())
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


@pytest.mark.parametrize('k', [1, 2, 3])
def test_of_a_basis_with_more_components_the_first_are_taken(saved, k):
    maps, weights = run_of_maps()[0]
    whole = reduce(fitted_on(run_of_maps(), k=4), maps, weights)
    some = reduce(PCA(k, as_rgb=False, basis=str(saved)), maps, weights)
    keep = weights > 0
    np.testing.assert_allclose(some.values[:, keep], whole.values[:k, keep], atol=1e-5)
    assert (some.names, some.ranges) == (whole.names[:k], whole.ranges[:k])
    assert reduce(PCA(basis=str(saved)), maps, weights).values.shape[0] == 3


def test_a_basis_is_for_its_number_of_channels(saved):
    maps = features(9, 4, 4)
    with pytest.raises(OptionError, match='the basis is for maps of 5, 12 channels, got one of 9'):
        reduce(PCA(basis=str(saved)), maps, everywhere(maps))


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def arrays_in(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content)) as data:
        return dict(data)


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


BASIS = {'mean_2': np.zeros(2), 'directions_2': np.eye(2), 'variances_2': np.ones(2), 'total_2': np.array(2.0)}
NO_BASIS = {
    'empty': b'',
    'text': b'{"mean": 3}',
    'one array': npy(),
    'no arrays': npz(),
    'other arrays': npz(neck_0=np.zeros(3)),
    'half a basis': npz(**{name: value for name, value in BASIS.items() if not name.startswith('var')}),
    'a mean of nothing': npz(mean_x=np.zeros(2)),
    'objects': npz(mean_2=np.array([{}], dtype=object)),
    'cut': fitted_on(run_of_maps()).dump()[:400],
    'damaged': b'PK' + fitted_on(run_of_maps()).dump()[2:90] + b'\xff' * 60 + fitted_on(run_of_maps()).dump()[150:],
}


@pytest.mark.parametrize('content', NO_BASIS.values(), ids=NO_BASIS)
def test_a_file_that_holds_no_basis(tmp_path, content):
    path = tmp_path / 'other.npz'
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"other\.npz' holds no basis.*--save-basis") as caught:
        build_reducer('pca', basis=str(path))
    assert '\n' not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / 'none.npz', tmp_path):
        with pytest.raises(SourceError, match='holds no basis'):
            PCA(basis=str(path))


# --- in a row with others


def test_pca_after_topk_is_fitted_on_what_topk_leaves():
    chain = build_reducer([{'type': 'topk', 'k': 5}, 'pca'])
    assert chain.needs_fit
    shown = run_of_maps()[::3]
    kept = []
    for maps, weights in shown:
        chain.observe(maps, weights)
        sums = (maps.double() * weights).sum((1, 2)).numpy()
        kept.append(maps[np.argsort(-sums)[:5].tolist()])
    chain.fit()
    cells = np.concatenate([cells_of(maps, weights) for maps, (_, weights) in zip(kept, shown)])
    reference = decomposition.PCA(3, svd_solver='full').fit(cells)
    for maps, (whole, weights) in zip(kept, shown):
        reduction = reduce(chain, whole, weights)
        assert reduction.kind == 'image'
        keep = weights.numpy() > 0
        np.testing.assert_allclose(reduction.values.numpy()[:, keep], projected(reference, maps)[:, keep], atol=2e-3)


def test_pca_before_others_is_fitted_on_the_features():
    chain = build_reducer(['pca', 'l2'])
    shown = run_of_maps()[::3]
    for maps, weights in shown:
        chain.observe(maps, weights)
    chain.fit()
    reference = decomposition.PCA(3, svd_solver='full').fit(np.concatenate([cells_of(*each) for each in shown]))
    maps, weights = shown[1]
    keep = weights.numpy() > 0
    expected = np.sqrt((projected(reference, maps) ** 2).sum(0))
    reduction = reduce(chain, maps, weights)
    assert (reduction.kind, reduction.ranges) == ('heat', ())
    np.testing.assert_allclose(reduction.values.numpy()[0, keep], expected[keep], atol=5e-3)


@pytest.mark.parametrize(
    ('steps', 'needs_fit'),
    [(['topk', 'l2'], False), (['topk', 'pca'], True), (['pca', 'l2'], True), ([['topk', 'pca'], 'l2'], True)],
)
def test_a_row_needs_a_fit_where_a_step_does(steps, needs_fit, saved):
    assert build_reducer(steps).needs_fit is needs_fit
    with_basis = [{'type': 'pca', 'basis': str(saved)} if step == 'pca' else step for step in steps[:2]]
    assert build_reducer([step for step in with_basis if not isinstance(step, list)]).needs_fit is False


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
