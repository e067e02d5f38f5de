"""Which file a config's name means: a path, a scoped name, or a packaged config's bare name."""

from __future__ import annotations

import importlib.util
from difflib import SequenceMatcher
from pathlib import Path

from featmap.errors import ConfigError, nearest
from featmap.models.packages import missing_package, package_of

SCOPES = ('mmyolo', 'mmdet', 'mmseg', 'mmpretrain')
SUFFIXES = ('.py', '.json', '.yaml', '.yml')
_CHECKPOINT_SUFFIXES = ('.pth', '.pt', '.ckpt', '.pkl', '.safetensors')
_CHECKOUT = Path(__file__).resolve().parents[3]


def find_config(name: str | Path) -> Path:
    """The file that a config's name means.

    A file of that name comes first. Then a name with ``::`` is looked up in the package before it,
    and any other among this repository's ``configs/`` and after that in the configs that installed
    packages of OpenMMLab's ship. The suffix ``.py`` may be left out, and so may leading folders.

    Raises:
        ConfigError: there is no such config, or the name fits several.
        MissingPackageError: the package before ``::`` is not installed.
    """
    text = str(name)
    path = Path(name).expanduser()
    if not text:
        raise ConfigError('the config is empty; give a path or the name of a packaged config')
    if path.is_file():
        return _checked_suffix(path)
    if path.is_dir():
        raise ConfigError(f"'{text}' is a folder; give one config file{_inside(path)}")
    if '::' in text:
        return _find_scoped(text)
    if not path.is_absolute():
        for known in (_own_configs(), _all_packaged()):
            found = _matching(text, known)
            if len(found) > 1:
                raise ConfigError(f"the config name '{text}' is ambiguous; give one of {_quoted(found)}")
            if found:
                return known[found[0]]
    raise ConfigError(_not_found(text, path))


def packaged_configs(scope: str, wanted_by: str) -> dict[str, Path]:
    """The configs that a package ships: scoped name without ``.py`` → file.

    Raises:
        ConfigError: the scope is unknown, or its package was installed without configs.
        MissingPackageError: the package is not installed.
    """
    root = _package_root(scope, wanted_by)
    return {f'{scope}::{name}': file for name, file in _configs_under(root).items()}


def _package_root(scope: str, wanted_by: str) -> Path:
    # find_spec does not import a top-level package: mmdet alone would take seconds.
    spec = importlib.util.find_spec(scope) if scope.isidentifier() else None
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        if package_of(scope):
            raise missing_package(scope, wanted_by)
        scopes = ', '.join(f'{scope}::' for scope in SCOPES)
        raise ConfigError(f"{wanted_by}: there is no package '{scope}'; there are {scopes}")
    for folder in folders:
        root = Path(folder) / '.mim' / 'configs'
        if root.is_dir():
            return root
    raise ConfigError(
        f"{wanted_by}: the installed '{scope}' has no packaged configs (.mim/configs); give the path of a config file"
    )


def _find_scoped(text: str) -> Path:
    scope, _, name = _without_suffix(text).partition('::')
    wanted_by = f"the config '{text}'"
    exact = _package_root(scope, wanted_by) / f'{name}.py'
    if exact.is_file():
        return exact
    known = packaged_configs(scope, wanted_by)
    found = _matching(name, known)
    if len(found) == 1:
        return known[found[0]]
    if found:
        raise ConfigError(f"the config name '{text}' is ambiguous; give one of {_quoted(found)}")
    raise ConfigError(f"'{scope}' has no config '{text}'; nearest: {_quoted(_nearest_configs(text, known))}")


def _configs_under(root: Path) -> dict[str, Path]:
    """Relative name without ``.py`` → file. ``_base_`` holds parts of configs, no whole ones."""
    return {
        file.relative_to(root).with_suffix('').as_posix(): file
        for file in sorted(root.rglob('*.py'))
        if '_base_' not in file.relative_to(root).parts
    }


def _own_configs() -> dict[str, Path]:
    root = _CHECKOUT / 'configs'
    # Installed as a package, the folder beside featmap is site-packages: its configs/ is not ours.
    if not root.is_dir() or not (_CHECKOUT / 'pyproject.toml').is_file():
        return {}
    return {f'configs/{name}': file for name, file in _configs_under(root).items()}


def _all_packaged() -> dict[str, Path]:
    known: dict[str, Path] = {}
    for scope in SCOPES:
        if importlib.util.find_spec(scope) is not None:
            known.update(packaged_configs(scope, f'the scope {scope}::'))
    return known


def _matching(text: str, known: dict[str, Path]) -> list[str]:
    """The known names that end in ``text``, whole path components counted."""
    wanted = _without_suffix(text)
    return [name for name in known if _tail(name).endswith(f'/{wanted}')]


def _tail(name: str) -> str:
    # OpenMMLab's own documentation writes packaged configs as configs/yolov5/….
    return '/configs/' + name.partition('::')[2] if '::' in name else '/' + name


def _not_found(text: str, path: Path) -> str:
    if path.is_absolute() or text.startswith('.') or (path.parent != Path() and path.parent.is_dir()):
        if not path.parent.is_dir():
            return f"the config file '{text}' does not exist, nor does its folder"
        return f"the config file '{text}' does not exist{_inside(path.parent, like=path.name)}"
    known = {**_all_packaged(), **_own_configs()}
    absent = [scope for scope in SCOPES if importlib.util.find_spec(scope) is None]
    nearest_known = f'; nearest: {_quoted(_nearest_configs(text, known))}' if known else ''
    if path.parent == Path() and not path.suffix and '::' not in text:
        nearest_known += f'; models of timm and torchvision are called timm:{text} and torchvision:{text}'
    commands = dict.fromkeys(f'{package_of(scope)}' for scope in absent)  # one may bring several
    more = f'; more come with {" and ".join(absent)}: {", ".join(commands)}' if absent else ''
    return f"the config '{text}' is neither a file nor a packaged config{nearest_known}{more}"


def _nearest_configs(text: str, known: dict[str, Path]) -> list[str]:
    # Compared by file name: the folders before it would drown the difference.
    wanted = _stem(_without_suffix(text))

    def likeness(name: str) -> tuple[float, int]:
        # Most names are far longer than what people type, which is often their beginning.
        stem = _stem(name)
        whole, start = (SequenceMatcher(None, text, wanted).ratio() for text in (stem, stem[: len(wanted)]))
        return max(whole, start), -len(stem)

    return sorted(known, key=likeness, reverse=True)[:3]


def _inside(folder: Path, like: str = '') -> str:
    """The end of a message: the configs of a folder, those most like ``like`` first."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in SUFFIXES)
    if like:
        names = nearest(like, names)
    return f'; there is {_quoted(names[:3])}' if names else '; that folder has no config'


def _checked_suffix(path: Path) -> Path:
    if path.suffix in SUFFIXES:
        return path
    if path.suffix in _CHECKPOINT_SUFFIXES:
        raise ConfigError(f"'{path}' looks like a checkpoint, not a config; the order is IMG CONFIG CHECKPOINT")
    raise ConfigError(f"'{path}' is no config: expected a file ending in {', '.join(SUFFIXES)}")


def _stem(name: str) -> str:
    return name.replace('::', '/').rpartition('/')[2]


def _without_suffix(text: str) -> str:
    return text[:-3] if text.endswith('.py') else text


def _quoted(names: list[str]) -> str:
    return ', '.join(f"'{name}'" for name in names)
