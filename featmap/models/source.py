"""What a source of models is, and which one a name stands for."""

from __future__ import annotations

import ast
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from mimetypes import guess_type
from pathlib import Path
from typing import Any, ClassVar

from mmengine.config import Config
from torch import nn

from featmap.errors import ConfigError, OptionError, nearest
from featmap.models.custom_imports import import_custom_modules
from featmap.models.protocol import AnyModel
from featmap.models.sources import MODULES, UNNAMED
from featmap.options import OPTIONS, Run
from featmap.registry import MODEL_SOURCES
from featmap.wording import option as written

# Letters before a single colon; one letter is a drive of Windows, two colons are a scope of OpenMMLab's.
_PREFIXED = re.compile(r'([a-z][\w-]+):(?!:)(.*)', re.IGNORECASE | re.DOTALL)
_FACTORY = re.compile(r'(?:.*\.py|[^\W\d][\w.]*):[^\W\d]\w*', re.DOTALL)
_DOTTED = re.compile(r'[^\W\d]\w*(?:\.[^\W\d]\w*)+')
_CONFIGS = '.py', '.json', '.yml', '.yaml'
_EXPORTED = ('.pt2', '.pt', '.pth', '.ts', '.torchscript')
# Of any source; the others are of some.
_OF_ALL = {'device', 'amp', 'trust_checkpoint', 'debug', 'cfg_options'}


@dataclass(frozen=True)
class Request:
    """The model that is asked for.

    Attributes:
        name: What it is called by its source: ``resnet50`` of ``timm:resnet50``.
        checkpoint: A path, a URL, or a word that the source knows; None for random weights, the same each time.
        module: The module, where it is built already.
        config: A config of OpenMMLab, where there is one.
        overrides: Of that config, by dotted key.
    """

    name: str = ''
    checkpoint: str | Path | None = None
    module: nn.Module | None = None
    config: str | Path | Config | None = None
    overrides: Mapping[str, Any] | None = None


class ModelSource(ABC):
    """Where models come from: register a subclass in ``MODEL_SOURCES`` under the prefix of its models' names.

    Nothing heavy is to be done before :meth:`open`.

    Args:
        request: The model that is asked for.

    Raises:
        FeatMapError: for a name that the source can tell at once to be none.
    """

    kind: ClassVar[str] = 'a model of this kind'
    """What its models are called in messages."""
    takes: ClassVar[frozenset[str]] = frozenset()
    """Which options of the model it has a use for, besides those that all have."""

    def __init__(self, request: Request) -> None:
        self.request = request

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of a run that come with the model, such as those of a config; the caller's own win."""
        return {}

    @abstractmethod
    def open(self, run: Run) -> AnyModel:
        """Build the model, load its weights and put it on its device, in eval mode.

        Raises:
            FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.
        """

    def check(self, run: Run) -> None:
        """Refuse options that would have no effect on a model of this source."""
        for name in run.given:
            known = OPTIONS[name].group != 'model' or name in _OF_ALL or name in self.takes
            if not known and run.asks(name):
                raise OptionError(f'{written(name)} has no effect on {self.kind}')


def find_source(
    config: str | Path | Config | None,
    checkpoint: str | Path | None,
    model: nn.Module | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> ModelSource:
    """The source of a model.

    Args:
        config: ``prefix:name`` of a registered source, ``file.py:factory`` or ``package.module:factory``, a file of
            ``torch.export``, or whatever :func:`featmap.models.openmmlab.config.load_config` takes.
        checkpoint: As for :class:`Request`.
        model: A module that is built already; with a config it is a model of OpenMMLab.
        overrides: Of a config; the modules that ``custom_imports`` names are imported for any model.

    Raises:
        FeatMapError: where nothing is called so.
    """
    if not isinstance(model, (nn.Module, type(None))):
        raise OptionError(f'{type(model).__name__} was given as the model: expected an nn.Module')
    request = {'checkpoint': checkpoint, 'module': model}
    if model is not None and config is None and hasattr(model, 'data_preprocessor'):
        config = getattr(model, 'cfg', None)  # where MMDetection's and MMPretrain's own functions leave it
        if not isinstance(config, Config):
            raise OptionError(f'a config is needed beside a {type(model).__name__}: its test pipeline feeds it')
    if model is not None and config is None:
        _import_modules(overrides)
        return _built('memory', Request(**request))  # type: ignore[arg-type]
    if config is None:
        raise OptionError('a config, the name of a model, or model=, a module, is needed')
    if _PREFIXED.fullmatch(str(config)) and not Path(str(config)).exists():
        _import_modules(overrides)  # one of which may register the source
    prefix, name = _split(str(config)) if isinstance(config, (str, Path)) else ('openmmlab', '')
    if prefix == 'openmmlab':
        return _built(prefix, Request(config=config, overrides=overrides, **request))  # type: ignore[arg-type]
    if model is not None:
        raise OptionError(f'model= was given beside {str(config)!r}, which names another one: give either')
    _import_modules(overrides)
    return _built(prefix, Request(name, **request))  # type: ignore[arg-type]


def _import_modules(overrides: Mapping[str, Any] | None) -> None:
    """Import what registers sources and reducers of one's own, where there is no config that could say so.

    Raises:
        OptionError: for anything else, which there is no config for.
    """
    others = [key for key in overrides or {} if key.partition('.')[0] != 'custom_imports']
    if others:
        raise OptionError(
            f'{written("cfg_options")} {others[0]} has no effect: this model has no config; only custom_imports, which '
            'names modules to import, is for any model'
        )
    import_custom_modules((overrides or {}).get('custom_imports'))


def _split(text: str) -> tuple[str, str]:
    """The prefix of a source and what stands behind it."""
    found = _PREFIXED.fullmatch(text)
    if found and found[1] in _known() and not Path(text).exists():
        return found[1], found[2]
    if _FACTORY.fullmatch(text):
        module = text.rpartition(':')[0]
        if module.endswith('.py') or '.' in module or _is_module(module):
            return 'own', text
    if found and not Path(text).exists():
        known = sorted(_known() - {*UNNAMED})
        raise ConfigError(
            f'no source of models is called {found[1]!r}; nearest: {", ".join(nearest(found[1], known))}; known: '
            f'{", ".join(f"{name}:…" for name in known)}, file.py:factory, package.module:factory, and configs'
        )
    if text.endswith('.py') and (makers := _makers_in(Path(text).expanduser())):
        raise ConfigError(
            f'{text!r} is no config but Python code: name what makes the model, such as {text}:{makers[0]}'
        )
    if text.lower().endswith(_EXPORTED):
        return 'exported', text
    if (
        _DOTTED.fullmatch(text)
        and not text.endswith(_CONFIGS)
        and guess_type(text)[0] is None  # a path of an image
        and not Path(text).exists()
        and _is_module(text.partition('.')[0])
    ):
        place, _, factory = text.rpartition('.')
        raise ConfigError(f'{text!r} is no config: a colon stands before what makes the model, as in {place}:{factory}')
    return 'openmmlab', text


def _makers_in(path: Path) -> list[str]:
    """What a file of code defines, likeliest to make a model first; nothing for a config, which assigns values."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # whatever it is, it is told where it is read
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    assigned = {target.id for target in targets if isinstance(target, ast.Name)}
    inherits = any('read_base' in ast.dump(node) for node in body if isinstance(node, ast.With))
    if inherits or assigned & {'model', '_base_'}:
        return []
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    classes = [node.name for node in body if isinstance(node, ast.ClassDef)]
    named = [name for name in functions if re.search('model|net|build|create|make', name) or _like(name, classes)]
    return [name for name in (*named, *reversed(classes), *functions) if not name.startswith('_')]


def _like(name: str, classes: Sequence[str]) -> bool:
    return any(name.replace('_', '').lower() == each.lower() for each in classes)


def _is_module(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _known() -> set[str]:
    """The prefixes of all sources, those of one's own among them."""
    return {*MODEL_SOURCES.module_dict, *MODULES}


def _built(prefix: str, request: Request) -> ModelSource:
    # Not by the registry alone, which would import every source.
    if prefix not in MODEL_SOURCES.module_dict:
        import_module(f'featmap.models.sources.{MODULES[prefix]}')
    return MODEL_SOURCES.module_dict[prefix](request)
