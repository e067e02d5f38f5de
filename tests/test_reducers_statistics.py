"""Reducers over the channels of a cell, rankings, channels by number, and several reducers in a row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featmap.errors import OptionError
from featmap.reducers import Chain, Channels, SelectMax, TopK, build_reducer, reduce
from featmap.structures import Reduction

NAN, INF = float('nan'), float('inf')

# NumPy's answer in float64 over the channels of (C, h, w).
REFERENCES = {
    'squeeze_mean': lambda maps: maps.mean(0),
    'sum': lambda maps: maps.sum(0),
    'pixel_max': lambda maps: maps.max(0),
    'mean_abs': lambda maps: np.abs(maps).mean(0),
    'l2': lambda maps: np.sqrt((maps**2).sum(0)),
    'std': lambda maps: maps.std(0),
}
PRECISIONS = [torch.float32, torch.float16, torch.bfloat16]


def everywhere(maps: torch.Tensor) -> torch.Tensor:
    return torch.ones(maps.shape[1:])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


MAPS = {
    'random': noise(40, 7, 9),
    'negative': -noise(12, 5, 4).abs() - 1,
    'far from zero': noise(16, 6, 6) + 100,
    'constant': torch.full((8, 4, 5), -1.7),
    'zero': torch.zeros(3, 4, 5),
    'one cell': noise(64, 1, 1),
    'one channel': noise(1, 6, 3),
    'one number': noise(1, 1, 1),
    'one row': noise(5, 1, 12),
}


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('maps', MAPS.values(), ids=MAPS)
@pytest.mark.parametrize('name', REFERENCES)
def test_against_numpy(name, maps, precision):
    maps = maps.to(precision)
    reduction = reduce(build_reducer(name), maps, everywhere(maps))
    expected = REFERENCES[name](maps.double().numpy())
    assert reduction.values.dtype == torch.float32
    assert reduction.channels == (None,)
    assert reduction.kind == 'heat'
    np.testing.assert_allclose(reduction.values.numpy(), expected[None], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(('value', 'expected'), [(0.1, 0.0), (-1e30, 0.0), (NAN, NAN), (INF, NAN)])
def test_channels_that_are_alike_have_no_spread(value, expected):
    maps = torch.full((999, 2, 2), value)
    spread = reduce(build_reducer('std'), maps, everywhere(maps)).values
    np.testing.assert_array_equal(spread, np.full((1, 2, 2), expected))


@pytest.mark.parametrize(
    ('mean', 'spread'), [(100, 1e-3), (1000, 1e-2), (10, 1e-5), (0, 1e20), (0, 1e-25), (1e30, 1e28)]
)
def test_a_spread_far_smaller_or_larger_than_the_mean(mean, spread):
    maps = noise(1024, 3, 4) * spread + mean
    found = reduce(build_reducer('std'), maps, everywhere(maps)).values
    np.testing.assert_allclose(found[0], maps.double().numpy().std(axis=0), rtol=2e-6)


@pytest.mark.parametrize('factor', [1e19, 1e36, 1e-19, 1e-30])
@pytest.mark.parametrize('weaker', [1.0, 1e-10])
def test_the_norm_of_very_large_and_very_small_channels(factor, weaker):
    # Squares of these are beyond float32; a cell of another size stands beside them.
    maps = noise(64, 3, 4) * factor
    maps[:, 0] *= weaker
    found = reduce(build_reducer('l2'), maps, everywhere(maps)).values
    np.testing.assert_allclose(found[0], np.sqrt((maps.double().numpy() ** 2).sum(axis=0)), rtol=2e-6)


@pytest.mark.parametrize('name', REFERENCES)
def test_half_precision_neither_overflows_nor_loses_count(name):
    # The sum, and each square, is beyond the largest half, 65504; and a bfloat16 stops counting ones at 256.
    large = torch.cat([torch.full((300, 1, 1), 3000.0), torch.full((300, 1, 1), -2000.0)]).half()
    many = torch.cat([torch.full((1, 1, 1), 256.0), torch.ones(1024, 1, 1)]).bfloat16()
    for maps in (large, many):
        value = reduce(build_reducer(name), maps, everywhere(maps)).values.item()
        assert value == pytest.approx(REFERENCES[name](maps.double().numpy()).item(), rel=1e-5)


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('bad', [NAN, INF, -INF])
@pytest.mark.parametrize('name', REFERENCES)
def test_a_cell_with_a_channel_that_is_not_finite_is_not_finite(name, bad, precision):
    maps = MAPS['random'].clone().to(precision)
    maps[3, 2, 5] = bad
    maps[0, 0, 0] = bad
    plane = reduce(build_reducer(name), maps, everywhere(maps)).values.numpy()[0]
    assert np.argwhere(~np.isfinite(plane)).tolist() == [[0, 0], [2, 5]]
    expected = REFERENCES[name](MAPS['random'].to(precision).double().numpy())
    np.testing.assert_allclose(plane[3:], expected[3:], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize('name', REFERENCES)
def test_a_cell_does_not_depend_on_the_others(name):
    weights = torch.zeros(7, 9)
    weights[2:5] = 1
    spoilt = MAPS['random'].clone()
    spoilt[:, :2] = 1e6
    spoilt[:, 5:] = NAN
    plane = reduce(build_reducer(name), spoilt, weights).values.numpy()[0, 2:5]
    np.testing.assert_allclose(plane, REFERENCES[name](MAPS['random'].double().numpy())[2:5], rtol=1e-5, atol=1e-5)


# --- rankings

SIGNED = torch.tensor([[[1.0, 2], [3, 4]], [[-9, -9], [-9, -9]], [[12, 0], [0, 0]], [[7, -7], [7, -7]]])


@pytest.mark.parametrize(
    ('name', 'by_magnitude', 'order'),
    [
        (None, False, (2, 0, 3, 1)),  # 12, 10, 0, -36
        (None, True, (1, 3, 2, 0)),  # 36, 28, 12, 10
        ('topk', True, (1, 3, 2, 0)),
        ('select_max', False, (2,)),
        ('select_max', True, (1,)),
        ({'type': 'topk', 'k': 2, 'abs': True}, None, (1, 3)),
        ({'type': 'select_max', 'abs': True}, None, (1,)),
        ({'type': 'select_max', 'abs': False}, True, (2,)),  # a config's own word stands
    ],
)
def test_channels_are_ranked_by_the_stated_sum(name, by_magnitude, order):
    reduction = reduce(build_reducer(name, 4, abs=by_magnitude), SIGNED, everywhere(SIGNED))
    assert reduction.channels == order
    assert reduction.values.tolist() == SIGNED[list(order)].tolist()  # with their signs


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('by_magnitude', [False, True])
def test_rankings_against_numpy(by_magnitude, precision):
    generator = np.random.default_rng(1)
    for seed in range(10):
        maps = (noise(int(generator.integers(1, 50)), 8, 6, seed=seed) * 3).to(precision)
        weights = torch.from_numpy((generator.random((8, 6)) > 0.4).astype(np.float32))
        values = maps.double().numpy()
        sums = ((np.abs(values) if by_magnitude else values) * weights.numpy()).sum((1, 2))
        expected = np.argsort(-sums, kind='stable')[:6].tolist()
        reduction = reduce(TopK(6, abs=by_magnitude), maps, weights)
        assert list(reduction.channels) == expected
        np.testing.assert_array_equal(reduction.values.numpy(), maps.float().numpy()[expected])
        assert reduce(SelectMax(abs=by_magnitude), maps, weights).channels == (expected[0],)


def test_padding_and_cells_that_are_not_finite_do_not_rank_by_magnitude_either():
    maps = torch.tensor([[[-50.0, 1, NAN]], [[0, -3, 1]], [[0, 2, -INF]]])
    assert reduce(TopK(3, abs=True), maps, torch.tensor([[0.0, 1, 1]])).channels == (1, 2, 0)
    assert reduce(TopK(3, abs=True), maps, torch.ones(1, 3)).channels == (0, 1, 2)


def test_sums_of_magnitudes_do_not_overflow_in_half_precision():
    maps = torch.stack([torch.full((2, 2), -22500.0), torch.full((2, 2), 20000.0), torch.full((2, 2), -1.0)]).half()
    assert reduce(TopK(3, abs=True), maps, everywhere(maps)).channels == (0, 1, 2)


# --- channels by number


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ((3, 0), (3, 0)),
        ('3 0', (3, 0)),
        ('3,0', (3, 0)),
        ('5-7', (5, 6, 7)),
        (['9', '2-4'], (9, 2, 3, 4)),
        ('4 2-5', (4, 2, 3, 5)),  # each once
        ('7-7', (7,)),
        ('all', tuple(range(10))),
        (['all'], tuple(range(10))),
        (None, tuple(range(10))),
    ],
)
@pytest.mark.parametrize('as_config', [False, True])
def test_channels_in_the_order_of_their_naming(given, expected, as_config):
    maps = noise(10, 3, 4)
    if as_config:
        reducer = build_reducer({'type': 'channels', **({} if given is None else {'channels': given})})
    else:
        reducer = build_reducer('channels', channels=given)
    reduction = reduce(reducer, maps, everywhere(maps))
    assert reduction.channels == expected
    np.testing.assert_array_equal(reduction.values.numpy(), maps.numpy()[list(expected)])


@pytest.mark.parametrize('precision', PRECISIONS)
def test_channels_come_as_they_are(precision):
    maps = noise(4, 2, 2).to(precision)
    maps[1, 0, 0] = NAN
    values = reduce(Channels('1 3'), maps, torch.zeros(2, 2)).values
    assert values.dtype == torch.float32
    np.testing.assert_array_equal(values.numpy(), maps.float().numpy()[[1, 3]])


@pytest.mark.parametrize(('channels', 'beyond'), [((10,), 10), ((3, 99, 50), 99), ('8-12', 10)])
def test_a_channel_that_there_is_not(channels, beyond):
    maps = noise(10, 3, 4)
    message = f'a map of 10 channels has no channel {beyond}: expected 0 to 9'
    with pytest.raises(OptionError, match=message):
        reduce(Channels(channels), maps, everywhere(maps))


@pytest.mark.parametrize('channels', ['-1', '3x', '3-', '7-3', '', [], '1.5', [1.5], 'all 3'])
def test_what_names_no_channels(channels):
    with pytest.raises(OptionError, match='channels='):
        build_reducer({'type': 'channels', 'channels': channels})


# --- several in a row


def test_a_list_is_applied_in_turn():
    maps = noise(10, 4, 5)
    reduction = reduce(build_reducer([{'type': 'channels', 'channels': [0, 1, 2]}, 'l2']), maps, everywhere(maps))
    assert reduction.channels == (None,)
    expected = np.sqrt((maps.double().numpy()[:3] ** 2).sum(0))
    np.testing.assert_allclose(reduction.values.numpy()[0], expected, rtol=1e-5)


def test_options_reach_every_step_that_takes_them():
    maps = SIGNED
    chain = build_reducer(['topk', 'squeeze_mean'], 2, abs=True)
    np.testing.assert_allclose(reduce(chain, maps, everywhere(maps)).values.numpy()[0], (SIGNED[1] + SIGNED[3]) / 2)


@pytest.mark.parametrize(
    ('steps', 'channels'),
    [
        ([{'type': 'channels', 'channels': [3, 0, 2]}, 'topk'], (2, 0)),  # sums 0, 10, 12
        ([{'type': 'topk', 'k': 3}, {'type': 'channels', 'channels': [2, 0]}], (3, 2)),
        ([{'type': 'channels', 'channels': [1, 3]}, 'channels', 'select_max'], (3,)),
        (['l2', 'topk'], (None,)),
        ([lambda maps, weights: maps[:2], 'topk'], (None, None)),
    ],
)
def test_a_label_names_the_channel_of_the_layer_not_of_the_step_before(steps, channels):
    chain = Chain([step if callable(step) else build_reducer(step, 2) for step in steps])
    reduction = reduce(chain, SIGNED, everywhere(SIGNED))
    assert reduction.channels == channels
    for plane, channel in zip(reduction.values, channels):
        if channel is not None:
            assert plane.tolist() == SIGNED[channel].tolist()


@pytest.mark.parametrize('first', ['topk', 'numbers'])
@pytest.mark.parametrize('second', ['topk', 'numbers'])
def test_numbers_that_stay_on_a_device_are_traced_too(first, second):
    """On a CUDA device the chosen numbers are tensors; here they are given as such."""

    def chosen(kind, *numbers):
        given = torch.tensor(numbers) if kind == 'topk' else numbers
        return lambda maps, weights: Reduction(maps[list(numbers)], given)

    reduction = reduce(Chain([chosen(first, 3, 1, 2), chosen(second, 2, 0)]), SIGNED, everywhere(SIGNED))
    assert [int(channel) for channel in reduction.channels] == [2, 3]
    assert reduction.values.tolist() == SIGNED[[2, 3]].tolist()


def test_a_list_of_none_and_a_step_that_is_unknown():
    with pytest.raises(OptionError, match='at least one'):
        build_reducer([])
    with pytest.raises(OptionError, match="no reducer is called 'l3'; nearest: l2"):
        build_reducer(['topk', 'l3'])


def test_a_scoped_name_takes_the_options_of_its_reducer():
    maps = noise(10, 3, 3)
    assert len(reduce(build_reducer('featmap.topk', 7), maps, everywhere(maps)).values) == 7
    assert reduce(build_reducer('featmap.channels', channels='4'), maps, everywhere(maps)).channels == (4,)


def test_the_label_of_a_sum_says_that_signs_count():
    reduction = reduce(build_reducer('sum'), MAPS['random'], everywhere(MAPS['random']))
    assert reduction.names == ('signed sum over channels',)
