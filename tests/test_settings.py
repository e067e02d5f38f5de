from __future__ import annotations

import pytest

from featmap.errors import OptionError
from featmap.settings import Settings, merge, parse_arrangement, parse_reduction


def test_nothing_given_is_the_defaults():
    assert merge() == merge({}, {}) == Settings()
    defaults = Settings()
    assert (defaults.target_layers, defaults.channel_reduction, defaults.topk) == (('backbone',), 'select_max', 4)
    assert (defaults.alpha, defaults.colormap, defaults.score_thr) == (0.5, None, 0.3)
    assert (defaults.boxes, defaults.labels, defaults.arrangement) == (True, True, None)
    assert defaults.visualizer == {'type': 'FeatMapVisualizer'}


def test_later_mappings_win_and_earlier_values_stay():
    merged = merge({'alpha': 0.1, 'topk': 2}, {'alpha': 0.9}, {'colormap': 'viridis'})
    assert (merged.alpha, merged.topk, merged.colormap) == (0.9, 2, 'viridis')


def test_the_given_mappings_are_left_alone():
    config = {'visualizer': {'colormap': 'hot'}, 'target_layers': ['neck']}
    merged = merge(config, {'target_layers': 'backbone'})
    assert merged.target_layers == ('backbone',)
    assert config == {'visualizer': {'colormap': 'hot'}, 'target_layers': ['neck']}


def test_a_value_that_is_overridden_may_be_falsy():
    assert merge({'boxes': True, 'channel_reduction': 'squeeze_mean'}, {'boxes': False, 'channel_reduction': None}) == (
        Settings(boxes=False, channel_reduction=None)
    )


def test_an_unknown_name_is_answered_with_the_nearest_and_all_names():
    with pytest.raises(OptionError) as caught:
        merge({'target_layer': 'neck'})
    message = str(caught.value)
    assert message.startswith("featmap knows no option 'target_layer'; nearest: target_layers, ")
    for name in ('alpha', 'arrangement', 'boxes', 'score_thr', 'vis_backends', 'visualizer'):
        assert name in message.partition('all: ')[2]


@pytest.mark.parametrize(
    ('name', 'value', 'expected'),
    [
        ('target_layers', 'neck', ('neck',)),
        ('target_layers', ['neck', 'backbone'], ('neck', 'backbone')),
        ('vis_backends', 'LocalVisBackend', ('LocalVisBackend',)),
        ('vis_backends', {'type': 'LocalVisBackend'}, ({'type': 'LocalVisBackend'},)),
        ('vis_backends', None, ()),
        ('vis_backends', ['A', {'type': 'B'}], ('A', {'type': 'B'})),
        ('arrangement', '2x3', (2, 3)),
        ('arrangement', None, None),
        ('channel_reduction', 'None', None),
        ('channel_reduction', None, None),
        ('channel_reduction', {'type': 'mine', 'k': 3}, {'type': 'mine', 'k': 3}),
        ('topk', 3, 3),
        ('topk', 3.0, 3),
        ('topk', -1, -1),
        ('alpha', 0, 0.0),
        ('alpha', 1, 1.0),
        ('alpha', '0.25', 0.25),
        ('score_thr', 1, 1.0),
        ('boxes', False, False),
        ('visualizer', {}, {'type': 'FeatMapVisualizer'}),
        ('visualizer', {'type': 'Mine', 'alpha': 0.1}, {'type': 'Mine', 'alpha': 0.1}),
    ],
)
def test_values_are_put_into_their_types(name, value, expected):
    got = getattr(merge({name: value}), name)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('target_layers', []),
        ('target_layers', ['']),
        ('target_layers', ''),
        ('target_layers', ['neck', 3]),
        ('target_layers', 5),
        ('target_layers', None),
        ('channel_reduction', 5),
        ('topk', 0),
        ('topk', -2),
        ('topk', 1.5),
        ('topk', 'many'),
        ('topk', None),
        ('topk', float('inf')),
        ('topk', float('nan')),
        ('alpha', -0.01),
        ('alpha', 1.01),
        ('alpha', float('nan')),
        ('alpha', 'half'),
        ('alpha', None),
        ('score_thr', 2),
        ('colormap', 3),
        ('boxes', 'False'),
        ('boxes', 1),
        ('labels', None),
        ('vis_backends', 5),
        ('visualizer', 'FeatMapVisualizer'),
        ('visualizer', None),
        ('arrangement', 'abc'),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(name, value):
    with pytest.raises(OptionError, match=name):
        merge({name: value})


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (None, None),
        ('2x3', (2, 3)),
        ('2×3', (2, 3)),
        ('2,3', (2, 3)),
        ('2 3', (2, 3)),
        ('(2,3)', (2, 3)),
        ('( 2 , 3 )', (2, 3)),
        ('[2, 3]', (2, 3)),
        ('2 x 3', (2, 3)),
        ('10x20', (10, 20)),
        (['2', '3'], (2, 3)),
        (['2x3'], (2, 3)),
        (['(2,', '3)'], (2, 3)),
        (['(2,3)'], (2, 3)),
        ((2, 3), (2, 3)),
        ([1, 1], (1, 1)),
    ],
)
def test_an_arrangement_can_be_written_in_many_ways(value, expected):
    assert parse_arrangement(value) == expected


@pytest.mark.parametrize(
    'value', ['', 'abc', '2', '23', '0x3', '3x0', '00x3', '2x3x4', '-2x3', '2.5x3', [], [2], [1, 2, 3], (2, 3.5), 6]
)
def test_other_arrangements_are_refused(value):
    with pytest.raises(OptionError, match='expected rows and columns, such as 2 3 or 2x3'):
        parse_arrangement(value)


def test_an_arrangement_must_hold_the_channels_asked_for():
    assert merge({'channel_reduction': None, 'topk': 6, 'arrangement': '2x3'}).arrangement == (2, 3)
    with pytest.raises(OptionError, match='2 x 3 has 6 places for topk=7'):
        merge({'channel_reduction': None, 'topk': 7, 'arrangement': '2x3'})
    assert merge({'channel_reduction': None, 'topk': -1, 'arrangement': '1x1'}).topk == -1
    assert merge({'channel_reduction': 'select_max', 'topk': 7, 'arrangement': '1x1'}).arrangement == (1, 1)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [('None', None), ('none', None), ('NONE', None), (None, None), ('select_max', 'select_max'), ('no', 'no')],
)
def test_the_word_none_is_no_reduction(value, expected):
    assert parse_reduction(value) == expected


def test_two_settings_do_not_share_their_visualizer_dict():
    first, second = Settings(), Settings()
    first.visualizer['alpha'] = 0.1
    assert second.visualizer == {'type': 'FeatMapVisualizer'}
