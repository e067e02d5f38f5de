"""Ranges of values, and the levels that values have in them."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.rendering.normalize import Range, to_levels, value_range

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([], None),
        ([NAN], None),
        ([INF, -INF, NAN], None),
        ([0.5], Range(0.5, 0.5)),
        ([[1, 3], [2, -1]], Range(-1, 3)),
        ([NAN, 1, 2, NAN], Range(1, 2, bad=2)),
        ([INF, 1, 2], Range(1, 2, bad=1)),
        ([-INF, 7, 7], Range(7, 7, bad=1)),
    ],
)
def test_value_range(values, expected):
    assert value_range(np.array(values, np.float32)) == expected


@pytest.mark.parametrize(
    ('scale', 'label'),
    [
        (Range(0, 1), '0 … 1'),
        (Range(-1.23456, 98765), '-1.23 … 9.88e+04'),
        (Range(0, 1e-7), '0 … 1e-07'),
        (Range(0.5, 0.5), 'constant 0.5'),
        (Range(0, 2, bad=3), '0 … 2, 3 non-finite'),
        (Range(1, 1, bad=1), 'constant 1, 1 non-finite'),
        (Range(0.5, 0.5000001), '0.5 … 0.5000001'),
        (Range(1000, 1002), '1000 … 1002'),
        (Range(1000.12, 1000.57), '1000.12 … 1000.57'),
        (Range(15.99993, 15.99994), '15.99993 … 15.99994'),
        (Range(15.99993, 15.99994, noise=1e-4), 'constant 16 but for rounding'),
        (Range(16, 16, noise=1e-4), 'constant 16'),
        (Range(-1e-9, 2e-9, noise=1e-8), 'constant 0 but for rounding'),
        (Range(-2.5e-9, 2e-9, noise=1e-9), '-2.5e-09 … 2e-09'),
    ],
)
def test_a_range_is_told_so_that_its_ends_differ(scale, label):
    assert str(scale) == label
    assert scale.constant is label.startswith('constant')


@pytest.mark.parametrize(
    ('values', 'scale', 'levels'),
    [
        ([0, 0.5, 1], Range(0, 1), [0, 127, 255]),
        ([-1, 0, 1, 3], Range(-1, 3), [0, 63, 127, 255]),
        ([-9, 2, 9], Range(0, 1), [0, 255, 255]),
        ([0, 0.999, 1], Range(0, 255), [0, 0, 1]),
        ([7, 7], Range(7, 7), [0, 0]),
        ([6, 8], Range(7, 7), [0, 0]),
        ([0, 1e-7], Range(0, 1e-7), [0, 255]),
        ([0, 1e-7], Range(0, 1e-7, noise=2e-7), [0, 0]),
        ([0, 1e-7], Range(0, 1e-7, noise=2e-7, flat=128), [128, 128]),
    ],
)
def test_to_levels(values, scale, levels):
    found = to_levels(np.array(values, np.float32), scale)
    assert (found.dtype, found.tolist()) == (np.uint8, levels)


def test_levels_of_values_far_from_zero_are_not_coarser_than_the_values():
    values = np.linspace(100, 101, 256, dtype=np.float32)
    found = to_levels(values, Range(float(values[0]), float(values[-1])))
    assert np.abs(found.astype(int) - np.arange(256)).max() <= 1


def test_to_levels_leaves_the_values_alone():
    values = np.array([0.0, 1.0, 2.0], np.float32)
    to_levels(values, Range(0, 1))
    assert values.tolist() == [0, 1, 2]
