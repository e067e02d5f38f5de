"""``FeatMapInferencer``: the whole way, from an image to its picture, for Python users and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.config import Config
from torch import nn

from featmap.building import components_of, drawer_of, reducer_label, reducer_of, visualizer_of, warn_of_threshold
from featmap.default_layers import Default, choose
from featmap.errors import OptionError
from featmap.explained_results import Explains, Plan
from featmap.extractor import MapExtractor
from featmap.ground_truth import open_ground_truth
from featmap.images import AnyImage, each_image, is_one, pixels_of
from featmap.layers import Target
from featmap.learning import Learning
from featmap.models.modes import lock_of
from featmap.models.overrides import as_dict
from featmap.models.source import find_source
from featmap.options import OPTIONS, Run
from featmap.reducers.base import AnyReducer
from featmap.rendering.normalize import Range
from featmap.results import Result
from featmap.sources import Source
from featmap.storage import SavedImage, versions
from featmap.structures import Detections, FeatureMap, Rendering
from featmap.vis_logs import add_pages, add_to_logs

if TYPE_CHECKING:
    from featmap.visualizer import FeatMapVisualizer

_MOST_OTHERS = 8  # inferencers of other options that are kept for the next call


class FeatMapInferencer(Explains):
    """Draws what a model's layers put out for an image.

    Args:
        config: A name such as ``timm:resnet50``, see the README's table; a config of OpenMMLab, also as a Config.
        checkpoint: A path, a URL or a word of the source; None or ``'none'`` for random weights, the same each time.
        model: A module that is built already, of OpenMMLab beside its config; it is put into eval mode on the device,
            and ``checkpoint``, if any, is loaded into it.
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
        config: str | Path | Config | None = None,
        checkpoint: str | Path | None = None,
        *,
        model: nn.Module | None = None,
        save_dir: str | Path | None = None,
        keep_features: bool = False,
        run: Run | None = None,
        **options: Any,
    ) -> None:
        # A slip in an option should not cost the loading of a model.
        asked = Run.of(options).check(config=False) if run is None else run
        source = find_source(config, checkpoint, model, as_dict(asked.model.cfg_options))
        self._asked, self._own, self._save_dir = asked, source.options, save_dir
        self._keep_features = keep_features or asked.output.save_features is not None
        self.options: Run = asked.above(self._own).check()
        source.check(self.options)
        # Opened before the model is loaded, which takes longer than to see that there is nothing.
        gt = self.options.what.gt
        self.truth = None if gt is None else open_ground_truth(gt)
        reducer = reducer_of(self.options)
        self._drawer = drawer_of(self.options, {*self._own, *asked.given}, save_dir)
        plan = Plan.of(self.options)
        self.network = source.open(self.options)
        if self.truth is not None:
            self.truth.use(self.network.classes)
        self._default: Default | None = None
        self.default_layers = self._choose_layers()
        self._why = None if plan is None else plan.on(self.network)
        self._whys = [] if self._why is None else [self._why]  # the last, for the next one of other options
        if plan is None:
            self.extractor = self._extractor(reducer)
            self._learning = Learning(self.extractor, self._drawer.look.norm)
        self._others: list[tuple[Run, FeatMapInferencer]] = []
        self._lock = lock_of(self.network.model)
        self._complete = True
        warn_of_threshold(self.options, asked.given, self.network.head_score_thr)

    def _choose_layers(self) -> Default | None:
        """Put layers that suit the model where the options name none; None where they do."""
        if self.options.what.target_layers or self.options.explains:
            return None
        if self._default is None or 'extra_tokens' in self.options.given:
            self._default = choose(self.network, self.options.what.extra_tokens)
        self.options = self.options.replace({'target_layers': self._default.names})
        return self._default

    def _extractor(self, reducer: AnyReducer) -> MapExtractor:
        what = self.options.what
        return MapExtractor(
            self.network,
            what.target_layers,
            reducer,
            reducer_label(self.options),
            what.boxes,
            self._keep_features,
            calibrated=what.placement == 'calibrated',
            query=what.query,
            pca=components_of(self.options, self._drawer.look.panels),
            extra_tokens=what.extra_tokens,
            over_input=what.overlay == 'input',
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, '_complete', False) and name not in self.__dict__:
            hint = f'; give it to a call: vis(image, {name}=…)' if name in OPTIONS else ''
            raise AttributeError(f'an inferencer has no attribute {name!r}, setting it would do nothing{hint}')
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        """One line: the model, the layers, the reducer."""
        kind, layers = type(self.model).__name__, ', '.join(target.label for target in self.targets)
        shows = f'{layers} by {reducer_label(self.options)}' if self._why is None else f'why {self._why.spec}'
        return f'<FeatMapInferencer of {kind} on {self.network.device}: {shows}>'

    @property
    def model(self) -> nn.Module:
        """The model's module."""
        return self.network.model

    @property
    def logs(self) -> bool:
        """Whether there are vis backends that get each picture."""
        return bool(getattr(self._drawer, '_vis_backends', None))

    @property
    def visualizer(self) -> FeatMapVisualizer:
        """What draws, as a visualizer of MMEngine; unless a run needs it, it is made when it is first asked for."""
        if not hasattr(self._drawer, '_vis_backends'):
            self._drawer = visualizer_of(self.options, {*self._own, *self._asked.given}, self._save_dir)
        return self._drawer  # type: ignore[return-value]

    def close(self) -> None:
        """Let vis backends finish what they write."""
        if self.logs:
            self.visualizer.close()

    @property
    def reducer(self) -> AnyReducer:
        """What makes planes of maps."""
        return self.extractor.reducer

    @property
    def run(self) -> Range | None:
        """The range of all maps of a run, for the norm ``run``; None for any other, and before a run."""
        return self._learning.run if self._why is None else None

    @property
    def targets(self) -> list[Target]:
        """The layers that are drawn."""
        return self.extractor.targets if self._why is None else self._why.layers

    def __call__(
        self, images: AnyImage | Sequence[AnyImage], step: int = 0, *, bgr: bool = False, **options: Any
    ) -> Result | list[Result]:
        """Draw an image, or each of several.

        Args:
            images: A path, a URL, a PIL image, an array of (H, W, 3) RGB or (H, W) grey uint8, or a tensor of (3, H, W)
                uint8 gives one result; a folder, a glob or a sequence gives a list, in order.
            step: Counts up from here for vis backends.
            bgr: Whether arrays and tensors are BGR, as OpenCV reads them.
            **options: Options for this call alone, such as ``target_layers``, ``channel_reduction`` or ``norm``; see
                :meth:`with_options`.

        Raises:
            FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.
        """
        if options:
            return self.with_options(**options)(images, step, bgr=bgr)
        items = list(each_image(images, bgr, self.options.inputs.max_pixels))
        with self._lock:
            if self._why is None:
                self._learning.see(items)
            results = [self.draw(item, step + number) for number, item in enumerate(items)]
        return results[0] if is_one(images) else results

    def with_options(self, **options: Any) -> FeatMapInferencer:
        """An inferencer of other options on the same model, which is not loaded again.

        What was learned by :meth:`learn` is shared where the options leave it as it is.

        Args:
            **options: Any options but those of the model itself.

        Raises:
            OptionError: for an option of the model, or one that makes no sense.
        """
        for name in options:
            if name in OPTIONS and OPTIONS[name].group == 'model':
                raise OptionError(f'{name} is of the model, which is loaded: build another FeatMapInferencer')
        asked = Run.of(options)
        with self._lock:
            known = next((other for run, other in self._others if run == asked), None)
            if known is None:
                known = self._other(asked)
                self._others = [*self._others[1 - _MOST_OTHERS :], (asked, known)]
            return known

    def _other(self, asked: Run) -> FeatMapInferencer:
        other = object.__new__(FeatMapInferencer)
        other.__dict__.update(self.__dict__, _complete=False, _others=[])
        other._asked = asked.over(self._asked)
        # What this call leaves without an effect was asked for by another one.
        other.options = replace(other._asked.above(self._own), given=asked.given).check()
        plan = Plan.of(other.options)
        other._why = None if plan is None else plan.on(self.network, next(iter(self._whys), None))
        self._whys[:1] = [other._why] if other._why is not None else self._whys[:1]
        other.default_layers = other._choose_layers()
        if 'gt' in asked.given:
            gt = other.options.what.gt
            other.truth = None if gt is None else open_ground_truth(gt, self.network.classes)
        if 'vis_backends' in asked.given or not self.logs:
            other._drawer = drawer_of(other.options, {*self._own, *other._asked.given}, self._save_dir)
        else:
            drawer = visualizer_of(other.options, {*self._own, *other._asked.given}, self._save_dir)
            drawer._vis_backends = self.visualizer._vis_backends
            other._drawer = drawer
        if plan is not None:
            other._complete = True
            return other
        mine, theirs = self.options.what, other.options.what
        alike = self._why is None and all(
            getattr(mine, name) == getattr(theirs, name) for name in ('target_layers', 'reducing', 'overlay')
        )
        # A reducer that learns is shared once it has: two would spoil each other's basis before.
        shares = alike and self._learning.has_basis
        other.extractor = other._extractor(self.reducer if shares else reducer_of(other.options))
        if self._why is None and mine.placing == theirs.placing:
            other.extractor.placement = self.extractor.placement
        norm = other._drawer.look.norm
        other._learning = self._learning.shared(other.extractor, norm) if alike else Learning(other.extractor, norm)
        other._complete = True
        return other

    def learn(
        self, images: AnyImage | Sequence[AnyImage], skip: tuple[type[Exception], ...] = (), *, bgr: bool = False
    ) -> None:
        """See all images of a run once, where something is shared by them: a basis of ``pca``, the norm ``run``.

        A call learns from its own images unless this was called before.

        Args:
            images: As for a call.
            skip: Errors of single images to pass over.
            bgr: As for a call.
        """
        if self._why is not None:
            return
        with self._lock:
            self._learning.forget()
            self._learning.see(list(each_image(images, bgr, self.options.inputs.max_pixels)), skip)
            self._learning.keep()
            self._others = []

    def draw(self, image: np.ndarray | Source, step: int = 0, pictures: bool = True) -> Result:
        """Draw one image: (H, W, 3) RGB uint8, or a source to read it from; without pictures, only to split it."""
        pixels = pixels_of(image)
        name, location = ('image', '') if isinstance(image, np.ndarray) else (image.name, image.origin)
        if self._why is not None:
            with self._lock:
                result = self._why.result(pixels, name, location, self._drawer, pictures or self.logs)
                if self.logs:
                    add_pages(self.visualizer, PurePath(name).stem, result.renderings, step)
            return result
        with self._lock:
            maps, detections = self.compute(pixels)
            seen = self.extractor.picture
            pixels, title = (pixels, name) if seen is None else (seen.image, seen.title(name))
            refused = self.extractor.refused
            shape = (pixels.shape[0], pixels.shape[1])
            truth = self.truth
            matched: dict[str, Any] = {} if truth is None else {'match': truth.matched(detections, location, shape)}
            renderings: Sequence[Rendering] = ()
            if pictures or self.logs:
                renderings = self._drawer.draw_sheets(pixels, maps, detections, title=title, run=self.run, **matched)
            if self.logs:
                add_to_logs(self.visualizer, name, pixels, maps, detections, renderings, step, self.run, **matched)
        alike = ('look', 'arrangement', 'labels', 'crop')
        drawn = {each: getattr(self._drawer, each) for each in alike if hasattr(self._drawer, each)}
        options = {**drawn, 'run': self.run}
        split = getattr(self._drawer, 'draw_panels', None)
        single = None if split is None else partial(split, pixels, maps, detections, self.run, **matched)
        found = matched.get('match')
        return Result(name, renderings, maps, detections, pixels, location, refused, options, found, single)

    def compute(self, image: np.ndarray) -> tuple[tuple[FeatureMap, ...], Detections | None]:
        """The reduced maps of one (H, W, 3) RGB uint8 image, and its detections where they are wanted."""
        with self._lock:
            self.network.score_thr = self.options.what.score_thr
            return self.extractor.extract(image)

    def record(self, result: Result) -> SavedImage:
        """A result with all that :func:`featmap.storage.save_maps` keeps: maps, settings, model, versions."""
        groups = ('what', 'look', 'scale', 'model') if self._why is None else ('what', 'explain', 'look', 'model')
        settings = {**self.options.values(*groups), **self._drawer.settings}
        return result.saved({**self.network.provenance, 'settings': settings, 'versions': versions()}, self.run)
