"""Options of explanations: how they are read, and what does not go with them."""

from __future__ import annotations

import pytest

from featmap.errors import OptionError
from featmap.options import OPTIONS, Run
from featmap.options.explain import WITHOUT
from featmap.wording import command_line


@pytest.mark.parametrize(
    ('values', 'explains'),
    [
        ({}, False),
        ({'target_layers': 'neck'}, False),
        ({'explain': 'box:0'}, True),
        ({'explain': len}, True),
        ({'explain_box': '1,2,3,4'}, True),
        ({'at': '3,4'}, True),
        ({'explain_mask': 'road.png'}, True),
    ],
)
def test_what_asks_for_an_explanation(values, explains):
    assert Run.of(values).check().explains is explains


def test_values_are_read_as_they_are_typed():
    typed = {'explain_box': ' (10, 20.5 30,40)', 'explain_class': 'dog', 'masks': '50', 'method': 'drise', 'seed': '7'}
    run = Run.of(typed).check().explain
    assert run.explain_box == (10.0, 20.5, 30.0, 40.0)
    assert (run.masks, run.method, run.seed, run.fuse, run.explain_part) == (50, ('drise',), 7, None, 'score')
    assert Run.of({'at': (3, 4)}).explain.at == (3.0, 4.0)


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'explain': ''}, "explain='': expected box:0, boxes, top, class:dog, or in Python a function"),
        ({'explain': 3}, 'explain=3: expected box:0'),
        ({'explain_box': '3,2,1,4'}, 'expected X1,Y1,X2,Y2 in pixels of the image with X1 < X2 and Y1 < Y2'),
        ({'explain_box': '1,2,3'}, 'expected X1,Y1,X2,Y2'),
        ({'explain_box': (0, 0, float('nan'), 4)}, 'expected X1,Y1,X2,Y2'),
        ({'at': 'here'}, 'expected X,Y in pixels of the image'),
        ({'at': (1, float('inf'))}, 'expected X,Y'),
        ({'explain_part': 'bottm'}, 'expected score, class, objectness, left, top, right, bottom or all'),
        ({'fuse': 'sum'}, 'expected mean, max, product or none'),
        ({'masks': 0}, 'expected how many masks'),
    ],
)
def test_other_values_are_refused(values, said):
    with pytest.raises(OptionError, match=said.replace('(', r'\(')):
        Run.of(values)


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'zoom': True}, '--zoom goes with --explain'),
        ({'method': 'odam'}, '--method goes with --explain'),
        ({'seed': 1}, '--seed goes with --explain'),
        ({'explain_class': 'dog'}, '--explain-class goes with --explain-box; --explain class:dog explains what'),
        ({'explain': 'top', 'explain_box': '1,2,3,4'}, '--explain-box says what is explained, and so does --explain'),
        ({'at': '1,2', 'explain_box': '1,2,3,4'}, '--explain-box says what is explained, and so does --at'),
        ({'at': '1,2', 'explain_mask': 'a.png'}, '--at and --explain-mask both say where'),
        ({'explain': 'top', 'masks': 10}, '--masks goes with --method drise'),
        ({'explain': 'top', 'boxes': False}, '--no-boxes is for feature maps, and has no effect with --explain'),
        ({'explain_box': '1,2,3,4', 'topk': 3}, '--topk is for feature maps, and has no effect with --explain-box'),
        ({'explain': 'top', 'channel_reduction': 'None'}, '--channel-reduction is for feature maps'),
        ({'explain': 'top', 'channels': '3'}, '--channels is for feature maps'),
        ({'explain': 'top', 'query': '3,4'}, '--query is for feature maps'),
    ],
)
def test_what_would_have_no_effect_is_refused(values, said):
    with command_line(), pytest.raises(OptionError) as caught:
        Run.of(values).check()
    assert str(caught.value).startswith(said)


def test_what_a_config_says_of_feature_maps_is_no_error_of_who_asks_why():
    run = Run.of({'explain': 'top', 'boxes': True, 'symmetric': False})
    assert run.above({'channel_reduction': 'l2', 'norm': 'run', 'method': 'odam'}).check().explain.method == ('odam',)
    assert set(WITHOUT) < set(OPTIONS)


def test_a_config_says_how_and_not_what():
    with pytest.raises(OptionError, match="'explain' cannot be set here"):
        Run().above({'explain': 'top'})
    assert Run.of({}).above({'masks': 10}).check().explain.masks == 10
