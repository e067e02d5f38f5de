"""The recipes are run as they are written: commands, Python, and the notebook cell by cell."""

from __future__ import annotations

import ast
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.documents import blocks, commands

FOLDER = ROOT / 'docs' / 'recipes'
# Those for detectors go with the README: see tests/test_readme.py.
RECIPES = {
    path.stem: path.read_text(encoding='utf-8')
    for path in sorted(FOLDER.glob('*.md'))
    if path.stem not in ('README', 'detectors', 'detectors_zh-CN')
}
CALLS = [(name, words) for name, text in RECIPES.items() for words in commands(text) if name != 'logger']
NOTEBOOK = json.loads((FOLDER / 'notebook.ipynb').read_text(encoding='utf-8'))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that looks like the repository's root."""
    for name in ('demo', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    yield tmp_path
    sys.modules.pop('classifier', None)


def written(folder):
    return [path for path in folder.rglob('*') if path.is_file() and not path.is_symlink() and path.suffix != '.json']


@pytest.mark.parametrize(('name', 'words'), CALLS, ids=[f'{name}-{words[-1]}' for name, words in CALLS])
def test_every_command_runs(name, words, run, workplace):
    done = run(*words)
    assert done.status == 0, done.err
    paths = [workplace / line for line in done.out.splitlines() if line.endswith(('.png', '.jpg'))]
    assert paths
    assert {path.resolve() for path in paths} <= {path.resolve() for path in written(workplace)}
    for path in paths:
        with Image.open(path) as picture:
            assert np.asarray(picture).std() > 5, path
    if '--figure' in words:
        assert (workplace / words[words.index('--figure') + 1]).stat().st_size > 10_000


@pytest.mark.parametrize('name', [name for name, text in RECIPES.items() if blocks('python', text)])
def test_all_python_runs(name, workplace):
    names: dict[str, object] = {}
    for code in blocks('python', RECIPES[name]):
        exec(compile(code, f'{name}.md', 'exec'), names)
    if name == 'channels':
        assert names['features'].shape == (128, 12, 12)
        assert len(set(names['strongest'].tolist())) == 8


def test_the_event_files_hold_a_tag_a_layer(run, workplace):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (words,) = commands(RECIPES['logger'])
    assert run(*words).status == 0
    exec(compile(blocks('python', RECIPES['logger'])[0], 'logger.md', 'exec'), {})
    found = {}
    for folder in ('runs', 'runs_training'):
        events = EventAccumulator(str(next((workplace / folder).rglob('events.out.tfevents.*')).parent))
        events.Reload()
        found[folder] = {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()['images']}
    assert len(found['runs']) > 20
    assert all(tag.startswith('demo/backbone.') and steps == [0] for tag, steps in found['runs'].items())
    assert found['runs_training'] == {'demo/0': [0, 100, 200], 'demo/2': [0, 100, 200]}


@pytest.mark.filterwarnings('ignore:enable_nested_tensor')
def test_the_notebook_runs_and_shows_its_results(workplace):
    cells = [cell for cell in NOTEBOOK['cells'] if cell['cell_type'] == 'code']
    assert all(not cell['outputs'] and cell['execution_count'] is None for cell in cells)
    names: dict[str, object] = {}
    shown = []
    for cell in cells:
        tree = ast.parse(''.join(cell['source']))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, 'notebook.ipynb', 'exec'), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), 'notebook.ipynb', 'eval'), names))
    pictures = [value for value in shown if hasattr(value, '_repr_png_')]
    assert len(pictures) == len(shown) - 1 == 7
    for picture in pictures:
        assert picture._repr_png_().startswith(b'\x89PNG')
        assert len(repr(picture)) < 200
    shape, found = next(value for value in shown if isinstance(value, tuple))
    assert shape == (128, 12, 12)
    assert 'lighthouse' in repr(found)


def test_every_picture_and_link_is_there():
    for path in FOLDER.glob('*.md'):
        for link in re.findall(r'\]\(([^)#]+)[^)]*\)', path.read_text(encoding='utf-8')):
            assert link.startswith('https://') or (FOLDER / link).exists(), link


def test_the_gallery_shows_every_picture():
    gallery = (ROOT / 'docs' / 'gallery.md').read_text(encoding='utf-8')
    images = ROOT / 'docs' / 'images'
    pictures = [*(images / 'recipes').iterdir(), *(images / 'gallery').iterdir()]
    assert len(pictures) > 25
    for picture in pictures:
        assert f'](images/{picture.relative_to(images).as_posix()})' in gallery, picture
        assert picture.stat().st_size <= 250_000, picture
