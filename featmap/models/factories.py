"""Functions by the names that a user gives them: ``path/to/file.py:function``, ``package.module:function``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from featmap.errors import ConfigError, FeatMapError, first_line, nearest
from featmap.models.packages import missing_name, missing_package, package_of


def find_object(name: str) -> Any:
    """What a name with a colon stands for.

    Raises:
        ConfigError: there is no such file, module or name in it, or it cannot be imported.
        MissingPackageError: it needs a known package that is not installed.
    """
    place, _, attribute = name.rpartition(':')
    return attribute_of(import_place(place), attribute, place)


def attribute_of(module: ModuleType, attribute: str, place: str) -> Any:
    """What a module has under a name; ``place`` is what it is called in messages.

    Raises:
        ConfigError: where it has nothing of that name, with the nearest that it has.
    """
    if not hasattr(module, attribute):
        own = [each for each in vars(module) if not each.startswith('_') and callable(getattr(module, each))]
        hint = f'; nearest: {", ".join(nearest(attribute, own))}' if own else ''
        raise ConfigError(f'{place} has no {attribute!r}{hint}')
    return getattr(module, attribute)


def import_place(place: str) -> ModuleType:
    """The module of a ``.py`` file or of a dotted name, which may lie in the working directory.

    A file is run once, under a name of its own, or, in a package, under the package's name for it. What lies beside the
    file or its package can be imported by it, also when its functions run: the folder stays on the path, as its last.

    Raises:
        ConfigError: see :func:`find_object`.
        MissingPackageError: see :func:`find_object`.
    """
    if not place.endswith('.py'):
        return _imported(place, Path.cwd(), lambda: importlib.import_module(place))
    path = Path(place).expanduser().resolve()
    name = f'featmap_own_{path.parent.name}_{path.stem}_{abs(hash(str(path))):x}'
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ConfigError(f"there is no file '{place}': expected file.py:factory, or package.module:factory")
    root, dotted = _in_package(path)
    return _imported(place, root, lambda: _run_in_package(dotted, path) or _run_file(name, path))


def _in_package(path: Path) -> tuple[Path, str]:
    """The folder that holds the outermost package of a file, and the dotted name of the file there, '' outside any."""
    names, folder = [] if path.stem == '__init__' else [path.stem], path.parent
    while (folder / '__init__.py').is_file() and folder.name.isidentifier() and folder != folder.parent:
        names.append(folder.name)
        folder = folder.parent
    return folder, '.'.join(reversed(names)) if folder != path.parent else ''


def _run_in_package(dotted: str, path: Path) -> ModuleType | None:
    """A file of a package, whose relative imports work; None where that name means another module already."""
    if not dotted:
        return None
    try:
        spec = importlib.util.find_spec(dotted)
    except ModuleNotFoundError as error:
        if not f'{dotted}.'.startswith(f'{error.name}.'):
            raise
        return None
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != path:
        return None
    return importlib.import_module(dotted)


def _run_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look it up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _imported(place: str, folder: Path, run: Callable[[], ModuleType]) -> ModuleType:
    entry = str(folder)
    added = entry not in sys.path
    if added:
        sys.path.append(entry)
    importlib.invalidate_caches()
    try:
        module = run()
    except FeatMapError:
        raise
    # The module is the user's own code, so it can fail in any way.
    except Exception as error:
        if added:
            sys.path.remove(entry)
        missing = missing_name(error)
        if missing is not None and package_of(missing):
            raise missing_package(missing, f"'{place}'") from error
        hint = ''
        if isinstance(error, ImportError) and 'relative import' in str(error) and place.endswith('.py'):
            inside = f'{Path(place).resolve().parent.name}.{Path(place).stem}:…'
            hint = f'; as part of a package it is {inside}, named so in the folder above'
        raise ConfigError(f"'{place}' cannot be imported: {type(error).__name__}: {first_line(error)}{hint}") from error
    return module
