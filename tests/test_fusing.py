"""Heats of several layers as one map, by numbers that can be added up by hand."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.errors import OptionError
from featmap.fusing import fused, on_image
from featmap.geometry import Cells, ImageGeometry

A, B = np.array([[1.0, 0.5]], np.float32), np.array([[0.0, 1.0]], np.float32)


@pytest.mark.parametrize(
    ('how', 'expected'),
    [('mean', [0.5 / 0.75, 1.0]), ('max', [1.0, 1.0]), ('product', [0.0, 1.0])],
)
def test_fusions(how: str, expected: list[float]) -> None:
    found = fused([A, B], how)
    assert found.dtype == np.float32
    assert found[0].tolist() == pytest.approx(expected)


def test_a_product_is_the_root_of_it() -> None:
    found = fused([np.array([[1.0, 0.25]], np.float32), np.array([[1.0, 0.36]], np.float32)], 'product')
    assert found[0].tolist() == pytest.approx([1.0, 0.3])


def test_a_layer_without_heat_takes_no_part() -> None:
    nothing = np.zeros_like(A)
    assert fused([A, nothing], 'product').tolist() == A.tolist()
    assert fused([nothing, nothing], 'product').tolist() == nothing.tolist()


def test_unknown_fusion() -> None:
    with pytest.raises(OptionError, match='no fusion is called'):
        fused([A], 'sum')


def test_heat_lies_where_its_cells_are_and_its_maximum_is_one() -> None:
    # 8×8 pixels, in an input padded by 8 on the left: the padding's cell is the hottest, and is not seen.
    geometry = ImageGeometry((8, 8), (8, 16), offset=(8, 0))
    plane = on_image(np.array([[9.0, 0.0, 4.0]], np.float32)[:, [0, 1, 2]], Cells((8.0, 5.0)), geometry)
    assert plane.shape == (8, 8)
    assert plane.max() == 1.0
    assert plane[:, -1].min() == 1.0
    assert plane[:, 0].max() < 1.0
