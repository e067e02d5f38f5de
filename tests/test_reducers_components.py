"""The leading components of a matrix, against its singular value decomposition by NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featmap.reducers.components import content_columns, fix_signs, leading_components

NAN, INF = float('nan'), float('inf')


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


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
