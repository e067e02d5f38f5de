"""Removed pixels and what they do to a target, by systems that are solved by hand."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.faithfulness import impute, road


def test_one_pixel_is_the_weighted_mean_of_its_neighbours() -> None:
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    removed = np.zeros((3, 3), bool)
    removed[1, 1] = True
    image[0, 1, 1] = 100
    expected = (1 + 3 + 5 + 7) / 6 + (0 + 2 + 6 + 8) / 12
    assert impute(image, removed, noise=0)[0, 1, 1] == pytest.approx(expected)


def test_at_a_corner_the_others_make_up_for_what_is_missing() -> None:
    image = np.array([[[9.0, 3.0], [6.0, 12.0]]])
    removed = np.array([[True, False], [False, False]])
    found = impute(image, removed, noise=0)
    assert found[0, 0, 0] == pytest.approx((3 / 6 + 6 / 6 + 12 / 12) / (1 / 6 + 1 / 6 + 1 / 12))
    assert found[0, 1].tolist() == [6, 12]


def test_two_unknowns_hold_each_other() -> None:
    # One row a b 3: 2/6 of weight at b, 1/6 at a. a = b, and b = (a + 3) / 2.
    found = impute(np.array([[[0.0, 0.0, 3.0]]]), np.array([[True, True, False]]), noise=0)
    assert found[0, 0].tolist() == pytest.approx([3, 3, 3])


def test_noise_is_that_of_its_seed_and_of_removed_pixels_alone() -> None:
    image, removed = np.ones((2, 20, 20), np.float32), np.zeros((20, 20), bool)
    removed[:, :10] = True
    first, second, other = (impute(image, removed, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    assert (first[:, :, 10:] == 1).all()
    assert 0.008 < (first - 1)[:, :, :10].std() < 0.012


def test_nothing_and_all_removed() -> None:
    image = np.ones((1, 2, 2), np.float32)
    np.testing.assert_array_equal(impute(image, np.zeros((2, 2), bool)), image)
    with pytest.raises(ValueError, match='nothing is left'):
        impute(image, np.ones((2, 2), bool))


def test_a_map_that_knows_beats_one_that_is_upside_down() -> None:
    # The value is the mean of the left half, which is bright on a dark image.
    image = np.zeros((1, 10, 10), np.float32)
    image[:, :, :5] = 1

    def value(forms: np.ndarray) -> np.ndarray:
        return forms[:, 0, :, :5].mean(axis=(1, 2))

    knows = image[0]
    right, wrong = road(knows, image, value, noise=0), road(1 - knows, image, value, noise=0)
    assert right > 0.1
    assert right == pytest.approx(-wrong, abs=0.05)
