"""From the options of a run to the reducer and the visualizer that they name."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.registry import VISBACKENDS, Registry

from featmap.drawer import MapDrawer
from featmap.errors import FeatMapWarning, OptionError, nearest
from featmap.options import DRAWING, Run
from featmap.reducers import PCA, build_reducer
from featmap.reducers.base import AnyReducer
from featmap.registry import VISUALIZERS
from featmap.wording import on_command_line
from featmap.wording import option as written

if TYPE_CHECKING:
    from featmap.visualizer import FeatMapVisualizer


def reducer_of(options: Run) -> AnyReducer:
    """The reducer that the options name.

    Raises:
        OptionError: where none is called so, or it cannot be built.
    """
    what = options.what
    return build_reducer(
        what.channel_reduction,
        what.topk,
        channels=what.channels,
        components=what.components,
        basis=what.basis,
        abs=what.abs or None,
        stated=options.scale.norm == 'map' and not options.scale.symmetric,
    )


def components_of(options: Run, panels: Sequence[str]) -> AnyReducer | None:
    """What makes the panels of ``pca`` beside the maps of a run; None where none are drawn, or the maps are such."""
    if 'pca' not in panels:
        return None
    own = reducer_of(options)
    return None if isinstance(own, PCA) and own.as_rgb else build_reducer('pca', basis=options.what.basis)


def reducer_label(options: Run) -> str:
    """What the reducer is called in labels."""
    return _label(options.what.channel_reduction, options.what.topk)


def _label(reduction: Any, topk: int) -> str:
    if isinstance(reduction, (list, tuple)):
        return ' → '.join(_label(step, topk) for step in reduction)
    if isinstance(reduction, dict):
        return str(reduction.get('type'))
    return reduction or ('topk' if topk > 0 else 'as it is')


def drawer_of(options: Run, given: set[str], save_dir: str | Path | None) -> MapDrawer:
    """What draws the maps of a run: a visualizer of MMEngine, which takes a second to import, where one has a use.

    Args:
        options: The run.
        given: As for :func:`visualizer_of`.
        save_dir: As for :func:`visualizer_of`.

    Raises:
        OptionError: see :func:`visualizer_of`.
    """
    output = options.output
    plain = output.visualizer == {'type': 'FeatMapVisualizer'} and not output.vis_backends
    return MapDrawer(options) if plain else visualizer_of(options, given, save_dir)


def visualizer_of(options: Run, given: set[str], save_dir: str | Path | None) -> FeatMapVisualizer:
    """The visualizer of a run.

    Args:
        options: The run.
        given: Names of the options that win over its ``visualizer`` dict.
        save_dir: Folder for vis backends that write files.

    Raises:
        OptionError: where it cannot be built, or cannot draw feature maps.
    """
    cfg = dict(options.output.visualizer)
    for name in DRAWING:
        if name in given or name not in cfg:
            cfg[name] = options[name]
    backends = [{'type': b} if isinstance(b, str) else dict(b) for b in options.output.vis_backends]
    if save_dir is not None and backends:
        cfg.setdefault('save_dir', str(save_dir))
    if backends or 'vis_backends' in given:
        cfg['vis_backends'] = backends
    kind = cfg.pop('type')
    VISUALIZERS.import_from_location()  # with which MMEngine's vis backends register too
    try:
        for backend in backends:
            _check_backend(backend)
        # A registry imports and calls whatever a dotted name leads to.
        named = isinstance(kind, str)
        maker = (VISUALIZERS.get(kind) if _is_registered(kind, VISUALIZERS) else None) if named else kind
        if maker is None:
            raise KeyError(f'{kind} is not registered in VISUALIZERS of featmap')
        # Not by the registry, which keeps what it builds for ever, hands out the existing one for a name that is taken,
        # and after an error keeps a lock, for which every other thread would wait.
        visualizer = maker(**{'name': 'featmap', **cfg})
    except (KeyError, TypeError, RuntimeError) as error:
        raise OptionError(f'the visualizer {options.output.visualizer} cannot be built: {error}') from error
    if not hasattr(visualizer, 'draw_maps'):
        raise OptionError(f'the visualizer {kind} cannot draw feature maps: expected FeatMapVisualizer or a subclass')
    return visualizer


def warn_of_threshold(options: Run, given: Collection[str], own: float | None) -> None:
    """Say where the model's head drops boxes, ``own``, by a higher threshold than the one that was asked for."""
    asked = options.what.score_thr
    if 'score_thr' in given and own is not None and asked < own:
        key = 'model.test_cfg.score_thr'
        lower = written('cfg_options', [f'{key}={asked:g}'] if on_command_line() else {key: asked})
        warnings.warn(
            f'{written("score_thr", asked)} is below the {own:g} that the head itself drops boxes by, which is in '
            f'force; {lower} lowers that',
            FeatMapWarning,
            stacklevel=3,
        )


def _check_backend(backend: dict[str, Any]) -> None:
    """Refuse the name of a vis backend that is registered nowhere.

    A registry imports and calls whatever a dotted name leads to: only names that are in one are looked up.
    """
    import_module('mmengine.visualization')  # registers MMEngine's own
    name = backend.get('type')
    with VISBACKENDS.switch_scope_and_registry(backend.get('_scope_')) as registry:
        if isinstance(name, str) and not _is_registered(name, registry):
            known = {**VISBACKENDS.module_dict, **registry.module_dict}
            raise OptionError(f'no vis backend is called {name!r}; nearest: {", ".join(nearest(name, known))}')


def _is_registered(name: str, registry: Registry) -> bool:
    """Whether a name, or one after a scope and a dot, is in the registry, its parents or the scope's registry."""
    scope, key = registry.split_scope_key(name)
    places: list[Registry | None] = [registry]
    while places[-1] is not None:
        places.append(places[-1].parent)
    if scope is not None:
        places = [registry._get_root_registry()._search_child(scope)]
    for place in places:
        if place is not None:
            place.import_from_location()
            if key in place.module_dict:
                return True
    return False
