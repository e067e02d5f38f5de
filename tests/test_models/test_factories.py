from __future__ import annotations

import sys

import pytest

from featmap.errors import ConfigError, MissingPackageError
from featmap.models.factories import find_object, import_place


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / 'beside.py').write_text('WIDTH = 7\n')
    (tmp_path / 'nets.py').write_text(
        'from dataclasses import dataclass\n'
        'import beside\n'
        '@dataclass\nclass Net:\n    width: int = beside.WIDTH\n'
        'def small(): return Net(1)\n'
    )
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    # What lies beside code that was imported can be imported when it runs, too, but hides nothing.
    assert sys.path[: len(path)] == path
    assert all(entry.startswith(str(tmp_path)) for entry in sys.path[len(path) :])
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith('featmap_own_') or name.partition('.')[0] in ('nets', 'beside', 'kit'):
            del sys.modules[name]


@pytest.mark.parametrize('name', ['nets.py:Net', '{folder}/nets.py:Net', 'nets:Net'])
def test_a_function_of_a_file_or_a_module(folder, name):
    assert find_object(name.format(folder=folder))().width == 7


def test_a_function_imports_what_lies_beside_it_when_it_runs(folder, monkeypatch):
    (folder / 'late.py').write_text('def width():\n    import beside\n    return beside.WIDTH\n')
    monkeypatch.chdir(folder.parent)
    assert find_object(f'{folder}/late.py:width')() == 7


@pytest.fixture
def kit(folder):
    (folder / 'kit' / 'inner').mkdir(parents=True)
    for name in ('kit', 'kit/inner'):
        (folder / name / '__init__.py').touch()
    (folder / 'kit' / 'sizes.py').write_text('WIDTH = 9\n')
    (folder / 'kit' / 'inner' / 'net.py').write_text(
        'from ..sizes import WIDTH\nclass Net:\n    def __init__(self): self.width = WIDTH\n'
    )
    return folder


def test_a_file_of_a_package_imports_its_neighbours(kit):
    net = find_object(f'{kit}/kit/inner/net.py:Net')
    assert net().width == 9
    assert net is find_object('kit.inner.net:Net')


def test_a_file_of_a_package_whose_name_is_taken(kit):
    (kit / 'json' / 'inner').mkdir(parents=True)
    for name in ('json', 'json/inner'):
        (kit / name / '__init__.py').touch()
    (kit / 'json' / 'inner' / 'net.py').write_text('width = 5\n')
    assert find_object('json/inner/net.py:width') == 5


def test_a_package_without_init_says_how_to_name_it(kit):
    (kit / 'kit' / 'inner' / '__init__.py').unlink()
    with pytest.raises(ConfigError, match=r'relative import.*as part of a package it is inner.net:…'):
        find_object('kit/inner/net.py:Net')


def test_a_file_is_run_once(folder):
    assert import_place('nets.py') is import_place(f'{folder}/nets.py')


def test_a_file_hides_no_module_of_its_name(folder):
    (folder / 'json.py').write_text('x = 1\n')
    import json

    assert import_place('json.py').x == 1
    assert sys.modules['json'] is json


@pytest.mark.parametrize(
    ('name', 'kind', 'match'),
    [
        ('missing.py:net', ConfigError, "no file 'missing.py': expected file.py:factory"),
        ('nets.py:smal', ConfigError, "nets.py has no 'smal'; nearest: small"),
        ('no_such_module_here:net', ConfigError, "'no_such_module_here' cannot be imported: ModuleNotFoundError"),
        ('broken.py:net', ConfigError, "'broken.py' cannot be imported: ZeroDivisionError: division by zero"),
        ('wants.py:net', MissingPackageError, "'wants.py' needs 'fairscale', which is not installed; try: pip"),
    ],
)
def test_what_cannot_be_had(folder, name, kind, match):
    (folder / 'broken.py').write_text('1 / 0\n')
    (folder / 'wants.py').write_text('import fairscale\n')
    with pytest.raises(kind, match=match) as caught:
        find_object(name)
    assert '\n' not in str(caught.value)


def test_one_that_failed_is_run_again(folder):
    (folder / 'mended.py').write_text('1 / 0\n')
    with pytest.raises(ConfigError):
        import_place('mended.py')
    (folder / 'mended.py').write_text('x = 2\n')
    assert import_place('mended.py').x == 2
