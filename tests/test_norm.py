from __future__ import annotations

import pytest

from featmap.errors import OptionError
from featmap.norm import Norm, parse_norm


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('map', ('map', 0, 0)),
        ('layer', ('layer', 0, 0)),
        ('image', ('image', 0, 0)),
        ('run', ('run', 0, 0)),
        ('0,1', ('fixed', 0, 1)),
        ('-1.5,2', ('fixed', -1.5, 2)),
        (' +.5 , 1. ', ('fixed', 0.5, 1)),
        ('-2e-3,1E2', ('fixed', -0.002, 100)),
        ('-3,-1', ('fixed', -3, -1)),
        ('p0,p100', ('percentile', 0, 100)),
        ('p1,p99', ('percentile', 1, 99)),
        ('p2.5, p97.5', ('percentile', 2.5, 97.5)),
    ],
)
@pytest.mark.parametrize('symmetric', [False, True])
def test_rules(text, expected, symmetric):
    norm = parse_norm(text, symmetric)
    assert (norm.kind, norm.low, norm.high) == expected
    assert norm.symmetric is symmetric


@pytest.mark.parametrize(
    'text',
    ['', 'maps', 'Layer', '1', '1,', ',1', '1,2,3', 'p1', 'p1,99', '1,p99', 'P1,P99', 'a,b', '1 2', 'nan,1', '0,inf'],
)
def test_what_is_no_rule_is_told_what_is_one(text):
    with pytest.raises(
        OptionError, match='expected map, layer, image, run, two values such as 0,1, or two percentiles'
    ) as e:
        parse_norm(text)
    assert repr(text) in str(e.value)


@pytest.mark.parametrize('given', [None, 3, 0.5, True, (0, 1), {}])
def test_what_is_no_text_is_no_rule(given):
    with pytest.raises(OptionError, match='expected map, layer, image, run'):
        parse_norm(given)


@pytest.mark.parametrize(
    'text', ['1,0', '1,1', '-1,-2', 'p99,p1', 'p5,p5', 'p-1,p50', 'p0,p101', '0,1e999', '-1e999,0', '-1e308,1e308']
)
def test_ends_that_are_not_in_order_or_out_of_reach(text):
    with pytest.raises(OptionError, match='expected the lower end first, and percentiles from 0 to 100'):
        parse_norm(text)


@pytest.mark.parametrize(
    ('text', 'note'),
    [
        ('map', ''),
        ('layer', 'layer'),
        ('image', 'image'),
        ('run', 'run'),
        ('0,1', 'fixed'),
        ('p1,p99', 'p1–p99'),
        ('p0.5,p100', 'p0.5–p100'),
    ],
)
def test_the_note_says_what_a_range_is_when_it_is_not_the_planes_own(text, note):
    assert parse_norm(text).note == note


def test_by_default_a_plane_has_its_own_range():
    assert Norm() == parse_norm('map')
