"""A basis of ``pca`` in a file, with which there is nothing to fit."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from featmap.errors import OptionError, SourceError
from featmap.reducers import PCA, build_reducer, reduce
from tests.pca_helpers import everywhere, features, fitted_on, run_of_maps


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
        assert (one.ranges, one.kind) == (other.ranges, other.kind)
        # What share it explains of these maps the basis does not know.
        assert other.names == tuple(f'component {number} by basis.npz' for number in (1, 2, 3, 4))
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
    assert some.ranges == whole.ranges[:k]
    picture = reduce(PCA(basis=str(saved)), maps, weights)
    assert (picture.values.shape[0], picture.names) == (3, ('pca by basis.npz',))


def test_a_basis_with_fewer_components_says_how_many_it_has(saved):
    # Maps of 5 and of 12 channels were fitted: neither is short of channels.
    with pytest.raises(OptionError, match=r'basis\.npz holds 4 components, fewer than 5; ask for 4'):
        build_reducer('pca', components=5, basis=str(saved))


def test_a_basis_holds_no_more_components_than_there_are_channels(tmp_path):
    path = tmp_path / 'basis.npz'
    two = features(2, 4, 4)
    path.write_bytes(fitted_on([(two, everywhere(two))], k=5).dump())
    assert reduce(PCA(5, basis=str(path)), two, everywhere(two)).values.shape[0] == 2


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
    'a mean of another length': npz(**{**BASIS, 'mean_2': np.zeros(3)}),
    'a mean in a frame': npz(**{**BASIS, 'mean_2': np.zeros((2, 1))}),
    'directions of others': npz(**{**BASIS, 'directions_2': np.eye(3)}),
    'directions without end': npz(**{**BASIS, 'directions_2': np.array(1.0)}),
    'no directions': npz(**{**BASIS, 'directions_2': np.zeros((2, 0)), 'variances_2': np.zeros(0)}),
    'more than channels': npz(**{**BASIS, 'directions_2': np.zeros((2, 3)), 'variances_2': np.zeros(3)}),
    'no number': npz(**{**BASIS, 'mean_2': np.full(2, np.nan)}),
    'whole numbers': npz(**{**BASIS, 'mean_2': np.zeros(2, int)}),
    'negative variances': npz(**{**BASIS, 'variances_2': -np.ones(2)}),
    'several totals': npz(**{**BASIS, 'total_2': np.ones(2)}),
    'of no channels': npz(**{name.replace('2', '0'): values for name, values in BASIS.items()}),
    'of channels below none': npz(**{name.replace('2', '-2'): values for name, values in BASIS.items()}),
    'of so many channels': npz(**{name.replace('2', '9' * 5000): values for name, values in BASIS.items()}),
    'objects': npz(mean_2=np.array([{}], dtype=object)),
    'cut': fitted_on(run_of_maps()).dump()[:400],
    'damaged': b'PK' + fitted_on(run_of_maps()).dump()[2:90] + b'\xff' * 60 + fitted_on(run_of_maps()).dump()[150:],
}


@pytest.mark.parametrize('content', NO_BASIS.values(), ids=NO_BASIS)
def test_a_file_that_holds_no_basis(tmp_path, content):
    path = tmp_path / 'other.npz'
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"other\.npz' holds no basis.*write one with save_basis") as caught:
        build_reducer('pca', basis=str(path))
    assert '\n' not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / 'none.npz', tmp_path):
        with pytest.raises(SourceError, match='holds no basis'):
            PCA(basis=str(path))


@pytest.mark.parametrize(
    ('steps', 'needs_fit'),
    [(['topk', 'l2'], False), (['topk', 'pca'], True), (['pca', 'l2'], True), ([['topk', 'pca'], 'l2'], True)],
)
def test_a_row_needs_a_fit_where_a_step_does(steps, needs_fit, saved):
    assert build_reducer(steps).needs_fit is needs_fit
    with_basis = [{'type': 'pca', 'basis': str(saved)} if step == 'pca' else step for step in steps[:2]]
    assert build_reducer([step for step in with_basis if not isinstance(step, list)]).needs_fit is False
