"""What the README shows is run: its Python as it stands, its commands with the shipped detector."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from PIL import Image

from featmap.cli import parse_args
from featmap.registry import REDUCERS
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, ROOT
from tests.documents import blocks, commands

README = (ROOT / 'README.md').read_text(encoding='utf-8')
CHINESE = (ROOT / 'README_zh-CN.md').read_text(encoding='utf-8')
STANDS_FOR = {'IMG': IMAGE, 'CONFIG': CONFIG, 'CKPT': CHECKPOINT}

COMMANDS = commands(README, STANDS_FOR)
# All but pipes, which tests/test_demo/test_pipes.py has, and detectors that are not shipped.
RUNNABLE = [words for words in COMMANDS if words[0] != '-' and any(word.endswith(CONFIG.name) for word in words)]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that looks like the repository's root to who reads the README there; nothing stays registered."""
    (tmp_path / 'demo').symlink_to(ROOT / 'demo')
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(tmp_path)
    REDUCERS.import_from_location()
    before = dict(REDUCERS.module_dict)
    yield tmp_path
    REDUCERS.module_dict.clear()
    REDUCERS.module_dict.update(before)
    sys.modules.pop('my_reducers', None)


def test_both_readmes_show_the_same_code():
    assert blocks('console', CHINESE) == blocks('console', README)
    assert blocks('python', CHINESE) == blocks('python', README)
    pictures = re.compile(r'\]\((docs/images/[^)]*)\)')
    assert pictures.findall(CHINESE) == pictures.findall(README)


def test_every_command_is_understood():
    assert len(COMMANDS) > 15
    for words in COMMANDS:
        assert parse_args(words).inputs.image, words
    assert len(RUNNABLE) > 10


@pytest.mark.parametrize('words', RUNNABLE, ids=lambda words: ' '.join(words[3:])[:60])
def test_every_command_runs(words, run, workplace, monkeypatch):
    (workplace / 'labels').mkdir()
    (workplace / 'labels' / 'demo.txt').write_text('0 0.486 0.192 0.046 0.097\n', encoding='utf-8')
    (reducer,) = (code for code in blocks('python', README) if code.startswith('# my_reducers.py'))
    (workplace / 'my_reducers.py').write_text(reducer, encoding='utf-8')
    done = run(*words)
    assert done.status == 0, done.err
    drawn = [line for line in done.out.splitlines() if line.endswith(('.png', '.jpg'))]
    assert '--preview-model' in words or drawn
    for path in drawn:
        with Image.open(workplace / path) as picture:
            assert np.asarray(picture).std() > 10


def test_all_python_runs(run, workplace):
    run(IMAGE, CONFIG, CHECKPOINT, '--target-layers', 'neck', '--no-boxes', '--save-maps', 'maps.npz')
    names: dict[str, object] = {}
    for code in blocks('python', README):
        if code.startswith('_base_'):
            from featmap.models.openmmlab.config import load_config

            (workplace / 'own.py').write_text(code, encoding='utf-8')
            assert load_config('own.py').featmap.channel_reduction == 'squeeze_mean'
        elif not code.startswith('# my_reducers.py'):  # which a command above imports
            exec(compile(code, 'README.md', 'exec'), names)
    for name in ('demo_neck.png', 'own_features.png', 'neck.pdf'):
        assert (workplace / name).stat().st_size > 10_000, name
    assert names['features'].shape == (1, 16, 64, 64)
    geometry = names['geometry']
    assert geometry.scale == pytest.approx((0.625, 0.75), abs=0.002)
    assert geometry.offset == pytest.approx((-80, 0), abs=0.3)
    assert geometry.visible == pytest.approx((128, 0, 896, 640), abs=1)


def test_every_link_leads_somewhere():
    for text in (README, CHINESE):
        for link in re.findall(r'\]\(([^)#]+)[^)]*\)', text):
            assert link.startswith('https://') or (ROOT / link).exists(), link
