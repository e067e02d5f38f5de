from __future__ import annotations

import numpy as np
import pytest
import torch

from featmap.errors import DrawError, OptionError
from featmap.reducers import Reducer, SelectMax, SqueezeMean, TopK, build_reducer, reduce
from featmap.reducers.channels import reasons
from featmap.registry import REDUCERS
from featmap.structures import Reduction

NAN, INF = float('nan'), float('inf')


def features(*channels) -> torch.Tensor:
    return torch.tensor(channels, dtype=torch.float32)


def everywhere(maps: torch.Tensor) -> torch.Tensor:
    return torch.ones(maps.shape[1:])


# Sums over the cells: 10, -8, 12, 0.
MAPS = features([[1, 2], [3, 4]], [[-2, -2], [-2, -2]], [[12, 0], [0, 0]], [[9, -9], [9, -9]])


@pytest.fixture
def registered():
    """Undo what a test registers."""
    before = dict(REDUCERS.module_dict)
    yield REDUCERS
    REDUCERS.module_dict.clear()
    REDUCERS.module_dict.update(before)


@pytest.mark.parametrize(
    ('name', 'topk', 'channels', 'values'),
    [
        ('squeeze_mean', 4, (None,), [[[5.0, -2.25], [2.5, -1.75]]]),
        ('sum', 4, (None,), [[[20.0, -9.0], [10.0, -7.0]]]),
        ('select_max', 4, (2,), [[[12, 0], [0, 0]]]),
        (None, 1, (2,), [[[12, 0], [0, 0]]]),
        (None, 2, (2, 0), [[[12, 0], [0, 0]], [[1, 2], [3, 4]]]),
        (
            None,
            99,
            (2, 0, 3, 1),
            [[[12, 0], [0, 0]], [[1, 2], [3, 4]], [[9, -9], [9, -9]], [[-2, -2], [-2, -2]]],
        ),
        ({'type': 'topk', 'k': 1}, 4, (2,), [[[12, 0], [0, 0]]]),
        ({'type': SelectMax}, 4, (2,), [[[12, 0], [0, 0]]]),
    ],
)
def test_values_and_channels_by_hand(name, topk, channels, values):
    reduction = reduce(build_reducer(name, topk), MAPS, everywhere(MAPS))
    assert reduction.channels == channels
    assert reduction.values.tolist() == values
    assert reduction.values.dtype == torch.float32
    assert reduction.kind == 'heat'


def test_against_numpy_on_random_maps():
    generator = np.random.default_rng(0)
    for _ in range(20):
        maps = generator.normal(size=(generator.integers(1, 40), 7, 9)).astype(np.float32)
        weights = (generator.random((7, 9)) > 0.5).astype(np.float32)
        sums = (maps.astype(np.float64) * weights).sum((1, 2))
        order = np.argsort(-sums)[:5]
        top = reduce(TopK(5), torch.from_numpy(maps), torch.from_numpy(weights))
        assert list(top.channels) == order.tolist()
        np.testing.assert_array_equal(top.values.numpy(), maps[order])
        mean = reduce(SqueezeMean(), torch.from_numpy(maps), torch.from_numpy(weights))
        np.testing.assert_allclose(mean.values.numpy()[0], maps.astype(np.float64).mean(0), atol=1e-6)


def test_padding_does_not_count_in_the_ranking():
    on_padding = features([[9, 9, 0], [9, 9, 0]], [[0, 0, 1], [0, 0, 1]])
    weights = torch.tensor([[0.0, 0, 1], [0, 0, 1]])
    assert reduce(SelectMax(), on_padding, weights).channels == (1,)
    assert reduce(SelectMax(), on_padding, torch.ones(2, 3)).channels == (0,)
    assert reduce(TopK(2), on_padding, weights).channels == (1, 0)


def test_weights_are_factors():
    maps = features([[3, 0]], [[0, 2]])
    assert reduce(SelectMax(), maps, torch.tensor([[1.0, 1.4]])).channels == (0,)
    assert reduce(SelectMax(), maps, torch.tensor([[1.0, 1.6]])).channels == (1,)


@pytest.mark.parametrize('bad', [NAN, INF, -INF])
def test_cells_that_are_not_finite_do_not_decide_the_ranking(bad):
    maps = features([[bad, 1]], [[0, 3]], [[-1, 3]])
    assert reduce(TopK(3), maps, everywhere(maps)).channels == (1, 2, 0)
    alone = features([[bad, bad]], [[0, 1]])
    assert reduce(SelectMax(), alone, everywhere(alone)).channels == (1,)


def test_cells_that_are_not_finite_stay_visible_in_the_values():
    maps = features([[NAN, 5]], [[1, 1]])
    assert torch.isnan(reduce(SelectMax(), maps, everywhere(maps)).values).tolist() == [[[True, False]]]
    assert torch.isnan(reduce(SqueezeMean(), maps, everywhere(maps)).values).tolist() == [[[True, False]]]


def test_nan_on_padding_does_not_decide_the_ranking():
    maps = features([[NAN, 1]], [[0, 3]])
    assert reduce(SelectMax(), maps, torch.tensor([[0.0, 1]])).channels == (1,)


def test_sums_do_not_overflow_in_half_precision():
    # 65504 is the largest half: sums of 80000 and 90000 would both be infinite.
    maps = torch.stack([torch.full((2, 2), 20000.0), torch.full((2, 2), 22500.0), torch.full((2, 2), 1.0)]).half()
    assert maps.sum((1, 2)).isinf().tolist() == [True, True, False]
    assert reduce(TopK(3), maps, everywhere(maps)).channels == (1, 0, 2)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_means_accumulate_in_single_precision(dtype):
    maps = torch.full((600, 1, 1), 200.0, dtype=dtype)  # a sum of 120000
    reduction = reduce(SqueezeMean(), maps, torch.ones(1, 1))
    assert reduction.values.dtype == torch.float32
    assert reduction.values.item() == 200
    # 1024 ones and a 256: bfloat16 has eight bits, and would stop counting at 256.
    maps = torch.ones(1025, 1, 1, dtype=dtype)
    maps[0] = 256
    assert reduce(SqueezeMean(), maps, torch.ones(1, 1)).values.item() == pytest.approx(1280 / 1025)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('name', ['squeeze_mean', 'select_max', None])
def test_the_values_are_float32_whatever_the_model_runs_in(name, dtype):
    reduction = reduce(build_reducer(name, 2), MAPS.to(dtype), everywhere(MAPS))
    assert reduction.values.dtype == torch.float32
    assert reduction.values.numpy().shape[1:] == (2, 2)


@pytest.mark.parametrize('count', [1, 3])
def test_one_or_three_channels_can_be_drawn_as_they_are(count):
    reduction = reduce(build_reducer(None, -1), MAPS[:count], everywhere(MAPS))
    assert reduction.kind == 'image'
    assert reduction.channels == tuple(range(count))
    assert torch.equal(reduction.values, MAPS[:count])


@pytest.mark.parametrize('count', [2, 4])
def test_other_numbers_of_channels_cannot(count):
    with pytest.raises(DrawError, match=f'a map of {count} channels cannot be drawn as it is'):
        reduce(build_reducer(None, -1), MAPS[:count], everywhere(MAPS))


@pytest.mark.parametrize('name', ['squeeze_mean', 'select_max', None, 'as_image'])
def test_the_values_do_not_share_memory_with_the_layer(name):
    maps = MAPS[:1].clone()
    reduction = reduce(build_reducer(name, 1), maps, everywhere(maps))
    maps.fill_(-1)
    assert reduction.values.tolist() == [[[1, 2], [3, 4]]]


def test_weights_and_features_are_not_written_to():
    maps, weights = features([[NAN, 1]], [[2, 3]]), torch.tensor([[0.0, 1]])
    for name in ('squeeze_mean', 'select_max', None):
        reduce(build_reducer(name, 2), maps, weights)
    assert torch.isnan(maps[0, 0, 0])
    assert weights.tolist() == [[0, 1]]


# --- a reducer of one's own


def test_a_class_is_built_with_its_arguments(registered):
    @registered.register_module('shifted')
    class Shifted(Reducer):
        def __init__(self, by: float = 0.0) -> None:
            self.by = by

        def __call__(self, features, weights):
            return features.amax(0) + self.by

    reduction = reduce(build_reducer({'type': 'shifted', 'by': 0.5}, 4), MAPS, everywhere(MAPS))
    assert reduction.values.tolist() == [[[12.5, 2.5], [9.5, 4.5]]]
    assert reduction.channels == (None,)
    assert reduce(build_reducer('featmap.shifted', 4), MAPS, everywhere(MAPS)).values[0, 0, 0] == 12


def test_a_function_is_a_reducer_itself(registered):
    @registered.register_module()
    def loudest(features, weights, power=1):
        return (features.abs().amax(0) ** power) * weights

    weights = torch.tensor([[1.0, 1], [1, 0]])
    reduction = reduce(build_reducer('loudest', 4), MAPS, weights)
    assert reduction.values.tolist() == [[[12, 9], [9, 0]]]
    assert reduce(build_reducer({'type': 'loudest', 'power': 2}, 4), MAPS, weights).values[0, 0, 0] == 144


def test_the_config_of_a_reducer_is_left_alone():
    config = {'type': 'topk', 'k': 2}
    build_reducer(config, 4)
    assert config == {'type': 'topk', 'k': 2}


@pytest.mark.parametrize(
    'view',
    [
        lambda maps, _: maps[0],
        lambda maps, _: maps[1:3],
        lambda maps, _: maps,
        lambda maps, _: Reduction(maps[:2], (0, 1)),
        lambda maps, _: maps.transpose(1, 2).transpose(1, 2),
    ],
)
def test_a_view_of_the_features_is_copied(view):
    maps = MAPS.clone()
    reduction = reduce(view, maps, everywhere(maps))
    before = reduction.values.clone()
    maps.fill_(-1)
    assert torch.equal(reduction.values, before)
    assert not (before == -1).any()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize('wrap', [lambda planes: planes, lambda planes: Reduction(planes, (0, 1))])
def test_what_it_returns_becomes_float32(dtype, wrap):
    reduction = reduce(lambda maps, _: wrap(maps[:2].to(dtype)), MAPS, everywhere(MAPS))
    assert reduction.values.dtype == torch.float32
    assert reduction.values.shape == (2, 2, 2)


@pytest.mark.parametrize(
    ('returned', 'made'),
    [
        (torch.zeros(2, 3), r'\(1, 2, 3\)'),
        (torch.zeros(1, 4, 4), r'\(1, 4, 4\)'),
        (torch.zeros(1, 1, 2, 2), r'\(1, 1, 2, 2\)'),
        (torch.zeros(4), r'\(4,\)'),
        (torch.tensor(1.0), r'\(\)'),
        (torch.zeros(0, 2, 2), r'\(0, 2, 2\)'),
        (Reduction(torch.zeros(2, 2, 2), (1,)), r'\(2, 2, 2\)'),
        (Reduction(torch.zeros(2, 2), (1,)), r'\(2, 2\)'),
        (None, 'NoneType'),
        (np.zeros((2, 2)), 'ndarray'),
    ],
)
def test_what_does_not_fit_the_map_is_refused(returned, made):
    message = rf'the reducer made {made} of a map of \(4, 2, 2\): expected \(K, 2, 2\)'
    with pytest.raises(OptionError, match=message):
        reduce(lambda maps, weights: returned, MAPS, everywhere(MAPS))


@pytest.mark.parametrize(
    ('name', 'nearest'),
    [
        ('squeeze_meen', 'nearest: squeeze_mean'),
        ('selectmax', 'nearest: select_max'),
        ('', 'known: as_image, channels'),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(OptionError, match=nearest) as caught:
        build_reducer(name, 4)
    for name in (
        'as_image',
        'eigen',
        'kmeans',
        'l2',
        'nmf',
        'pca',
        'select_max',
        'squeeze_mean',
        'sum',
        'topk',
        'None',
    ):
        assert f' {name},' in str(caught.value) or f' {name}.' in str(caught.value)
    assert 'custom_imports' in str(caught.value)


@pytest.mark.parametrize('name', ['os.getcwd', 'builtins.print', 'json', 'torch.relu', 'mmdet.topk', '__import__'])
def test_a_name_reaches_registered_reducers_only(name):
    with pytest.raises(OptionError, match='no reducer is called'):
        build_reducer(name, 4)


def test_a_name_does_not_import_anything(tmp_path, monkeypatch):
    (tmp_path / 'danger.py').write_text('raise SystemExit("imported")')
    monkeypatch.syspath_prepend(tmp_path)
    for name in ('danger.x', 'danger'):
        with pytest.raises(OptionError, match='no reducer is called'):
            build_reducer(name, 4)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'type': 'topk', 'k': 0}, 'k must be at least 1'),
        ({'type': 'topk', 'q': 3}, 'topk cannot be built'),
        ({'type': 'squeeze_mean', 'k': 3}, 'squeeze_mean cannot be built'),
        ({'k': 3}, 'cannot be built'),
        ({'type': 5}, 'cannot be built'),
        ({'type': 'by_function', 'q': 3}, 'by_function cannot be built'),
    ],
)
def test_arguments_that_a_reducer_does_not_take_are_refused(registered, config, message):
    @registered.register_module('by_function')
    def by_function(features, weights, k=1):
        return features[0]

    with pytest.raises(OptionError, match=message):
        build_reducer(config, 4)


def chosen_for(name, features, weights=None, **options):
    return reasons(
        reduce(build_reducer(name, **options), features, everywhere(features) if weights is None else weights)
    )


def test_the_reason_for_a_channel():
    features = torch.tensor([1.0, -7.0, 5.0, 3.0])[:, None, None].expand(4, 2, 2)
    assert chosen_for('select_max', features) == ('sum 20, next 12',)
    assert chosen_for('select_max', features, abs=True) == ('sum of |x| 28, next 20',)
    assert chosen_for(None, features, topk=2) == ('sum 20', 'sum 12')
    assert chosen_for(None, features, topk=9, abs=True) == tuple(f'sum of |x| {n}' for n in (28, 20, 12, 4))
    half = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert chosen_for('select_max', features, half) == ('sum 5, next 3',)
    assert chosen_for('select_max', features[:1]) == ('sum 4',)
    assert chosen_for('select_max', features[2:3].expand(2, 2, 2)) == ('sum 20, next 20',)
    assert chosen_for('select_max', torch.tensor([1000.2, 1000.1])[:, None, None]) == ('sum 1000.2, next 1000.1',)
    assert chosen_for('select_max', -features[2:]) == ('sum -12, next -20',)
    assert chosen_for('select_max', features * 1234.56) == ('sum 24691, next 14815',)
    assert chosen_for('select_max', features * 1e7) == ('sum 2e+08, next 1.2e+08',)


def test_what_is_not_chosen_for_its_content_has_no_reason():
    for name in ('l2', 'channels', 'pca', 'eigen'):
        assert chosen_for(name, MAPS) == ()


def test_a_chain_has_the_reason_of_its_last_step():
    features = torch.tensor([1.0, -7.0, 5.0, 3.0])[:, None, None].expand(4, 2, 2)
    assert chosen_for(['topk', 'select_max'], features, topk=2) == ('sum 20, next 12',)
    assert chosen_for(['topk', 'l2'], features, topk=2) == ()
