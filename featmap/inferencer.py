"""``FeatMapInferencer``: the whole way, from an image to its picture, for Python users and the command line."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
from mmengine.config import Config
from mmengine.registry import VISBACKENDS, Registry
from torch import nn

from featmap.errors import FeatMapError, OptionError, nearest
from featmap.extractor import MapExtractor
from featmap.ground_truth import open_ground_truth
from featmap.layers import Target
from featmap.matching import Match, match
from featmap.models.build import is_none
from featmap.models.config import load_config, parse_cfg_options
from featmap.models.detector import Detector
from featmap.options import DRAWING, Run
from featmap.reducers import build_reducer
from featmap.registry import VISUALIZERS
from featmap.rendering.normalize import Range
from featmap.rendering.scales import run_range
from featmap.results import Result
from featmap.sources import Source, list_sources
from featmap.storage import SavedImage, versions
from featmap.structures import Detections, FeatureMap
from featmap.visualizer import FeatMapVisualizer
from featmap.wording import option as written

AnyImage = Union[str, Path, np.ndarray, Source]

_numbers = itertools.count()


class FeatMapInferencer:
    """Draws what a detector's layers put out for an image.

    Args:
        config: A config's path, scoped name (``mmyolo::yolov5/…``) or bare name, or a Config.
        checkpoint: A path or URL; None or ``'none'`` for random weights, the same each time.
        save_dir: Folder for vis backends that write files.
        keep_features: Whether maps also hold the full (C, h, w) features.
        run: All options of a run, in place of ``options``.
        **options: Any of :mod:`featmap.options`, such as ``target_layers``, ``channel_reduction``, ``norm``,
            ``device``, ``cfg_options`` (a dict), ``trust_checkpoint``; they win over the config's ``featmap`` dict.

    Example:
        >>> vis = FeatMapInferencer('config.py', 'checkpoint.pth', target_layers=['neck'])
        >>> vis('dog.jpg').save('dog_neck.png')
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        *,
        save_dir: str | Path | None = None,
        keep_features: bool = False,
        run: Run | None = None,
        **options: Any,
    ) -> None:
        # A slip in an option should not cost the loading of a model.
        asked = Run.of(options).check(config=False) if run is None else run
        overrides = asked.model.cfg_options
        cfg = load_config(config, overrides if isinstance(overrides, dict) else parse_cfg_options(overrides))
        self.options: Run = asked.above(cfg.get('featmap', {})).check()
        what, model = self.options.what, self.options.model
        self.reducer = build_reducer(
            what.channel_reduction,
            what.topk,
            channels=what.channels,
            components=what.components,
            basis=what.basis,
            abs=what.abs or None,
        )
        # Opened before the model is loaded, which takes longer than to see that there is nothing.
        self.truth = None if what.gt is None else open_ground_truth(what.gt)
        self.visualizer = _build_visualizer(self.options, {*cfg.get('featmap', {}), *asked.given}, save_dir)
        self.detector = Detector(
            cfg,
            None if is_none(checkpoint) else checkpoint,
            device=model.device,
            score_thr=what.score_thr,
            trust_checkpoint=model.trust_checkpoint,
            amp=model.amp,
        )
        if self.truth is not None:
            self.truth.use(self.detector.classes)
        self.extractor = MapExtractor(
            self.detector,
            what.target_layers,
            self.reducer,
            _name_of(what.channel_reduction, what.topk),
            what.boxes,
            keep_features or self.options.output.save_features is not None,
        )
        self.run: Range | None = None
        self._learned = False

    @property
    def model(self) -> nn.Module:
        """The detector's module."""
        return self.detector.model

    @property
    def targets(self) -> list[Target]:
        """The layers that are drawn."""
        return self.extractor.targets

    def __call__(self, images: AnyImage | Sequence[AnyImage], step: int = 0) -> Result | list[Result]:
        """Draw an image, or each of several.

        Args:
            images: A path, URL or (H, W, 3) RGB uint8 array gives one result; a folder, a glob or a sequence gives a
                list, in order.
            step: Counts up from here for vis backends.

        Raises:
            FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.
        """
        items = list(_each(images, self.options.inputs.max_pixels))
        if not self._learned:
            self._learn(items)
        results = [self.draw(item, step + number) for number, item in enumerate(items)]
        return results[0] if _is_one(images) else results

    def learn(self, images: AnyImage | Sequence[AnyImage], skip: tuple[type[FeatMapError], ...] = ()) -> None:
        """See all images of a run once, where something is shared by them: a basis of ``pca``, the norm ``run``.

        A call learns from its own images unless this was called before.

        Args:
            images: As for a call.
            skip: Errors of single images to pass over.
        """
        self._learn(list(_each(images, self.options.inputs.max_pixels)), skip)
        self._learned = True

    def draw(self, image: np.ndarray | Source, step: int = 0) -> Result:
        """Draw one image: (H, W, 3) RGB uint8, or a source to read it from."""
        pixels = _pixels(image)
        name, location = ('image', '') if isinstance(image, np.ndarray) else (image.name, image.location)
        maps, detections = self.extractor.extract(pixels)
        matched = self._match(detections, location, pixels)
        renderings = self.visualizer.draw_sheets(pixels, maps, detections, title=name, run=self.run, **matched)
        if self.visualizer._vis_backends:
            for page, rendering in enumerate(renderings):
                tag = Path(name).stem if len(renderings) == 1 else f'{Path(name).stem}_{page + 1}'
                self.visualizer.add_image(tag, rendering.image, step)
        alike = ('look', 'arrangement', 'labels', 'crop')
        drawn = {each: getattr(self.visualizer, each) for each in alike if hasattr(self.visualizer, each)}
        options = {**drawn, 'run': self.run}
        return Result(name, renderings, maps, detections, pixels, location, options, matched.get('match'))

    def compute(self, image: np.ndarray) -> tuple[tuple[FeatureMap, ...], Detections | None]:
        """The reduced maps of one (H, W, 3) RGB uint8 image, and its detections where they are wanted."""
        return self.extractor.extract(image)

    def _match(self, detections: Detections | None, location: str, image: np.ndarray) -> dict[str, Match]:
        """What of the image's ground truth was found; nothing where there is none."""
        if self.truth is None or detections is None:
            return {}
        if detections.kind not in ('detection', 'instance'):
            raise OptionError(f'{written("gt")} needs boxes with classes, and this model has {detections.count}')
        return {'match': match(detections, self.truth.of(location, (image.shape[0], image.shape[1])))}

    def record(self, result: Result) -> SavedImage:
        """A result with all that :func:`featmap.storage.save_maps` keeps: maps, settings, model, versions."""
        provenance = {
            **self.detector.provenance,
            'settings': {
                **self.options.values('what', 'look', 'scale', 'model'),
                **self.visualizer.settings,
            },
            'versions': versions(),
        }
        return SavedImage(
            name=result.name,
            location=result.location,
            image_shape=result.original.shape[:2],
            maps=result.maps,
            detections=result.predictions,
            provenance=provenance,
            run_range=(self.run.low, self.run.high, self.run.noise) if self.run else None,
            truth=result.match.truth if result.match else None,
        )

    def _learn(self, items: Sequence[np.ndarray | Source], skip: tuple[type[FeatMapError], ...] = ()) -> None:
        if getattr(self.reducer, 'needs_fit', False):
            for item in items:
                try:
                    self.extractor.observe(_pixels(item))
                except skip:
                    continue  # drawing meets it again, and reports it
            self.reducer.fit()  # type: ignore[attr-defined]
        if self.visualizer.look.norm.kind == 'run':
            self.run = None
            for item in items:
                try:
                    self.run = run_range(self.extractor.maps(_pixels(item)), self.run)
                except skip:
                    continue


def _pixels(image: np.ndarray | Source) -> np.ndarray:
    return image if isinstance(image, np.ndarray) else image.read()


def _name_of(reduction: Any, topk: int) -> str:
    if isinstance(reduction, (list, tuple)):
        return ' → '.join(_name_of(step, topk) for step in reduction)
    if isinstance(reduction, dict):
        return str(reduction.get('type'))
    return reduction or ('topk' if topk > 0 else 'as it is')


def _each(images: AnyImage | Sequence[AnyImage], max_pixels: int) -> Iterator[np.ndarray | Source]:
    if isinstance(images, (np.ndarray, Source)):
        yield images
    elif isinstance(images, (str, Path)):
        yield from list_sources(images, max_pixels=max_pixels)
    elif isinstance(images, Sequence):
        for image in images:
            yield from _each(image, max_pixels)
    else:
        raise OptionError(
            f'expected a path, a URL, an (H, W, 3) RGB uint8 array, or a list of them, got {type(images).__name__}'
        )


def _is_one(images: AnyImage | Iterable[AnyImage]) -> bool:
    """Whether this names one image, and not a folder, a glob or several."""
    if isinstance(images, (str, Path)):
        path = os.path.expanduser(images)
        return bool(re.match('https?://', str(images), re.IGNORECASE)) or (
            os.path.exists(path) and not os.path.isdir(path)
        )
    return isinstance(images, (np.ndarray, Source))


def _build_visualizer(options: Run, given: set[str], save_dir: str | Path | None) -> FeatMapVisualizer:
    """The visualizer of the settings; options that were given win over the ``visualizer`` dict."""
    cfg = dict(options.output.visualizer)
    for name in DRAWING:
        if name in given or name not in cfg:
            cfg[name] = options[name]
    backends = [{'type': b} if isinstance(b, str) else dict(b) for b in options.output.vis_backends]
    if save_dir is not None and backends:
        cfg.setdefault('save_dir', str(save_dir))
    if backends or 'vis_backends' in given:
        cfg['vis_backends'] = backends
    # MMEngine hands out the existing instance for a name that is taken, whatever the new arguments say.
    cfg.setdefault('name', f'featmap-{next(_numbers)}')
    try:
        for backend in backends:
            _check_backend(backend)
        if isinstance(cfg['type'], str):
            # Looked up here: building by name would start at the default scope, which another library may have set.
            cfg['type'] = VISUALIZERS.get(cfg['type']) or cfg['type']
        visualizer = VISUALIZERS.build(cfg)
    except (KeyError, TypeError, RuntimeError) as error:
        raise OptionError(f'the visualizer {options.output.visualizer} cannot be built: {error}') from error
    if not hasattr(visualizer, 'draw_maps'):
        raise OptionError(
            f'the visualizer {cfg["type"]} cannot draw feature maps: expected FeatMapVisualizer or a subclass'
        )
    return visualizer


def _check_backend(backend: dict[str, Any]) -> None:
    """Refuse the name of a vis backend that is registered nowhere.

    A registry imports and calls whatever a dotted name leads to: only names that are in one are looked up.
    """
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
