"""The benchmark tool runs and reports what it measured. Nothing here depends on how fast the machine is."""

import json
import subprocess
import sys
from pathlib import Path

import benchmark
import pytest
import torch
from benchmarks import channels, draw, explain, measure
from benchmarks.context import Context
from benchmarks.report import Row
from benchmarks.weights import save_weights

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'benchmark.py'
CONFIG = ROOT / 'configs' / 'demo' / 'yolov5_n_demo.py'
CHECKPOINT = ROOT / 'demo' / 'yolov5_n_demo.pth'
QUICK = ['--rounds', '1', '--warmup', '0', '--device', 'cpu']


def check_ratio(row):
    """The ratio of a row of JSON is the quotient that it names, of two positive medians."""
    assert row['featmap'] > 0
    assert row['peer'] > 0
    first, second = row['ratio_of'].split('/')
    assert row['ratio'] == pytest.approx(row[first] / row[second])


def test_draw_reports_each_way_and_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, 'SHAPES', {(16, 20, 30): 5})
    monkeypatch.setattr(draw, 'MEMORY_CHANNELS', 64)
    out = tmp_path / 'bench.json'
    benchmark.main(['draw', *QUICK, '--json', str(out)])
    rows = json.loads(out.read_text(encoding='utf-8'))['tables']['draw']
    assert [row['name'] for row in rows] == [
        'mean of 16x20x30',
        'select_max of 16x20x30',
        'top-20 grid of 16x20x30',
        'memory of one draw, mean of 64x20x20 onto 1333x800',
    ]
    assert [row['unit'] for row in rows] == ['ms', 'ms', 'ms', 'MB']
    assert [row['goal'] for row in rows] == ['at least 5x', 'at least 5x', 'at least 30x', 'under 30 MB']
    for row in rows:
        check_ratio(row)
    # MMEngine upsamples every channel: 64 planes of 1333x800 float32 are 273 MB.
    assert rows[-1]['peer'] > 250


def test_explain_measures_a_box_all_boxes_and_masks(tmp_path, monkeypatch):
    monkeypatch.setattr(explain, 'MASKS', 8)
    out = tmp_path / 'bench.json'
    benchmark.main(['explain', *QUICK, '--json', str(out)])
    rows = {row['name']: row for row in json.loads(out.read_text(encoding='utf-8'))['tables']['explain']}
    assert rows['a box of the shipped detector']['goal'] == 'at most 3 of it'
    assert rows['drise, 20 boxes']['unit'] == '/s'
    for row in rows.values():
        if row['featmap'] is not None:
            check_ratio(row)
        else:
            assert row['note'] in ('torchvision is not installed', 'pytorch_grad_cam is not installed')


def test_reducers_are_all_there_or_say_why_not(tmp_path):
    out = tmp_path / 'bench.json'
    benchmark.main(['reducers', *QUICK, '--json', str(out)])
    found = json.loads(out.read_text(encoding='utf-8'))
    rows = {row['name']: row for row in found['tables']['reducers']}
    assert {'squeeze_mean', 'select_max', 'pca', 'eigen', 'nmf', 'kmeans'} <= set(rows)
    assert all((row['featmap'] or 0) > 0 or row['note'] for row in rows.values())
    assert rows['eigen']['featmap'] > 0
    assert rows['pca']['goal'] == 'under 15 ms'
    assert found['settings'] == {'device': 'cpu', 'rounds': 1, 'warmup': 0, 'amp': False}
    # As installed and as imported: one of them may lack the build, '+cu121'.
    assert found['machine']['packages']['torch'].partition('+')[0] == torch.__version__.partition('+')[0]


def test_every_channel_is_timed_beside_a_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(channels, 'CHANNELS', 70)
    out = tmp_path / 'bench.json'
    benchmark.main(['channels', *QUICK, '--json', str(out)])
    rows = json.loads(out.read_text(encoding='utf-8'))['tables']['channels']
    assert [row['unit'] for row in rows] == ['s', 'MB'] * 3
    assert all(row['featmap'] >= 0 for row in rows)
    check_ratio(rows[-2])
    assert rows[-2]['peer_name'] == 'a loop of OpenCV calls'


def test_e2e_compares_with_the_forward_and_the_peer(tmp_path):
    """In a process of its own: the peer sets MMEngine's default scope for good."""
    out = tmp_path / 'bench.json'
    where = ['--config', CONFIG, '--checkpoint', CHECKPOINT]
    command = [sys.executable, str(TOOL), 'e2e', *QUICK, '--json', str(out), *map(str, where)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    tables = json.loads(out.read_text(encoding='utf-8'))['tables']
    assert [(row['name'], row['peer_name']) for row in tables['e2e']] == [
        ('whole tool to .jpg', 'bare forward'),
        ('whole tool to .jpg', "MMYOLO's demo loop"),
        ('whole tool to .png', "MMYOLO's demo loop"),
        ('backbone.stage2, no boxes, to .jpg', 'bare forward'),
        ('forward with recording and reducing', 'bare forward'),
    ]
    for row in tables['e2e']:
        check_ratio(row)
    assert 'whole tool to .jpg' in done.stdout
    (cuda,) = tables['e2e on CUDA']
    assert cuda['featmap'] is None
    assert 'CUDA' in cuda['note'] or 'cpu' in cuda['note']


def test_made_up_weights_find_about_as_much_as_trained_ones(tmp_path):
    from featmap.models.openmmlab.detector import Detector
    from featmap.sources import read_image

    context = Context(tmp_path, torch.device('cpu'), config=CONFIG)
    detector = Detector(CONFIG, save_weights(context, 'trained-like'), device='cpu')
    batch = detector.prepare([read_image(context.image())])
    (found,) = detector.predict(batch)
    assert 5 <= len(found) <= 60
    with torch.no_grad():
        levels = detector.model(batch.inputs, mode='tensor')
    objectness = torch.cat([level.sigmoid().flatten() for level in levels[2]])
    assert (objectness >= 0.001).float().mean() == pytest.approx(0.1, abs=0.01)
    assert (objectness >= 0.7).float().mean() == pytest.approx(0.0004, abs=0.0001)


def test_turns_alternate_after_the_warmup(monkeypatch):
    monkeypatch.setattr(measure, '_LEAST_TURN_S', 0.0)
    # A call advances the clock by a second more each time: 1, 2, 3, …
    clock, calls = [0.0], []
    monkeypatch.setattr(measure.time, 'perf_counter', lambda: clock[0])

    def call(name):
        def run():
            calls.append(name)
            clock[0] += len(calls)

        return run

    took = measure.interleave({'a': call('a'), 'b': call('b')}, rounds=3, warmup=1)
    assert calls == ['a', 'b'] * 4
    # The warm-up took 1 and 2; a took 3, 5, 7 and b 4, 6, 8.
    assert took == {'a': 5.0, 'b': 6.0}


def test_a_failing_process_is_told():
    with pytest.raises(RuntimeError, match='ended with 3'):
        measure.run_python('-c', 'raise SystemExit(3)')


@pytest.mark.parametrize(
    ('row', 'ratio'),
    [
        (Row('a', 2.0, 6.0), 3.0),
        (Row('a', 2.0, 8.0, ratio_of='featmap/peer'), 0.25),
        (Row('a', 2.0), None),
        (Row('a', None, 6.0), None),
    ],
)
def test_ratios(row, ratio):
    assert row.ratio == ratio
    assert row.as_dict()['ratio'] == ratio


@pytest.mark.parametrize(
    'arguments', [['nothing'], ['draw', '--rounds', '0'], ['e2e', '--config', 'a.py'], ['draw', '--warmup', '-1']]
)
def test_arguments_that_make_no_sense_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.parse_args(arguments)
    assert stop.value.code == 2
    assert 'error' in capsys.readouterr().err
