"""A config file read by MMEngine, whose failures are told in one line with the file at fault."""

from __future__ import annotations

import re
import traceback
import warnings
from pathlib import Path
from types import TracebackType

from mmengine.config import Config

from featmap.errors import ConfigError, FeatMapError, first_line, nearest
from featmap.models.packages import missing_name, missing_package


def read_config(path: Path) -> Config:
    """What ``Config.fromfile`` makes of a file; ``custom_imports`` are left to the caller.

    Both kinds of config can be read, those with ``_base_`` and those with ``read_base``.

    Raises:
        ConfigError: the file or one that it inherits is missing or broken.
        MissingPackageError: it inherits from a package that is not installed.
    """
    with warnings.catch_warnings():
        # MMEngine looks packages up in pkg_resources, which warns at each import of it.
        warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
        try:
            return Config.fromfile(path, import_custom_modules=False)
        # A config is Python code that runs here: anything can be raised.
        except Exception as error:
            raise _explained(error, path) from error


def _explained(error: Exception, path: Path) -> FeatMapError:
    chain = _files_being_read(error.__traceback__) or [str(path)]
    at_fault = chain[-1]
    missing = missing_name(error)
    if missing is not None:
        return missing_package(missing, f"the config '{at_fault}'")
    if isinstance(error, SyntaxError):
        line = _line_of(error)
        where = f', line {line}' if line else ''
        return ConfigError(f"syntax error in the config '{at_fault}'{where}: {_reason(error)}")
    if isinstance(error.__context__ if isinstance(error, UnboundLocalError) else error, RecursionError):
        # MMEngine 0.10.3 fails once more when it tidies up.
        return ConfigError(f"the config '{path}' inherits from itself through its _base_")
    absent = _absent_base(error)
    if absent is not None:
        child = next((name for name in reversed(chain) if Path(name) != absent), str(path))
        return ConfigError(f"the config '{child}' inherits from '{absent}', {_absence(absent)}")
    line = _failed_line(error, at_fault)
    where = f', line {line}' if line else ''
    return ConfigError(f"cannot read the config '{at_fault}'{where}: {type(error).__name__}: {first_line(error)}")


def _files_being_read(trace: TracebackType | None) -> list[str]:
    """The config files that were being read when an error was raised, the outermost first.

    The errors themselves often name a temporary copy, or no file at all.
    """
    files: list[str] = []
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name in ('_file2dict', '_parse_lazy_import', '_is_lazy_import'):
            name = str(frame.f_locals.get('filename'))
            if not files or Path(files[-1]).absolute() != Path(name).absolute():
                files.append(name)
        trace = trace.tb_next
    return files


def _line_of(error: SyntaxError) -> int | None:
    # MMEngine raises a new SyntaxError that has no line, out of the one that has it.
    current: BaseException | None = error
    while isinstance(current, SyntaxError):
        if current.lineno is not None:
            return current.lineno
        current = current.__cause__ or current.__context__
    return None


def _reason(error: SyntaxError) -> str:
    current: BaseException | None = error
    while isinstance(current, SyntaxError) and current.lineno is None:
        current = current.__cause__ or current.__context__
    return current.msg if isinstance(current, SyntaxError) else first_line(error)


def _failed_line(error: Exception, path: str) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == Path(path)]
    return lines[-1] if lines else None


def _absent_base(error: Exception) -> Path | None:
    if isinstance(error, OSError) and error.filename:
        return Path(error.filename)
    found = re.search(r'file "(.+)" does not exist|^(.+) not found! It means', str(error))
    return Path(found.group(1) or found.group(2)) if found else None


def _absence(base: Path) -> str:
    folder = base.parent
    try:
        if base.is_dir():
            return 'which is a folder'
        if base.exists():
            return 'which cannot be opened'
        names = [entry.name for entry in folder.glob('*.py')] if folder.is_dir() else []
    except OSError as error:  # such as for a name that is too long
        return f'which cannot be looked for: {error.strerror}'
    hint = f'; nearest there: {", ".join(nearest(base.name, names))}' if names else ''
    return f'which does not exist{hint}'
