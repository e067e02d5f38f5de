"""What is asked for, read before anything is loaded."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from featmap.cli import parse_args
from featmap.errors import OptionError
from featmap.registry import TARGETS
from featmap.targets.spec import TargetSpec, parse_target
from featmap.wording import command_line


@pytest.mark.parametrize(
    ('text', 'spec'),
    [
        (None, TargetSpec('top')),
        ('top', TargetSpec('top')),
        (' boxes ', TargetSpec('boxes')),
        ('box:0', TargetSpec('box', index=0)),
        ('box: 12', TargetSpec('box', index=12)),
        ('class:dog', TargetSpec('class', 'dog')),
        ('class:16', TargetSpec('class', '16')),
        ('class:hot dog-class:pizza', TargetSpec('class', 'hot dog', minus='pizza')),
        ('class:T-shirt', TargetSpec('class', 'T-shirt')),
        ('class:a:b', TargetSpec('class', 'a:b')),
    ],
)
def test_reads(text, spec):
    assert parse_target(text) == spec


def test_a_spec_goes_through_as_it_is():
    spec = TargetSpec('box', index=3)
    assert parse_target(spec) is spec


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('bxo:0', 'nearest: box:0'),
        ('box', 'expected box:N'),
        ('box:-1', 'expected box:N'),
        ('box:first', 'expected box:N'),
        ('class:', 'class:NAME'),
        ('class:dog-class:', 'class:NAME'),
        ('klass:dog', 'nearest: class:NAME'),
        ('zebra', 'a class is class:zebra'),
        ('', 'expected box:N'),
        ('top:3', 'expected box:N'),
        (7, 'a function of the output'),
    ],
)
def test_says_what_it_expected(text, said):
    with pytest.raises(OptionError, match=said):
        parse_target(text)


def test_a_missed_object_by_text_and_by_numbers():
    spec = TargetSpec('missed', 'dog', box=(10.0, 20.5, 30.0, 40.0))
    assert parse_target(box='10,20.5,30,40', box_class='dog') == spec
    assert parse_target(box=np.array([10, 20.5, 30, 40]), box_class='dog') == spec
    assert parse_target(box=[1, 2, 3, 4]) == TargetSpec('missed', box=(1.0, 2.0, 3.0, 4.0))
    assert spec.of_raw
    assert not parse_target('top').of_raw


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ({'box': '1,2,3'}, 'X1,Y1,X2,Y2'),
        ({'box': '1,2,inf,4'}, 'X1,Y1,X2,Y2'),
        ({'box': '5,2,3,4'}, 'X1 < X2'),
        ({'box': '1,2,3,4', 'explain': 'top'}, 'give one'),
        ({'box': '1,2,3,4', 'at': '1,2'}, 'give one'),
        ({'box_class': 'dog'}, 'goes with explain_box'),
        ({'at': '1,2,3'}, 'X,Y'),
        ({'at': '1,2', 'mask': 'a.png'}, 'both say where'),
        ({'explain': 'box:0', 'at': '1,2'}, 'about detections'),
        ({'explain': 'boxes', 'mask': 'a.png'}, 'explain_mask is about a segmentation'),
        ({'explain': len, 'at': '1,2'}, 'a function of the output'),
        ({'explain': len, 'part': 'left'}, 'explain_part has no effect'),
        ({'part': 'objectnes'}, 'nearest: objectness'),
    ],
)
def test_refuses(given, said):
    with pytest.raises(OptionError, match=said):
        parse_target(**given)


def test_where_in_a_segmentation():
    assert parse_target(at='312,200') == TargetSpec('top', at=(312.0, 200.0))
    assert parse_target('class:sky', at=(3, 4)) == TargetSpec('class', 'sky', at=(3.0, 4.0))
    assert parse_target(mask='sky.png').mask == 'sky.png'


def test_messages_name_options_as_the_reader_writes_them():
    with command_line(), pytest.raises(OptionError, match='--explain-part objectnes: expected'):
        parse_target(part='objectnes')


def test_a_function_of_the_output():
    spec = parse_target(max)
    assert spec.name == 'function'
    assert spec.function is max
    assert str(spec) == 'max'


@pytest.mark.parametrize('text', ['box:3', 'boxes', 'top', 'class:dog', 'class:dog-class:cat'])
def test_is_written_as_it_was_read(text):
    assert str(parse_target(text)) == text
    assert str(parse_target(box='1,2,3,4.5', box_class=7)) == '1,2,3,4.5 as 7'


def test_a_target_of_ones_own(monkeypatch):
    monkeypatch.setitem(TARGETS.module_dict, 'widest', object)
    assert parse_target('widest:2') == TargetSpec('widest', '2')


def test_the_command_waits_for_modules_that_may_register_a_word():
    files = ['a.jpg', 'config.py', 'none']
    imports = ['--cfg-options', 'custom_imports=my_targets']
    assert parse_args([*files, '--explain', 'smallest']).explain.explain == 'smallest'
    assert parse_args([*files, '--explain', 'best', *imports]).explain.explain == 'best'
    for slip in (['--explain', 'bax:0'], ['--explain', 'box:x', *imports], ['--explain', '7', *imports]):
        with pytest.raises(OptionError, match='expected box:N'):
            parse_args([*files, *slip])


def test_needs_nothing_heavy():
    code = (
        'import sys; from featmap.targets.spec import parse_target; parse_target("class:dog", at="1,2");'
        'print([name for name in ("torch", "numpy", "mmengine") if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
