"""What the README and its neighbours show is run: Python as it stands, commands with the models that are shipped."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from PIL import Image

from featmap.cli import parse_args
from featmap.registry import EXPLAINERS, MODEL_SOURCES, REDUCERS, TARGETS
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, ROOT
from tests.documents import blocks, commands


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding='utf-8')


README, DETECTORS, PYTHON = text_of('README.md'), text_of('docs/recipes/detectors.md'), text_of('docs/python.md')
BOTH = [
    ('README.md', 'README_zh-CN.md'),
    ('docs/recipes/detectors.md', 'docs/recipes/detectors_zh-CN.md'),
    ('docs/python.md', 'docs/python_zh-CN.md'),
    ('docs/options.md', 'docs/options_zh-CN.md'),
]
STANDS_FOR = {'IMG': IMAGE, 'CONFIG': CONFIG, 'CKPT': CHECKPOINT}

COMMANDS = commands(README, STANDS_FOR) + commands(DETECTORS, STANDS_FOR)
# Blocks that begin with the name of a file, which a command imports.
MODULES = {code[2:].partition('\n')[0]: code for code in blocks('python', README) if code.startswith('# my_')}
SHIPPED = (CONFIG.name, 'classifier.py:classifier', 'attic:16')
# All but pipes, which tests/test_demo/test_pipes.py has, and models that are not shipped.
RUNNABLE = [words for words in COMMANDS if words[0] != '-' and any(word.endswith(SHIPPED) for word in words)]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that looks like the repository's root to who reads the README there; nothing stays registered."""
    (tmp_path / 'demo').symlink_to(ROOT / 'demo')
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(tmp_path)
    registries = (REDUCERS, EXPLAINERS, TARGETS)
    for registry in registries:
        registry.import_from_location()
    before = [dict(registry.module_dict) for registry in registries]
    monkeypatch.setattr(sys, 'path', list(sys.path))
    yield tmp_path
    for registry, modules in zip(registries, before):
        registry.module_dict.clear()
        registry.module_dict.update(modules)
    MODEL_SOURCES.module_dict.pop('attic', None)
    for name in ('my_reducers', 'my_models', 'classifier'):
        sys.modules.pop(name, None)


def test_every_method_is_in_the_table_under_its_group():
    EXPLAINERS.import_from_location()
    table = text_of('docs/explanations.md').partition('## Methods')[2].partition('\n## ')[0]
    shown: dict[str, str] = {}
    group = ''
    for row in re.findall(r'^\| (\*\*.*?\*\*|`[^`]+`) \|', table.partition('**Layers and fusing')[0], re.MULTILINE):
        if row.startswith('**'):
            group = row.strip('*')
        else:
            shown[row.strip('`')] = group
    there = {
        name: kind.group for name, kind in EXPLAINERS.module_dict.items() if not kind.__module__.startswith('tests')
    }
    assert shown == there


@pytest.mark.parametrize(('english', 'chinese'), BOTH)
def test_both_languages_show_the_same(english, chinese):
    english, chinese = text_of(english), text_of(chinese)
    assert blocks('console', chinese) == blocks('console', english)
    assert blocks('python', chinese) == blocks('python', english)
    pictures = re.compile(r'\]\(([^)]*\.jpg)\)')
    assert pictures.findall(chinese) == pictures.findall(english)
    for mark in (r'^\|', r'^#+ '):  # rows of tables, headings
        assert len(re.findall(mark, chinese, re.MULTILINE)) == len(re.findall(mark, english, re.MULTILINE))


def test_every_command_is_understood():
    assert len(COMMANDS) > 15
    for words in COMMANDS:
        assert parse_args(words).inputs.image, words
    assert len(RUNNABLE) > 10


@pytest.mark.parametrize('words', RUNNABLE, ids=lambda words: ' '.join(words[3:])[:60])
def test_every_command_runs(words, run, workplace, monkeypatch):
    (workplace / 'labels').mkdir()
    (workplace / 'labels' / 'demo.txt').write_text('0 0.486 0.192 0.046 0.097\n', encoding='utf-8')
    for name, code in MODULES.items():
        (workplace / name).write_text(code, encoding='utf-8')
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
        elif code not in MODULES.values():
            exec(compile(code, 'README.md', 'exec'), names)
    for name in ('demo_neck.png', 'object.png', 'neck.pdf'):
        assert (workplace / name).stat().st_size > 10_000, name


def test_the_python_beneath_runs(workplace):
    names: dict[str, object] = {}
    for code in blocks('python', PYTHON):
        exec(compile(code, 'python.md', 'exec'), names)
    for name in ('own_features.png', 'smallest.png'):
        assert (workplace / name).stat().st_size > 10_000, name
    smallest = names['why'].explanations[0]
    assert smallest.method == 'signed'
    sides = names['why'].predictions.boxes[:, 2:] - names['why'].predictions.boxes[:, :2]
    assert smallest.index == sides.prod(axis=1).argmin()
    assert np.asarray(names['maps'])[0].shape == names['why'].heat.shape
    assert names['features'].shape == (1, 16, 64, 64)
    geometry = names['geometry']
    assert geometry.scale == pytest.approx((0.625, 0.75), abs=0.002)
    assert geometry.offset == pytest.approx((-80, 0), abs=0.3)
    assert geometry.visible == pytest.approx((128, 0, 896, 640), abs=1)


def test_every_link_leads_somewhere():
    for name in (name for pair in BOTH for name in pair):
        for link in re.findall(r'\]\(([^)#]+)[^)]*\)', text_of(name)):
            assert link.startswith('https://') or ((ROOT / name).parent / link).exists(), (name, link)
