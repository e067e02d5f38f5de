"""featmap without its extra, in an interpreter that cannot find mmdet, mmyolo and mmcv."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import CHECKPOINT, CONFIG, IMAGE, ROOT

# Hides packages from imports and from importlib.util.find_spec alike.
HIDING = """
import contextlib, importlib.metadata, io, json, sys
from importlib.machinery import PathFinder

hidden = json.loads(sys.argv[1])

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition('.')[0] in hidden else super().find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, *args, **kwargs):
        found = super().find_distributions(*args, **kwargs)
        return (each for each in found if each.metadata['Name'] != 'mmcv')

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding

import featmap
from featmap.cli import main

public = [name for name in featmap.__all__ if getattr(featmap, name) is None]
told = []
for argv in json.loads(sys.argv[2]):
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        status = main(argv)
    told.append([status, errors.getvalue()])
loaded = sorted({name.partition('.')[0] for name in sys.modules} & {'mmdet', 'mmyolo', 'mmcv'})
print(json.dumps([public, told, loaded]))
"""

OWN = """
default_scope = 'mmdet'
model = dict(type='RetinaNet')
"""


@pytest.fixture
def without(tmp_path):
    """Run the command on configs where packages are hidden: ``without(names, configs)`` → error lines."""

    def call(names: list[str], configs: list[str]) -> list[str]:
        argv = [
            [str(IMAGE), config, str(CHECKPOINT) if config == str(CONFIG) else 'none', '--out-dir', str(tmp_path)]
            for config in configs
        ]
        command = [sys.executable, '-W', 'ignore', '-c', HIDING, json.dumps(names), json.dumps(argv)]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        environment = {**os.environ, 'PYTHONPATH': path}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        nothing, told, loaded = json.loads(done.stdout)
        assert not nothing
        assert not set(names) & set(loaded)
        lines = []
        for status, errors in told:
            assert status == 2
            (line,) = (line for line in errors.splitlines() if 'error' in line)
            assert errors.splitlines()[-1] == line
            lines.append(line)
        return lines

    return call


def test_without_the_extra_it_imports_and_names_the_extra(without, tmp_path):
    own = tmp_path / 'own.py'
    own.write_text(OWN)
    known = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco'
    bare = 'retinanet_r50_fpn_1x_coco'
    names = ['mmdet', 'mmyolo', 'mmcv']
    lines = without(names, [str(CONFIG), str(own), known, known.replace('mmdet', 'mmyolo'), bare])
    for line in lines:
        assert 'pip install "featmap[mm]"' in line
        assert line.startswith('featmap: error: ')
    wanted = ["'mmcv'", "'mmcv'", "'mmdet'", "'mmyolo'", 'mmyolo and mmdet']
    assert all(name in line for name, line in zip(wanted, lines))


def test_one_of_them_alone_is_named(without):
    (line,) = without(['mmyolo'], [str(CONFIG)])
    assert line.endswith("""needs 'mmyolo', which is not installed; try: pip install "featmap[mm]\"""")
