"""From a config to a detector with weights, on a device, in eval mode. Nothing is downloaded."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import nn

from featmap.errors import ConfigError, FeatMapError, first_line
from featmap.models.openmmlab.config_names import find_config
from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.models.openmmlab.multimodal import leave_out_multimodal
from featmap.models.openmmlab.pipeline import dataset_config
from featmap.models.packages import missing_package

# What makes a scope's models and transforms known to the registries, at the least import time.
_SCOPE_MODULES = {
    'mmdet': ('mmdet.models', 'mmdet.datasets.transforms'),
    'mmpretrain': ('mmpretrain.models', 'mmpretrain.datasets'),
    'mmseg': ('mmseg.models', 'mmseg.datasets'),
    'mmyolo': ('mmdet.datasets.transforms', 'mmyolo.models', 'mmyolo.datasets.transforms'),
}


def scope_of(config: Config) -> str:
    """The config's default scope; where it names none that of the package that ships it, or mmdet."""
    folders = Path(config.filename or '').parts
    shipped = folders[folders.index('.mim') - 1] if '.mim' in folders[1:] else ''
    return config.get('default_scope') or (shipped if shipped in _SCOPE_MODULES else 'mmdet')


def import_scopes(config: Config) -> None:
    """Import the packages whose models the config names.

    Raises:
        MissingPackageError: for one that is not installed, with the command that installs it.
        ConfigError: for one that does not go together with what else is installed.
    """
    ensure_ops()
    leave_out_multimodal()  # mmdet and mmseg import mmpretrain too, where it is there
    scopes = [scope_of(config), *sorted(set(_scopes_in(config.get('model', {}))))]
    for scope in dict.fromkeys(scopes):
        for module in _SCOPE_MODULES.get(scope, (f'{scope}.models',)):
            try:
                import_module(module)
            except ModuleNotFoundError as error:
                wanted = (error.name or scope).partition('.')[0]
                raise missing_package(wanted, f'the config (scope {scope!r})') from error
            except (AssertionError, ImportError, RuntimeError, TypeError) as error:  # versions that do not go together
                reason = f'{type(error).__name__}: {first_line(error)}'
                raise ConfigError(f'{scope!r}, which the config is of, cannot be imported: {reason}') from error


def _scopes_in(node: Any) -> Iterator[str]:
    """The scopes before the dots of ``type='mmpretrain.ConvNeXt'``."""
    if isinstance(node, dict):
        kind = node.get('type')
        if isinstance(kind, str) and kind.count('.') == 1 and kind.startswith('mm'):
            yield kind.partition('.')[0]
        for value in node.values():
            yield from _scopes_in(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _scopes_in(value)


def build_model(config: Config, random_weights: bool = False) -> nn.Module:
    """The model on the CPU in eval mode, without weights from a checkpoint yet.

    Args:
        config: With a ``model``. It is not changed.
        random_weights: Initialise as for training, the same each time, but for what would be downloaded.

    Raises:
        MissingPackageError: where the model needs a package that is not installed.
        ConfigError: where the model cannot be built, with the reason.
    """
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import MODELS

    import_scopes(config)
    with DefaultScope.overwrite_default_scope(scope_of(config)), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            cfg = copy.deepcopy(config.model)
            if config.get('data_preprocessor') is not None:  # of mmpretrain it stands beside the model, as for a runner
                cfg.setdefault('data_preprocessor', copy.deepcopy(config.data_preprocessor))
            _settle_teacher(cfg)
            _unsync(cfg)
            with _silent():
                model = MODELS.build(cfg)
                _drop_pretrained(model)
                if random_weights:
                    model.init_weights()
        except FeatMapError:
            raise
        except ImportError as error:
            name = getattr(error, 'name', None)
            if name:
                raise missing_package(name.partition('.')[0], 'the model') from error
            raise ConfigError(f'the model needs a package that is missing: {first_line(error)}') from error
        except Exception as error:
            raise ConfigError(f'the model cannot be built: {type(error).__name__}: {first_line(error)}') from error
    _mend(model)
    model = revert_sync_batchnorm(model)
    model.eval()  # not chained: some detectors' own train() returns None
    return model


def _settle_teacher(cfg: dict[str, Any]) -> None:
    """Of a distillation: its weights would be downloaded at once, and its config is named from mmdet's checkout."""
    cfg.pop('teacher_ckpt', None)
    teacher = cfg.get('teacher_config')
    if isinstance(teacher, str) and not Path(teacher).is_file():
        cfg['teacher_config'] = str(find_config(teacher.removeprefix('configs/')))


def _unsync(node: Any) -> None:
    """Make MMCV's synchronised norm PyTorch's, of the same weights: it asks for a process group when it is built."""
    if isinstance(node, dict):
        if node.get('type') in ('MMSyncBN', 'mmcv.MMSyncBN'):
            node['type'] = 'BN'
            node.pop('group', None)
            node.pop('stats_mode', None)
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            _unsync(value)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """MMEngine logs two lines for every weight that it initialises, mmpretrain some of a model, and mmseg prints."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    _forget_levels()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
        _forget_levels()


def _forget_levels() -> None:
    """MMEngine's loggers, which logging does not know, remember which levels are disabled."""
    for logger in MMLogger._instance_dict.values():
        logger._cache.clear()  # type: ignore[attr-defined]


def _drop_pretrained(model: nn.Module) -> None:
    """Forget every initialisation from a file, which would download: the checkpoint brings all weights.

    Besides ``type='Pretrained'`` there are PVT's and Swin's ``dict(checkpoint=...)`` and DetectoRS's ``pretrained``.
    """
    for module in model.modules():
        init = getattr(module, 'init_cfg', None)
        if isinstance(init, dict) and _from_file(init):
            module.init_cfg = None  # type: ignore[assignment]
        elif isinstance(init, (list, tuple)):
            kept = [item for item in init if not _from_file(item)]
            module.init_cfg = kept or None  # type: ignore[assignment]
        if isinstance(getattr(module, 'pretrained', None), str):
            module.pretrained = None  # type: ignore[assignment]


def _from_file(init: dict[str, Any]) -> bool:
    return init.get('type') == 'Pretrained' or 'checkpoint' in init


def _mend(model: nn.Module) -> None:
    """Mmdet 3.3's SSDHead reads ``loss_cls`` at inference and never sets it."""
    head = getattr(model, 'bbox_head', None)
    if type(head).__name__ == 'SSDHead' and not hasattr(head, 'loss_cls'):
        head.loss_cls = None  # type: ignore[union-attr, assignment]


def class_names(config: Config, meta: dict[str, Any]) -> tuple[str, ...]:
    """Class names from the checkpoint's meta, else the config's metainfo, else the config's dataset type."""
    names = next((known['classes'] for known in _metainfos(config, meta) if known.get('classes')), ())
    return (names,) if isinstance(names, str) else tuple(names)


def class_palette(config: Config, meta: dict[str, Any]) -> tuple[tuple[int, int, int], ...]:
    """The classes' RGB colours, 0 to 255, from the first of these places that has one for each; else none.

    A place that names other classes has the colours of those.
    """
    names = class_names(config, meta)
    for known in _metainfos(config, meta):
        palette = known.get('palette')
        others = tuple(known.get('classes') or names) != names
        if isinstance(palette, (list, tuple, np.ndarray)) and len(palette) >= len(names) > 0 and not others:
            colors = [_color(color) for color in palette[: len(names)]]
            if None not in colors:
                return tuple(colors)  # type: ignore[arg-type]
    return ()


def _color(given: Any) -> tuple[int, int, int] | None:
    """Three whole numbers from 0 to 255, or None."""
    try:
        red, green, blue = (int(part) for part in given)
    except (TypeError, ValueError, OverflowError):
        return None
    return (red, green, blue) if all(0 <= part <= 255 for part in (red, green, blue)) else None


def _metainfos(config: Config, meta: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is known of the classes, best first, with keys in lower case."""
    outer = {key: meta[key] for key in ('CLASSES', 'classes', 'PALETTE', 'palette') if meta.get(key) is not None}
    for known in (meta.get('dataset_meta') or {}, outer):
        yield {key.lower(): value for key, value in known.items()}
    dataset = dataset_config(config)
    yield {key.lower(): value for key, value in (dataset.get('metainfo') or {}).items()}
    if isinstance(dataset.get('type'), str):
        from mmengine.registry import DATASETS

        # get() alone does not look into the scope of mmdet or mmyolo.
        with DATASETS.switch_scope_and_registry(scope_of(config)) as registry:
            kind = registry.get(dataset['type'])
        yield {key.lower(): value for key, value in getattr(kind, 'METAINFO', {}).items()}
