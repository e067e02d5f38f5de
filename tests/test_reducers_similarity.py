"""The reducer ``similarity``, and how any reducer is told of the queried cell."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featmap.errors import DrawError, OptionError
from featmap.geometry import Spot
from featmap.reducers import Chain, Reducer, Similarity, SqueezeMean, build_reducer, reduce

NAN, INF = float('nan'), float('inf')
SPOT = Spot((4.0, 4.0), 0, 0)
# Cells: (3, 4), (4, 3), (-3, -4), (4, -3), (0, 0), (300, 400); lengths 5, 5, 5, 5, 0, 500.
MAP = torch.tensor([[[3.0, 4, -3], [4, 0, 300]], [[4, 3, -4], [-3, 0, 400]]])
ANSWER = torch.tensor([[1.0, 0.96, -1], [0, 0, 1]])


def similarity(features: torch.Tensor, spot: Spot = SPOT, **options) -> torch.Tensor:
    return reduce(Similarity(**options), features, torch.ones(features.shape[1:]), None, spot).values[0]


def test_cosines_by_hand():
    torch.testing.assert_close(similarity(MAP), ANSWER)
    torch.testing.assert_close(similarity(MAP, Spot((0.0, 0.0), 1, 0)), torch.tensor([[0, 7 / 25, 0], [1, 0, 0]]))


def test_against_pytorch_on_random_maps():
    features = torch.randn(37, 6, 9, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.cosine_similarity(features, features[:, 4, 7, None, None], dim=0)
    torch.testing.assert_close(similarity(features, Spot((0, 0), 4, 7)), expected, atol=1e-6, rtol=1e-5)
    last = features.contiguous(memory_format=torch.contiguous_format).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    torch.testing.assert_close(similarity(last, Spot((0, 0), 4, 7)), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_reckoned_in_float32(dtype):
    features = (MAP * 100).to(dtype)  # squares beyond 65504, which float16 ends at
    found = similarity(features)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, similarity(features.float()), atol=0, rtol=0)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize('factor', [1e-30, 1e30])
def test_neither_huge_nor_tiny_features_lose_their_direction(factor):
    torch.testing.assert_close(similarity(MAP * factor), ANSWER)


def test_nothing_is_beyond_one_and_the_features_stay():
    features = torch.full((384, 3, 3), 0.1)
    before = features.clone()
    assert similarity(features).amax() <= 1
    assert torch.equal(features, before)


@pytest.mark.parametrize('bad', [NAN, INF, -INF])
def test_a_cell_that_is_not_finite_stays_so_and_the_others_do_not_mind(bad):
    features = MAP.clone()
    features[1, 0, 1] = bad
    found = similarity(features)
    assert torch.isnan(found).tolist() == [[False, True, False], [False, False, False]]
    torch.testing.assert_close(found[1], ANSWER[1])


@pytest.mark.parametrize(
    ('row', 'column', 'value', 'found'), [(1, 1, 0, 'only zeros'), (0, 0, NAN, 'non-finite values')]
)
def test_a_queried_cell_without_a_direction_is_refused(row, column, value, found):
    features = MAP.clone()
    features[0, row, column] = value
    with pytest.raises(DrawError) as caught:
        similarity(features, Spot((312.0, 200.0), row, column))
    assert str(caught.value) == (
        f'the queried pixel 312,200 lies in cell {column},{row}, which holds {found}: ask for another'
    )


def test_its_label_and_its_scale():
    reduction = reduce(Similarity(), MAP, torch.ones(2, 3), None, Spot((312.0, 200.0), 0, 0))
    assert reduction.names == ('similarity to 312,200 (cell 0,0)',)
    assert (reduction.ranges, reduction.channels, reduction.kind) == (((0, 1),), (None,), 'heat')
    assert reduce(Similarity(stated=False), MAP, torch.ones(2, 3), None, SPOT).ranges == ()


def test_without_a_query_it_says_what_is_missing():
    with pytest.raises(OptionError, match='similarity is to a pixel of the image: query X,Y says which'):
        reduce(build_reducer('similarity'), MAP, torch.ones(2, 3))


class Under(Reducer):
    """The features of the queried cell, everywhere."""

    takes_spot = True

    def __call__(self, features, weights, spot=None):
        return features[:, spot.row, spot.column].mean() + torch.zeros_like(weights)


def test_a_reducer_of_ones_own_is_told_too():
    assert reduce(Under(), MAP, torch.ones(2, 3), None, Spot((0, 0), 1, 2)).values.tolist() == [[[350.0] * 3] * 2]
    assert reduce(SqueezeMean(), MAP, torch.ones(2, 3), None, SPOT).values[0, 0].tolist() == [3.5, 3.5, -3.5]


def test_a_chain_hands_the_spot_to_the_steps_that_take_it():
    chain = Chain([build_reducer('channels', channels=[1]), Similarity()])
    assert chain.takes_spot
    assert not Chain([SqueezeMean()]).takes_spot
    # Of one channel nothing is left but the sign.
    reduction = reduce(chain, MAP, torch.ones(2, 3), None, SPOT)
    assert reduction.values.tolist() == [[[1, 1, -1], [-1, 0, 1]]]
