from __future__ import annotations

import dataclasses

import pytest

from featmap.building import reducer_of
from featmap.errors import OptionError
from featmap.options import DRAWING, GROUPS, OPTIONS, Run
from featmap.options.markdown import markdown_table
from featmap.wording import command_line, option
from tests.conftest import ROOT


def test_nothing_given_is_the_defaults():
    run = Run.of({})
    assert run == Run()
    assert (run.what.target_layers, run.what.channel_reduction, run.what.topk) == ((), 'select_max', 4)
    assert (run.look.alpha, run.look.colormap, run.what.score_thr) == (None, None, 0.3)
    assert (run.what.boxes, run.look.labels, run.look.arrangement) == (True, True, None)
    assert run.output.visualizer == {'type': 'FeatMapVisualizer'}


def test_a_run_stands_above_a_config_whose_other_values_stay():
    run = Run.of({'alpha': 0.9}).above({'alpha': 0.1, 'topk': 2, 'channel_reduction': None})
    assert (run.look.alpha, run.what.topk, run.what.channel_reduction) == (0.9, 2, None)
    assert run.given == {'alpha'}


def test_the_given_mappings_are_left_alone():
    config = {'visualizer': {'colormap': 'hot'}, 'target_layers': ['neck']}
    run = Run.of({'target_layers': 'backbone'}).above(config)
    run.output.visualizer['alpha'] = 1
    assert run.what.target_layers == ('backbone',)
    assert config == {'visualizer': {'colormap': 'hot'}, 'target_layers': ['neck']}


def test_a_value_that_is_overridden_may_be_falsy():
    run = Run.of({'boxes': False, 'channel_reduction': None}).above({'boxes': True, 'channel_reduction': 'l2'})
    assert (run.what.boxes, run.what.channel_reduction) == (False, None)


def test_channels_choose_their_reducer_unless_one_stands_beside_them():
    assert Run.of({'channels': [3]}).what.channel_reduction == 'channels'
    assert Run.of({'channels': [3], 'channel_reduction': 'l2'}).what.channel_reduction == 'l2'
    assert Run.of({}).above({'channels': [3]}).what.channel_reduction == 'channels'
    assert Run.of({'channels': [3]}).above({'channel_reduction': 'l2'}).what.channel_reduction == 'channels'
    assert Run.of({'channel_reduction': 'l2'}).above({'channels': [3]}).what.channel_reduction == 'l2'


def test_an_unknown_name_is_answered_with_the_nearest_and_all_names():
    with pytest.raises(OptionError) as caught:
        Run.of({'target_layer': 'neck'})
    message = str(caught.value)
    assert message.startswith("featmap knows no option 'target_layer'; nearest: target_layers, ")
    for name in ('alpha', 'arrangement', 'boxes', 'score_thr', 'vis_backends', 'visualizer', 'device'):
        assert name in message.partition('all: ')[2]


@pytest.mark.parametrize(
    ('name', 'place'), [('out_file', 'python'), ('out_file', 'config'), ('device', 'config'), ('visualizer', 'command')]
)
def test_an_option_stands_only_where_it_may(name, place):
    with pytest.raises(OptionError, match=f"'{name}' cannot be set here"):
        Run.of({name: 'x'}, place)


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
    got = Run.of({name: value})[name]
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
        ('score_thr', 2),
        ('colormap', 3),
        ('boxes', 'False'),
        ('boxes', 1),
        ('labels', None),
        ('vis_backends', 5),
        ('visualizer', 'FeatMapVisualizer'),
        ('visualizer', None),
        ('arrangement', 'abc'),
        ('arrangement', (100_000, 100_000)),
        ('channels', '0-999999999999'),
        ('vis_backends', [5]),
        ('vis_backends', [{}]),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(name, value):
    with pytest.raises(OptionError, match=name):
        Run.of({name: value})


@pytest.mark.parametrize('config', [5, None, ['alpha'], {5: 6}])
def test_a_config_whose_options_are_no_dict(config):
    with pytest.raises(OptionError, match='expected a dict of options by name, got'):
        Run().above(config)


@pytest.mark.parametrize('kind', [['x'], 5, None])
def test_a_reducer_of_no_type(kind):
    run = Run().above({'channel_reduction': {'type': kind}}).check()
    with pytest.raises(OptionError, match=r'the reducer .* cannot be built: expected a name'):
        reducer_of(run)


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
    assert Run.of({'arrangement': value}).look.arrangement == expected


@pytest.mark.parametrize(
    'value', ['', 'abc', '2', '23', '0x3', '3x0', '00x3', '2x3x4', '-2x3', '2.5x3', [], [2], [1, 2, 3], (2, 3.5), 6]
)
def test_other_arrangements_are_refused(value):
    with pytest.raises(OptionError, match='expected rows and columns, such as 2 3 or 2x3'):
        Run.of({'arrangement': value})


def test_an_arrangement_must_hold_the_channels_asked_for():
    def checked(**values):
        return Run.of(values).check()

    assert checked(channel_reduction=None, topk=6, arrangement='2x3').look.arrangement == (2, 3)
    with pytest.raises(OptionError, match='2 x 3 has 6 places for topk=7'):
        checked(channel_reduction=None, topk=7, arrangement='2x3')
    as_it_is = {'channel_reduction': None, 'topk': -1, 'arrangement': '1x1'}
    assert Run.of({}).above(as_it_is).check().what.topk == -1
    config = {'channel_reduction': 'l2', 'arrangement': '1x1'}
    assert Run.of({}).above(config).check().look.arrangement == (1, 1)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [('None', None), ('none', None), ('NONE', None), (None, None), ('select_max', 'select_max'), ('no', 'no')],
)
def test_the_word_none_is_no_reduction(value, expected):
    assert Run.of({'channel_reduction': value}).what.channel_reduction == expected


def test_two_runs_do_not_share_their_visualizer_dict():
    first, second = Run(), Run()
    first.output.visualizer['alpha'] = 0.1
    assert second.output.visualizer == {'type': 'FeatMapVisualizer'}


# --- options that would have no effect


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'topk': 5}, 'topk goes with channel_reduction None or topk, got select_max'),
        ({'abs': True, 'channel_reduction': 'l2'}, 'abs goes with'),
        ({'components': 2}, 'components goes with channel_reduction pca or nmf or kmeans, got select_max'),
        ({'basis': 'b.npz', 'channel_reduction': 'kmeans'}, 'basis goes with'),
        ({'channel_reduction': 'pca', 'symmetric': True}, "symmetric has no effect with channel_reduction='pca'"),
        (
            {'channel_reduction': 'pca', 'components': 2, 'norm': 'layer'},
            "norm has no effect with channel_reduction='pca",
        ),
        ({'channel_reduction': 'pca', 'colorbar': True}, 'colorbar has no effect'),
        ({'channel_reduction': 'kmeans', 'norm': 'layer'}, "norm has no effect with channel_reduction='kmeans'"),
        ({'channel_reduction': 'kmeans', 'colormap': 'hot'}, 'colormap has no effect'),
        ({'channel_reduction': ['l2', {'type': 'kmeans', 'k': 3}], 'symmetric': True}, 'symmetric has no effect'),
        ({'boxes': False, 'score_thr': 0.5}, 'score_thr has no effect with boxes=False'),
        (
            {'arrangement': (2, 3)},
            "arrangement has no effect with channel_reduction='select_max', which makes one panel",
        ),
        ({'boxes': False, 'score_thr': 0}, 'score_thr has no effect with boxes=False'),
        ({'background': 'none', 'alpha': 0}, "alpha has no effect with background='none'"),
        ({'channel_reduction': None, 'topk': -1, 'colormap': 'hot'}, 'colormap has no effect with topk=-1'),
    ],
)
def test_what_would_have_no_effect_is_refused(values, said):
    with pytest.raises(OptionError) as caught:
        Run.of(values).check()
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    'values',
    [
        {'channel_reduction': 'pca', 'components': 2, 'colorbar': True, 'colormap': 'hot'},
        {'channel_reduction': ['kmeans', 'l2'], 'symmetric': True},
        {'channel_reduction': 'nmf', 'norm': 'layer', 'components': 4},
        {'channel_reduction': 'mine', 'norm': 'layer'},
        {'channel_reduction': None, 'topk': 3, 'abs': True, 'colorbar': True},
        {'channel_reduction': None, 'topk': -1, 'norm': '0,1'},
        {'symmetric': False, 'channel_reduction': 'pca'},
    ],
)
def test_what_has_an_effect_passes(values):
    assert Run.of(values).check().given == set(values)


def test_what_a_config_may_still_choose_is_not_refused_before_it_is_read():
    run = Run.of({'topk': 5}).check(config=False)
    assert run.above({'channel_reduction': None}).check().what.topk == 5
    with pytest.raises(OptionError, match='topk goes with'):
        run.above({'channel_reduction': 'l2'}).check()


def test_an_option_of_a_config_that_the_caller_makes_useless_is_left_alone():
    run = Run.of({'channel_reduction': 'l2'}).above({'topk': 3, 'channel_reduction': None})
    assert run.check().what.channel_reduction == 'l2'


# --- what follows from the table


def test_a_message_speaks_to_whoever_reads_it():
    def said():
        with pytest.raises(OptionError) as caught:
            Run.of({'channel_reduction': 'kmeans', 'norm': 'layer'}).check()
        return str(caught.value)

    assert said().startswith("norm has no effect with channel_reduction='kmeans'")
    with command_line():
        assert said().startswith('--norm has no effect with --channel-reduction kmeans')
        assert (option('boxes', False), option('abs', True)) == ('--no-boxes', '--abs')
        assert option('cfg_options', ['a=1', 'b=[1, 2]']) == "--cfg-options a=1 'b=[1, 2]'"
    assert option('trust_checkpoint', True) == 'trust_checkpoint=True'


def test_every_option_says_what_it_is():
    assert {item.group for item in OPTIONS.values()} == set(GROUPS)
    assert set(DRAWING) >= {'alpha', 'norm', 'colorbar', 'arrangement'}
    for item in OPTIONS.values():
        assert item.help.strip('.') == item.help != '', item.name
        assert item.places <= {'command', 'config', 'python'}, item.name


def test_no_group_has_many_fields():
    for name, holder in GROUPS.items():
        assert len(dataclasses.fields(holder)) < 25, name


def test_the_document_has_the_table():
    assert markdown_table() in (ROOT / 'docs' / 'options.md').read_text(encoding='utf-8'), 'run tools/write_options.py'


def test_the_chinese_document_names_every_option():
    rows = [
        line
        for line in (ROOT / 'docs' / 'options_zh-CN.md').read_text(encoding='utf-8').splitlines()
        if line.startswith('| ')
    ]
    for item in OPTIONS.values():
        if 'command' in item.places:
            assert any(
                line.startswith((f'| `{item.flag} ', f'| `{item.flag}`', f'| `{item.flag}…`')) for line in rows
            ), item.flag
