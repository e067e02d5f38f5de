from __future__ import annotations

import pytest

from featmap.errors import OptionError
from featmap.models.overrides import as_dict, parse_overrides


@pytest.mark.parametrize(
    ('items', 'options'),
    [
        ([], {}),
        (['a.b=0.1', 'c=x'], {'a.b': 0.1, 'c': 'x'}),
        (['a=1,2', 'b=[(1,2),(3,4)]', 'c=(1,)'], {'a': [1, 2], 'b': [(1, 2), (3, 4)], 'c': (1,)}),
        (['a=true', 'b=None', 'c=x=y'], {'a': True, 'b': None, 'c': 'x=y'}),
        (['a=1', 'a=2'], {'a': 2}),
    ],
)
def test_values_are_read_as_openmmlab_reads_them(items, options):
    assert parse_overrides(items) == options


@pytest.mark.parametrize('item', ['a', '=1', 'a..b=1', '.a=1', 'a=[1,2', 'a=(1', 'a=1)'])
def test_the_offending_item_is_shown(item):
    with pytest.raises(OptionError) as caught:
        parse_overrides(['fine=1', item])

    assert f"'{item}'" in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_dict_is_taken_as_it_is():
    given = {'a.b': [1]}
    assert as_dict(given) == given
    assert as_dict(given) is not given
    assert as_dict(('a=1',)) == {'a': 1}


def test_the_option_is_named():
    with pytest.raises(OptionError, match=r"model_args: 'x' is no key=value; write e.g. width=32"):
        as_dict(['x'], 'model_args', 'width=32')
