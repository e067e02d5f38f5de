from __future__ import annotations

import pytest

from featmap.file_names import file_name


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ('dog', 'dog'),
        ('dog/neck.out_layers.0', 'dog.neck.out_layers.0'),
        ('../../etc/passwd', 'etc.passwd'),
        ('a\\b//c', 'a.b.c'),
        ('what? "x": <1>|*\n', 'what_ _x__ _1____'),
        ('ärger 犬', 'ärger 犬'),
        ('..', '_'),
        ('', '_'),
    ],
)
def test_a_name_without_what_no_file_may_have(text, name):
    assert file_name(text) == name


def test_long_names_are_cut_and_stay_apart(tmp_path):
    names = [file_name('犬' * 200 + end) for end in 'ab']
    assert names[0] != names[1]
    for name in names:
        assert name.startswith('犬' * 60 + '~')
        (tmp_path / f'{name}_123456.page2.png').touch()
    assert file_name('x' * 180) == 'x' * 180
    assert len(file_name('x' * 181)) == 189
