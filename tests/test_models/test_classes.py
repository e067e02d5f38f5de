from __future__ import annotations

import json

import pytest

from featmap.errors import ConfigError
from featmap.models.classes import read_classes


@pytest.mark.parametrize(
    ('given', 'names'),
    [
        (['cat', 'dog'], ('cat', 'dog')),
        (('cat',), ('cat',)),
        ({0: 'cat', 1: 'dog'}, ('cat', 'dog')),
        ({'1': 'dog', '0': 'cat'}, ('cat', 'dog')),
        ({'dog': 1, 'cat': 0}, ('cat', 'dog')),
        ({'0': ['n01440764', 'tench'], '1': ['n01443537', 'goldfish']}, ('tench', 'goldfish')),
        ([0, 1], ('0', '1')),
    ],
)
def test_what_names_classes(given, names):
    assert read_classes(given) == names


@pytest.mark.parametrize('given', [[], {}, {1: 'dog'}, {0: 'cat', 2: 'dog'}, {'a': 'b'}, {'cat': 0, 'dog': 0}])
def test_what_does_not(given):
    with pytest.raises(ConfigError, match='no names of classes are in what was given: expected a list'):
        read_classes(given)


@pytest.mark.parametrize(
    ('text', 'names'),
    [
        ('cat\n dog \n\n', ('cat', 'dog')),
        ('\ufeffKatze\r\nHund', ('Katze', 'Hund')),
        (json.dumps(['cat', '狗']), ('cat', '狗')),
        ('\n{"0": "cat"}', ('cat',)),
    ],
)
def test_files_of_names(tmp_path, text, names):
    path = tmp_path / 'classes.txt'
    path.write_text(text, encoding='utf-8')
    assert read_classes(path) == read_classes(str(path)) == names


@pytest.mark.parametrize(
    ('content', 'match'),
    [
        (b'', "no names of classes are in '.*classes.txt'"),
        (b'["cat"', 'is no JSON: '),
        (b'\xff\xfe\x00', 'cannot be read: it is no text'),
        (b'[' * 100_000, 'is no JSON: '),
        (None, 'cannot be read: No such file'),
    ],
)
def test_files_of_none(tmp_path, content, match):
    path = tmp_path / 'classes.txt'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=match) as caught:
        read_classes(path)
    assert '\n' not in str(caught.value)
