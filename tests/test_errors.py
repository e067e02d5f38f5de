from __future__ import annotations

import pytest

from featmap import errors
from featmap.errors import FeatMapError, FeatMapWarning, first_line, nearest


@pytest.mark.parametrize(
    ('kind', 'builtin'),
    [
        (errors.OptionError, ValueError),
        (errors.MissingPackageError, ImportError),
        (errors.LayerError, LookupError),
        (errors.DrawError, AssertionError),
    ],
)
def test_callers_that_catch_the_builtin_error_catch_ours(kind, builtin):
    with pytest.raises(builtin):
        raise kind('text')


def test_every_error_is_a_featmap_error_and_prints_its_plain_text():
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning)
    ]
    assert len(kinds) >= 10
    for kind in kinds:
        assert issubclass(kind, (FeatMapError, FeatMapWarning))
        assert str(kind("no 'x' here")) == "no 'x' here"


@pytest.mark.parametrize(
    ('name', 'known', 'count', 'expected'),
    [
        ('nekc', [], 3, []),
        ('nekc', ['backbone', 'neck', 'bbox_head'], 1, ['neck']),
        ('backbon', ['neck', 'backbone', 'back'], 2, ['backbone', 'back']),
        ('neck', iter(['neck']), 3, ['neck']),
    ],
)
def test_nearest(name, known, count, expected):
    assert nearest(name, known, count) == expected


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (ValueError('one'), 'one'),
        (ValueError('\n  \n  one  \ntwo'), 'one'),
        (ValueError(''), 'ValueError'),
        (ValueError(' \n '), 'ValueError'),
        (KeyboardInterrupt(), 'KeyboardInterrupt'),
        (ValueError('x' * 300), 'x' * 300),
        (ValueError('x' * 301), 'x' * 297 + '...'),
    ],
)
def test_first_line(error, expected):
    assert first_line(error) == expected
