"""A model's config: found by path or name, with the user's overrides in it before anything uses it."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from featmap.errors import ConfigError
from featmap.models.custom_imports import import_custom_modules, module_names
from featmap.models.openmmlab.config_names import find_config
from featmap.models.openmmlab.config_reading import read_config
from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.models.openmmlab.multimodal import leave_out_multimodal


def load_config(config: Config | str | Path, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """The config of a model, with overrides merged in and its custom modules imported.

    Args:
        config: a config, which is copied; a config file; a scoped name such as
            ``mmyolo::yolov5/yolov5_s-v61_syncbn_8xb16-300e_coco.py``; or the bare name of a config
            that this repository, mmyolo or mmdet ships. ``.py`` may be left out of a name.
        cfg_options: overrides by dotted key, as MMEngine merges them:
            ``{'model.test_cfg.score_thr': 0.1, 'test_dataloader.dataset.pipeline.1.scale': (320,
            320)}``. A variable that the file has made other values from, such as ``img_scale``,
            changes alone. The plain form ``{'custom_imports': 'my_reducers'}`` adds modules to
            those that the config imports, see
            :func:`featmap.models.custom_imports.import_custom_modules`.

    Raises:
        ConfigError: there is no such config, it is broken, it has no model, or an override does
            not fit into it.
        MissingPackageError: the config needs a package that is not installed.
    """
    if isinstance(config, Config):
        loaded = copy.deepcopy(config)
    elif isinstance(config, (str, Path)):
        loaded = read_config(find_config(config))
    else:
        raise ConfigError(f'a config is a path, a name or an MMEngine Config, not {type(config).__name__}')
    _merge(loaded, cfg_options or {})
    name = loaded.filename or 'the given config'
    if not isinstance(loaded.get('model'), dict):
        raise ConfigError(
            f"'{name}' has no 'model': it is a part that other configs inherit; give the config of a whole detector"
        )
    folder = Path(loaded.filename).parent if loaded.filename else None
    if module_names(loaded.get('custom_imports')):
        ensure_ops()  # they may import mmdet
        leave_out_multimodal()  # or mmpretrain, as mmseg's ConvNeXt does
    import_custom_modules(loaded.get('custom_imports'), folder)
    return loaded


def _merge(config: Config, options: Mapping[str, Any]) -> None:
    for key, value in options.items():
        if not isinstance(key, str) or not all(key.split('.')):
            raise ConfigError(f'cfg_options: {key!r} is no dotted key such as model.test_cfg')
        _refuse_misspelt(config, key)
        # Merging pops '_delete_' from the value, which is the caller's.
        value = copy.deepcopy(value)
        if key == 'custom_imports' and not isinstance(value, dict):
            value = _added_imports(config, value)
        try:
            config.merge_from_dict({key: value})
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise ConfigError(_unmergeable(config, key, value)) from error


def _refuse_misspelt(config: Config, key: str) -> None:
    """Refuse a key into a table that does not exist but nearly does: it would have no effect."""
    top, _, rest = key.partition('.')
    # The dictionary's own keys: asking the config would build what a lazy config imports.
    known = list(config.keys())
    if not rest or top in known:
        return
    close = difflib.get_close_matches(top, known, n=1, cutoff=0.8)
    if close:
        raise ConfigError(
            f"cfg_options: '{key}' fits nothing, the config has no '{top}'; did you mean '{close[0]}.{rest}'?"
        )


def _added_imports(config: Config, names: Any) -> dict[str, Any]:
    present = config.get('custom_imports') or {}
    imports = [*module_names(present), *module_names(names)]
    allow_failed = present.get('allow_failed_imports', False) if isinstance(present, dict) else False
    return {'imports': list(dict.fromkeys(imports)), 'allow_failed_imports': allow_failed}


def _unmergeable(config: Config, key: str, value: Any) -> str:
    """Why ``key`` cannot be merged: the first part of it that the config's value does not have."""
    start = f"cfg_options: '{key}={value!r}' does not fit into the config"
    current: Any = config
    path: list[str] = []
    for part in key.split('.'):
        where = '.'.join(path)
        if isinstance(current, (dict, Config)):
            if part not in current:
                break
            current = current[part]
        elif isinstance(current, list):
            if not part.isdigit() or int(part) >= len(current):
                return f"{start}: '{where}' is a list of {len(current)}, indexed from 0"
            current = current[int(part)]
        else:
            return f"{start}: '{where}' is {current!r}; give '{where}' as a whole"
        path.append(part)
    if not isinstance(current, dict) and isinstance(value, dict):
        return f"{start}: '{'.'.join(path)}' is {current!r}, no dict"
    parent = '.'.join(path[:-1])
    return f"{start}: elements of '{parent}' cannot be set one by one; give '{parent}' as a whole"
