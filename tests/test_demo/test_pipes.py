"""Standard input and output, refused layers, signals: the command in a shell."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from featmap.command import _to_stdout
from featmap.errors import OutputError, SourceError
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, SCRIPT, files_under

DETECTOR = (str(CONFIG), str(CHECKPOINT))


def test_a_picture_goes_through_a_pipe(tmp_path, photo):
    command = [
        sys.executable,
        str(SCRIPT),
        '-',
        *DETECTOR,
        '--target-layers',
        'neck[0]',
        '--out-file',
        '-',
        '--panel-size',
        'full',
    ]
    done = subprocess.run(
        [*command, '--save-maps', 'maps.npz'], input=photo.read_bytes(), capture_output=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    drawn = np.asarray(Image.open(io.BytesIO(done.stdout)))
    assert b'maps.npz' in done.stderr
    from featmap import FeatMapInferencer
    from featmap.storage import load_maps

    saved = load_maps(tmp_path / 'maps.npz')
    assert saved.location == ''
    with pytest.raises(SourceError, match='it cannot be read again: give the image'):  # and not wait for standard input
        saved.draw()

    expected = FeatMapInferencer(*DETECTOR, device='cpu', target_layers=['neck[0]'], panel_size='full')(photo)
    assert drawn.shape[2] == 3
    panel = expected.rendering.panels[1]
    rows, columns = slice(panel.y, panel.y + panel.height), slice(panel.x, panel.x + panel.width)
    np.testing.assert_array_equal(drawn[rows, columns], expected.image[rows, columns])


def test_standard_output_takes_one_picture(run, photo):
    done = run(photo, photo, *DETECTOR, '--out-file', '-')
    assert done.status == 2
    assert '--out-file - takes one picture, and there are 2 images' in done.error


def test_standard_output_takes_one_page(run, photo):
    options = ('--target-layers', 'neck[1]', '--channels', 'all', '--no-boxes', '--out-file', '-')
    done = run(photo, *DETECTOR, *options)
    assert (done.status, done.out) == (2, '')
    assert '--out-file - takes one picture, and this one has 2 pages: use --out-dir' in done.error


def test_a_pipe_that_is_closed_is_told_in_a_line(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, 'w') as broken:
        monkeypatch.setattr(sys, 'stdout', broken)
        with pytest.raises(OutputError, match='cannot be written to standard output: Broken pipe'):
            _to_stdout(bytes(10))


def test_a_refused_layer_is_named_and_the_others_are_drawn(run, photo):
    done = run(photo, *DETECTOR, '--target-layers', 'neck[0]', 'neck.out_layers', '--no-boxes', '--out-file', 'x.png')
    assert (done.status, done.out) == (1, 'x.png\n')
    assert 'featmap: not drawn: neck.out_layers (ModuleList) was never run' in done.err


def test_all_unknown_layers_are_told_at_once(run, photo):
    done = run(photo, *DETECTOR, '--target-layers', 'nek', 'neck', 'bakbone')
    assert done.status == 2
    assert "no layer 'nek'; nearest: neck" in done.error
    assert "no layer 'bakbone'; nearest: backbone" in done.error
    assert done.error.endswith('--preview-model lists all')


def test_the_first_image_that_fails_does_not_end_the_run(run, photo, tmp_path, monkeypatch):
    from featmap.drawer import MapDrawer

    draw, calls = MapDrawer.draw_sheets, []

    def fails_first(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError('the first one')
        return draw(self, *args, **kwargs)

    monkeypatch.setattr(MapDrawer, 'draw_sheets', fails_first)
    (tmp_path / 'in').mkdir()
    for name in ('a.png', 'b\nc.png'):
        (tmp_path / 'in' / name).write_bytes(photo.read_bytes())
    done = run('in', *DETECTOR, '--target-layers', 'neck[0]', '--no-boxes')
    assert done.status == 1
    assert 'featmap: skipped in/a.png: MemoryError: the first one' in done.err
    assert files_under(tmp_path / 'output') == ['b\nc.png']
    assert done.out == 'output/b\\nc.png\n'


@pytest.mark.skipif(os.name != 'posix', reason='SIGTERM ends a process at once on Windows; runs on Linux and macOS')
def test_sigterm_ends_like_ctrl_c(tmp_path):
    (tmp_path / 'in').mkdir()
    for number in range(200):
        (tmp_path / 'in' / f'{number:03}.jpg').write_bytes(IMAGE.read_bytes())
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), 'in', *DETECTOR, '--out-dir', 'out'], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not (tmp_path / 'out' / '002.png').exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.endswith('featmap: terminated; finished pictures are kept\n')
    left = files_under(tmp_path / 'out')
    assert '002.png' in left
    assert not any(name.endswith('.tmp') for name in left)
    for name in left:
        Image.open(tmp_path / 'out' / name).load()
