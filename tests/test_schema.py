from __future__ import annotations

import pytest

from featmap.schema import SchemaError, anything, flag, many, mapping, maybe, number, one_of, record, text, whole

ITSELF: list = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ('check', 'value', 'expected'),
    [
        (anything, ITSELF, ITSELF),
        (flag, False, False),
        (text(), 'ä\n', 'ä\n'),
        (whole(0, 3), 3, 3),
        (number(), -0.5, -0.5),
        (number(0), 7, 7),
        (maybe(flag), None, None),
        (one_of('a', 'b'), 'b', 'b'),
        (many(whole(0, 9)), [], ()),
        (many(many(flag), 1), [[True, False]], ((True, False),)),
        (mapping(flag), {'a': True}, {'a': True}),
        (record({'a': flag}, {'b': text()}), {'a': True, 'c': 5}, {'a': True, 'c': 5}),
    ],
)
def test_what_passes(check, value, expected):
    assert check(value, 'x') == expected


@pytest.mark.parametrize(
    ('check', 'value', 'message'),
    [
        (flag, 1, 'x is 1, expected true or false'),
        (flag, ITSELF, 'x is a list of 1, expected true or false'),
        (text(3), 'abcd', "x is 'abcd', expected a text of up to 3 characters"),
        (text(3), 'a' * 99, f"x is '{'a' * 40}'… of 99 characters, expected a text of up to 3 characters"),
        (text(), b'a', 'x is a bytes, expected a text of up to 10000 characters'),
        (whole(0, 3), 4, 'x is 4, expected a whole number from 0 to 3'),
        (whole(0, 3), True, 'x is True, expected a whole number from 0 to 3'),
        (whole(0, 3), 1.0, 'x is 1.0, expected a whole number from 0 to 3'),
        (number(), float('nan'), 'x is nan, expected a finite number'),
        (number(), 10**400, 'x is a number of over 20 digits, expected a finite number'),
        (number(0, 1), 2, 'x is 2, expected a finite number from 0 to 1'),
        (number(), '1', "x is '1', expected a finite number"),
        (one_of('a', 'b'), ['a'], 'x is a list of 1, expected one of a, b'),
        (many(flag, 2), [True], 'x is a list of 1, expected a list of 2'),
        (many(flag, most=1), 'ab', "x is 'ab', expected a list of up to 1"),
        (many(flag), [True, None], 'x[1] is None, expected true or false'),
        (mapping(), {1: 2}, 'x is a dict of 1, expected a dict with texts for keys'),
        (mapping(many(flag)), {'a': [0]}, 'x.a[0] is 0, expected true or false'),
        (record({'a': flag}), {}, "x is a dict of 0, expected one with the entry 'a'"),
        (record({}, {'b': flag}), {'b': 0}, 'x.b is 0, expected true or false'),
        (record({}), None, 'x is None, expected a dict with texts for keys'),
    ],
)
def test_what_does_not(check, value, message):
    with pytest.raises(SchemaError) as caught:
        check(value, 'x')
    assert str(caught.value) == message


def test_at_the_top_there_is_no_place():
    with pytest.raises(SchemaError, match='it is None'):
        flag(None, '')
    with pytest.raises(SchemaError, match=r'^a\.b is 1'):
        record({'a': record({'b': flag})})({'a': {'b': 1}}, '')
