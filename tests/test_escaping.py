from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from featmap.cli import main
from featmap.errors import FeatMapError, LayerError, MissingPackageError
from featmap.escaping import escape, tell


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', ''),
        ('plain ×°é 犬 كلب \u3000', 'plain ×°é 犬 كلب \u3000'),
        ('👩\u200d🚀', '👩\u200d🚀'),  # one picture, joined
        ('می\u200cروم', 'می\u200cروم'),
        ('\x1b[2K\x1b[1A', r'\x1b[2K\x1b[1A'),
        ('a\nb\r\tc', r'a\nb\r\tc'),
        ('\x9b31m', r'\x9b31m'),  # the control sequence introducer in one character
        ('a\u202egnp.exe', r'a\u202egnp.exe'),
        ('\u2066x\u2069', r'\u2066x\u2069'),
        ('a\u2028b', r'a\u2028b'),
        ('\udcff', r'\udcff'),  # of a file name that is no Unicode
        ('\U000e0041', r'\U000e0041'),
        (r'C:\x1b', r'C:\x1b'),
        (7, '7'),
    ],
)
def test_escape(text, expected):
    assert escape(text) == expected


@pytest.mark.parametrize('kind', [FeatMapError, LayerError, MissingPackageError])
def test_an_error_is_one_harmless_line(kind):
    assert str(kind("no '\x1b[2Ja\nb'")) == r"no '\x1b[2Ja\nb'"


@pytest.mark.parametrize('text', ['evil[/b]', '[bold]x[/bold]', ':smile:.png', '[link=http://x]y[/link]'])
def test_nothing_in_a_line_is_markup(text):
    file = io.StringIO()
    tell(Console(file=file, force_terminal=True, width=20), f'a {text} 12 \x1b[2J and more than fits on one line')
    assert file.getvalue() == f'a {text} 12 \\x1b[2J and more than fits on one line\n'


def test_a_line_can_have_a_style():
    file = io.StringIO()
    tell(Console(file=file, force_terminal=True, color_system='standard'), 'x\x07', 'red')
    printed = file.getvalue()
    assert printed.startswith('\x1b[31mx\\x07')
    # Whether the end of the line is within the style is rich's own affair.
    assert re.sub(r'\x1b\[\d+m', '', printed) == 'x\\x07\n'


@pytest.mark.parametrize(
    'arguments',
    [['no\x1b[2J.png', 'c.py', 'none'], ['a', 'b', 'c', '--x\x1b[2J'], ['a', 'b', 'c', '--topk', '\x1b[2J']],
)
def test_what_the_command_line_quotes_is_escaped(run, arguments):
    outcome = run(*arguments)
    assert outcome.status == 2
    printed = outcome.err
    assert '\x1b' not in printed
    assert r'\x1b[2J' in printed


def test_an_unexpected_error_is_escaped_too(capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError('\x1b[2Jgone\nmore')

    monkeypatch.setattr('featmap.command.draw', fail)
    assert main(['a', 'b', 'c']) == 2
    assert capsys.readouterr().err == 'featmap: unexpected RuntimeError: \\x1b[2Jgone; --debug shows where\n'
