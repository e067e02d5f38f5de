import sys

import pytest

from featmap.errors import ConfigError, FeatMapError, MissingPackageError
from featmap.models.custom_imports import import_custom_modules, module_names


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Writes modules into a config's folder, which is not the working directory. Forgets them afterwards."""
    (tmp_path / 'cwd').mkdir()
    monkeypatch.chdir(tmp_path / 'cwd')
    folder = tmp_path / 'config'
    folder.mkdir()
    written = []

    def write(text, name, where=folder):
        (where / f'{name}.py').write_text(text)
        written.append(name)
        return where

    yield write
    for name in written:
        sys.modules.pop(name, None)


def refused(custom_imports, folder, kind=ConfigError):
    with pytest.raises(FeatMapError) as caught:
        import_custom_modules(custom_imports, folder)
    assert type(caught.value) is kind
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ('value', 'names'),
    [
        (None, []),
        ('', []),
        ('a', ['a']),
        ('a, b.c', ['a', 'b.c']),
        (['a', 'b'], ['a', 'b']),
        ({'imports': ['a', 'b']}, ['a', 'b']),
        ({'imports': 'a'}, ['a']),
        ({}, []),
    ],
)
def test_module_names(value, names):
    assert module_names(value) == names


@pytest.mark.parametrize('value', [3, [3], {'imports': 3}])
def test_module_names_of_something_else(value):
    with pytest.raises(ConfigError, match='custom_imports is'):
        module_names(value)


def test_imports_from_the_configs_folder_and_the_working_directory(modules, tmp_path):
    folder = modules('value = 1', 'featmap_test_beside')
    modules('value = 2', 'featmap_test_here', where=tmp_path / 'cwd')
    path = list(sys.path)

    import_custom_modules('featmap_test_beside,featmap_test_here', folder)

    assert sys.modules['featmap_test_beside'].value == 1
    assert sys.modules['featmap_test_here'].value == 2
    assert sys.path == path


def test_cannot_shadow_what_is_installed(modules):
    folder = modules('raise RuntimeError("the wrong one")', 'colorsys')

    import_custom_modules('colorsys', folder)

    assert not sys.modules['colorsys'].__file__.startswith(str(folder))


def test_names_the_module_that_fails(modules):
    path = list(sys.path)

    message = refused({'imports': ['featmap_test_absent']}, None)
    assert "cannot import 'featmap_test_absent'" in message
    folder = modules('1 / 0', 'featmap_test_failing')
    message = refused('featmap_test_failing', folder)
    assert "cannot import 'featmap_test_failing' (ZeroDivisionError" in message
    assert sys.path == path


def test_a_module_that_needs_a_known_package(modules):
    folder = modules('import mmpretrain.models', 'featmap_test_needy')

    message = refused('featmap_test_needy', folder, MissingPackageError)
    assert 'featmap_test_needy' in message
    assert 'pip install mmpretrain' in message


def test_a_failure_can_be_allowed():
    with pytest.warns(UserWarning, match="cannot import 'featmap_test_absent'"):
        import_custom_modules({'imports': ['featmap_test_absent'], 'allow_failed_imports': True})
