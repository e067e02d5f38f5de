"""The figures of design.md on placement can be measured again."""

from __future__ import annotations

import re
import sys

import measure_placement
import pytest


def test_it_prints_what_remains_and_where_the_heat_is(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, 'argv', ['measure_placement.py', '--scenes', '2', '--mirrored', '2'])
    monkeypatch.setattr(measure_placement, 'IMAGES', 2)
    monkeypatch.setattr(measure_placement, 'REDUCERS', ('l2',))
    measure_placement.main()
    remains, shares = capsys.readouterr().out.split('\n\n')
    outputs = [f'{layer}[{level}]' for layer in ('backbone', 'neck') for level in range(3)]
    lines = remains.splitlines()[1:]
    assert [line.split()[0] for line in lines] == outputs
    nominal, calibrated = zip(*([float(n) for n in re.findall(r', ([+-]\d\.\d+)', line)] for line in lines))
    assert sum(map(abs, calibrated)) < sum(map(abs, nominal)) / 2
    for line, output in zip(shares.splitlines()[1:], outputs):
        reducer, name, *numbers = line.replace('±', ' ').split()
        assert (reducer, name, len(numbers)) == ('l2', output, 5)
        before, after, gain, _, arithmetic = map(float, numbers)
        assert 0.05 < before < 1
        assert gain == pytest.approx(after - before, abs=2e-4)
        assert abs(arithmetic - before) < 0.1
