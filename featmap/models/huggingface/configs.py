"""Where the config of a model lies: in a folder, in a file, on the Hub; or the default one of a model type."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featmap.errors import ConfigError, FeatMapError, first_line, nearest
from featmap.models.libraries import import_library
from featmap.wording import option as written

CONFIG = 'config.json'
_PROCESSOR = ('preprocessor_config.json', 'processor_config.json')
_SAFE, _PICKLED = 'model*.safetensors*', 'pytorch_model*.bin*'
_EXPECTED = (
    f'expected a folder with {CONFIG}, as save_pretrained writes it, a name on the Hugging Face Hub, or a type of '
    'model such as hf:vit'
)


@dataclass(frozen=True)
class Place:
    """Where a model comes from.

    Attributes:
        name: As the user gave it, with the prefix of the source.
        folder: With the config, and what lies beside it; None where it is a type of model alone.
        kind: The type of model, where it is one alone.
    """

    name: str
    folder: Path | None = None
    kind: str = ''

    @property
    def has_processor(self) -> bool:
        """Whether an image processor lies beside the config."""
        return self.folder is not None and any((self.folder / name).is_file() for name in _PROCESSOR)


def find_place(transformers: Any, name: str, with_weights: bool, trust: bool) -> Place:
    """The place of a model; from the Hub what is needed is fetched into its cache.

    Args:
        transformers: The package.
        name: A folder, its ``config.json``, a type of model, or a name on the Hub.
        with_weights: Whether the weights are needed, too.
        trust: Whether pickled weights, and Python files for the model, may be fetched.

    Raises:
        ConfigError: there is no such thing, or the Hub cannot be reached.
    """
    shown, path = f'hf:{name}', Path(name).expanduser()
    if path.is_dir():
        if not (path / CONFIG).is_file():
            raise ConfigError(f"the folder '{path}' has no {CONFIG}: {_EXPECTED}")
        return Place(shown, path)
    if path.is_file():
        if path.name != CONFIG:
            raise ConfigError(f"'{path}' is no {CONFIG}: {_EXPECTED}")
        return Place(shown, path.parent)
    if name in transformers.CONFIG_MAPPING:
        return Place(shown, kind=name)
    if not name or name.startswith(('.', '~', os.sep)) or name.count('/') > 1 or '\\' in name:
        raise ConfigError(f"'{shown}': there is no folder '{path}'; {_EXPECTED}")
    return Place(shown, _fetched(transformers, name, with_weights, trust))


def _fetched(transformers: Any, name: str, with_weights: bool, trust: bool) -> Path:
    hub = import_library('huggingface_hub', f"the model 'hf:{name}'")
    wanted = ['*.json', *(['*.py'] if trust else []), *([_SAFE] if with_weights else [])]
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=wanted))
        if with_weights and not any(folder.glob(_SAFE)):
            hub.snapshot_download(name, allow_patterns=[_PICKLED])
    # Whatever can go wrong with a name, a network, a server and a disk.
    except Exception as error:
        kinds = list(transformers.CONFIG_MAPPING.keys())
        close = f'; the nearest types of model: {", ".join(nearest(name, kinds))}' if '/' not in name else ''
        raise ConfigError(
            f"'hf:{name}' is no folder here, and cannot be had from the Hugging Face Hub: {type(error).__name__}: "
            f'{first_line(error)}; where there is no network, give the folder of a copy{close}'
        ) from error
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"'hf:{name}' has no {CONFIG} on the Hugging Face Hub: {_EXPECTED}")
    return folder


def read_config(transformers: Any, place: Place, arguments: Mapping[str, Any], trust: bool) -> Any:
    """The config of a model, with some of its values replaced.

    Args:
        transformers: The package.
        place: Where it is.
        arguments: The values, by the names that the config has for them.
        trust: Whether Python code that lies beside it may be run.

    Raises:
        ConfigError: it cannot be read, is of a type that is not known, or has no such values.
    """
    if place.folder is not None and not trust:
        _refuse_code(transformers, place)
    try:
        if place.folder is None:
            config = transformers.AutoConfig.for_model(place.kind, **arguments)
        else:
            config = transformers.AutoConfig.from_pretrained(
                place.folder, trust_remote_code=trust, local_files_only=True, **arguments
            )
    except FeatMapError:
        raise
    # It holds anything, and the values are the user's.
    except Exception as error:
        raise ConfigError(
            f"the config of '{place.name}' is not understood: {type(error).__name__}: {first_line(error)}"
        ) from error
    _check(arguments, config)
    for part in (config, getattr(config, 'backbone_config', None)):
        if part is not None and getattr(part, 'use_pretrained_backbone', False):
            part.use_pretrained_backbone = False  # its weights come with the model's own
    return config


def _check(arguments: Mapping[str, Any], config: Any) -> None:
    """Refuse names that a config took without having a use for them."""
    usual = type(config)() if arguments else config
    for name in arguments:
        if not hasattr(usual, name) and name != 'attn_implementation':
            known = [key for key in usual.to_dict() if not key.startswith('_')]
            raise ConfigError(
                f'{written("model_args")}: {type(config).__name__} has no {name!r}; nearest: '
                f'{", ".join(nearest(name, known))}'
            )


def _refuse_code(transformers: Any, place: Place) -> None:
    """Refuse what is no config, and what would run code to make one."""
    assert place.folder is not None
    path = place.folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"'{path}' cannot be read: {type(error).__name__}: {first_line(error)}") from error
    kind = content.get('model_type') if isinstance(content, dict) else None
    if isinstance(kind, str) and kind in transformers.CONFIG_MAPPING:
        return
    if isinstance(content, dict) and content.get('auto_map'):
        raise ConfigError(
            f"'{place.name}' is a model of its own Python code, which would be run; if you trust its source, load it "
            f'with {written("trust_checkpoint", True)}'
        )
    if not isinstance(kind, str):
        raise ConfigError(f"'{path}' is no config of transformers: it has no model_type")
    close = ', '.join(nearest(kind, list(transformers.CONFIG_MAPPING.keys())))
    raise ConfigError(
        f"transformers {transformers.__version__} knows no models of type {kind!r}, which '{place.name}' is; nearest: "
        f'{close}; a newer one may: pip install --upgrade transformers'
    )
