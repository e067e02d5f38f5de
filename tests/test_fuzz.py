"""Files that nobody meant: each reader takes them or says in one line why not, at once and in little memory.

``make test`` runs the same few hundred cases each time, ``make fuzz`` others for as long as it is asked to. A failure
names its case, which ``pytest tests/test_fuzz.py --fuzz-case READER:SEED:NUMBER`` runs again.
"""

from __future__ import annotations

import contextlib
import faulthandler
import random
import re
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from featmap.errors import FeatMapError
from featmap.escaping import escape
from tests.fuzz_readers import READERS, Files

FEW = {'checkpoint': 80, 'maps': 60, 'basis': 80, 'image': 150, 'config': 60, 'labels': 80}
MOST_SECONDS = 5.0
MOST_BYTES = 300 << 20
_STATUS, _RESET = Path('/proc/self/status'), Path('/proc/self/clear_refs')


@pytest.mark.parametrize('name', READERS)
def test_what_was_found_once_stays_found(name, tmp_path):
    reader = READERS[name]
    for case, files in reader.corpus(tmp_path).items():
        check(reader.read, files, tmp_path / 'case', f'{name}: {case}')


@pytest.mark.parametrize('name', READERS)
def test_what_chance_makes_of_them(name, tmp_path, pytestconfig):
    seconds, chosen = pytestconfig.getoption('--fuzz-seconds'), pytestconfig.getoption('--fuzz-case')
    reader = READERS[name]
    cases = list(reader.corpus(tmp_path).values())
    seed, start, end = '0', 0, time.monotonic() + (seconds or 0) / len(READERS)
    if chosen:
        wanted, seed, number = chosen.split(':')
        if wanted != name:
            pytest.skip('another reader was asked for; runs without --fuzz-case')
        start = int(number)
    elif seconds:
        seed = str(time.time_ns())
    number = start
    while time.monotonic() < end if seconds and not chosen else number < start + (1 if chosen else FEW[name]):
        rng = random.Random(f'{seed}:{number}')
        files = rng.choice(cases)
        for _ in range(rng.choice((1, 1, 1, 2))):
            with contextlib.suppress(Exception):  # what was made is too broken to be made more of
                files = reader.mutate(rng, files)
        check(reader.read, files, tmp_path / 'case', f'{name}:{seed}:{number}')
        number += 1
    if seconds:
        print(f'{name}: {number - start} cases')


def check(read, files: Files, folder: Path, case: str) -> None:
    """Read the files of a case; fail where that ends in anything but success or one line."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file, data in files.items():
        (folder / file).write_bytes(data)
    faulthandler.dump_traceback_later(10 * MOST_SECONDS, exit=True)
    message = ''
    start = time.process_time()
    try:
        with warnings.catch_warnings(), memory(case):
            warnings.simplefilter('ignore')
            read(folder)
    except FeatMapError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f'{case} ended in {type(error).__name__}') from error
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert escape(message) == message, case
    assert len(message) < 3000, case
    assert time.process_time() - start < MOST_SECONDS, case


@contextlib.contextmanager
def memory(case: str) -> Iterator[None]:
    """Fail where the process grew too much in between, if only for a moment."""
    if not _RESET.exists():
        yield
        return
    _RESET.write_text('5')  # sets the highest size so far to the present one
    before = _highest()
    try:
        yield
    finally:
        assert _highest() - before < MOST_BYTES, f'{case} took {(_highest() - before) >> 20} MiB'


def _highest() -> int:
    return int(re.search(r'VmHWM:\s+(\d+) kB', _STATUS.read_text())[1]) << 10


def test_the_check_sees(tmp_path):
    def grow(folder: Path) -> None:
        assert len(bytearray(b'x') * (MOST_BYTES + (50 << 20))) > 0

    def fail(folder: Path) -> None:
        raise KeyError(folder)

    def two_lines(folder: Path) -> None:
        raise type('Loud', (FeatMapError,), {'__str__': lambda self: 'a\nb'})

    for read in (fail, two_lines, *([grow] if _RESET.exists() else [])):
        with pytest.raises(AssertionError, match='the case'):
            check(read, {}, tmp_path / 'case', 'the case')
