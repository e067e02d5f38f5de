"""The modules that a config asks to import (``custom_imports``), so that they register their classes."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featmap.errors import ConfigError, FeatMapError, first_line
from featmap.models.packages import missing_name, missing_package, package_of


def import_custom_modules(custom_imports: Any, folder: Path | None = None) -> None:
    """Import what a config's ``custom_imports`` names.

    A module is looked for where Python looks, then in the working directory, then in the config's
    folder; the last two only while these imports run.

    Args:
        custom_imports: MMEngine's ``dict(imports=[...], allow_failed_imports=False)``, or only the
            names: one, several separated by commas, or a list.
        folder: the config's folder.

    Raises:
        ConfigError: a module cannot be imported, or the value has another form.
        MissingPackageError: a module needs a known package that is not installed.
    """
    names = module_names(custom_imports)
    if not names:
        return
    allow_failed = isinstance(custom_imports, dict) and bool(custom_imports.get('allow_failed_imports'))
    with _import_path(folder):
        for name in names:
            try:
                _import(name)
            except FeatMapError as error:
                if not allow_failed:
                    raise
                warnings.warn(f'{error} (allow_failed_imports is set)', stacklevel=2)


def module_names(custom_imports: Any) -> list[str]:
    """The names in any form of ``custom_imports``.

    Raises:
        ConfigError: the value has none of the forms.
    """
    names = custom_imports
    if isinstance(names, dict):
        names = names.get('imports')
    if names is None:
        return []
    if isinstance(names, str):
        names = names.split(',')
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"custom_imports is {custom_imports!r}; expected a module's name, a list of them, or dict(imports=[...])"
        )
    return [name.strip() for name in names if name.strip()]


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except FeatMapError:
        raise
    # The module is the user's own code, so it can fail in any way.
    except Exception as error:
        missing = missing_name(error)
        if missing is not None and package_of(missing):
            raise missing_package(missing, f"custom_imports: '{name}'") from error
        raise ConfigError(
            f"custom_imports: cannot import '{name}' "
            f'({type(error).__name__}: {first_line(error)}); it is looked for on the Python path, '
            "in the working directory and in the config's folder"
        ) from error


@contextmanager
def _import_path(folder: Path | None) -> Iterator[None]:
    """Make the working directory and ``folder`` importable, behind everything installed."""
    added = [str(Path.cwd())] + ([str(folder.resolve())] if folder is not None else [])
    sys.path.extend(added)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        # The last of each: the same folder may have been on the path before.
        for entry in added:
            if entry in sys.path:
                del sys.path[len(sys.path) - 1 - sys.path[::-1].index(entry)]
