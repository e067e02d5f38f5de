"""One basis of ``pca`` for all images of a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import decomposition

from featmap.reducers import PCA, build_reducer, reduce
from tests.pca_helpers import by_the_rule, cells_of, everywhere, features, fitted_on, projected, run_of_maps

NAN = float('nan')


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


# --- in a row with other reducers


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
