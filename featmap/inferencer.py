"""``FeatMapInferencer``: the whole way, from an image to its picture, for Python users and the command line."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from featmap.errors import MissingPackageError, OptionError
from featmap.geometry import ImageGeometry
from featmap.layers import Target, resolve
from featmap.layouts import maps_of
from featmap.models.config import load_config
from featmap.models.detector import Batch, Detector
from featmap.recorder import ActivationRecorder
from featmap.reducers import build_reducer, reduce
from featmap.registry import VISUALIZERS
from featmap.results import Result
from featmap.settings import Settings, merge
from featmap.sources import Source, list_sources
from featmap.structures import Detections, FeatureMap
from featmap.visualizer import FeatMapVisualizer

AnyImage = Union[str, Path, np.ndarray, Source]

_numbers = itertools.count()


class FeatMapInferencer:
    """Draws what a detector's layers put out for an image.

    Args:
        config: A config's path, scoped name (``mmyolo::yolov5/…``) or bare name, or a Config.
        checkpoint: A path or URL; None for random weights, the same each time.
        device: Such as ``cuda:0`` or ``cpu``; None for the first CUDA device, else the CPU.
        cfg_options: Overrides of the config.
        trust_checkpoint: Unpickle a checkpoint that weights-only loading refuses. It can run any code.
        save_dir: Folder for vis backends that write files.
        **options: Any of :class:`featmap.settings.Settings`; they win over the config's ``featmap`` dict.

    Example:
        >>> vis = FeatMapInferencer('config.py', 'checkpoint.pth', target_layers=['neck'])
        >>> vis('dog.jpg').save('dog_neck.png')
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        *,
        device: str | None = None,
        cfg_options: dict[str, Any] | None = None,
        trust_checkpoint: bool = False,
        save_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        merge(options)  # a slip in an option should not cost the loading of a model
        cfg = load_config(config, cfg_options)
        self.settings: Settings = merge(cfg.get('featmap', {}), options)
        self.reducer = build_reducer(
            self.settings.channel_reduction,
            self.settings.topk,
            channels=self.settings.channels,
            components=self.settings.components,
            basis=self.settings.basis,
        )
        self.visualizer = _build_visualizer(self.settings, {*cfg.get('featmap', {}), *options}, save_dir)
        self.detector = Detector(
            cfg,
            checkpoint,
            device=device,
            score_thr=self.settings.score_thr,
            trust_checkpoint=trust_checkpoint,
        )
        self.targets: list[Target] = resolve(self.model, self.settings.target_layers)
        self._recorder = ActivationRecorder(self.model, self.targets, self._consume, stop_early=not self.settings.boxes)
        self._batch: Batch | None = None

    @property
    def model(self) -> nn.Module:
        """The detector's module."""
        return self.detector.model

    def __call__(self, images: AnyImage | Sequence[AnyImage], step: int = 0) -> Result | list[Result]:
        """Draw an image, or each of several.

        Args:
            images: A path, URL or (H, W, 3) RGB uint8 array gives one result; a folder, a glob or a sequence gives a
                list, in order.
            step: Counts up from here for vis backends.

        Raises:
            FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.
        """
        results = [self.draw(item, step + number) for number, item in enumerate(_each(images))]
        return results[0] if _is_one(images) else results

    def draw(self, image: np.ndarray | Source, step: int = 0) -> Result:
        """Draw one image: (H, W, 3) RGB uint8, or a source to read it from."""
        name, pixels = ('image', image) if isinstance(image, np.ndarray) else (image.name, image.read())
        maps, detections = self.compute(pixels)
        rendering = self.visualizer.draw_maps(pixels, maps, detections, title=name)
        if self.visualizer._vis_backends:
            self.visualizer.add_image(Path(name).stem, rendering.image, step)
        return Result(name, rendering, maps, detections)

    def compute(self, image: np.ndarray) -> tuple[tuple[FeatureMap, ...], Detections | None]:
        """The reduced maps of one (H, W, 3) RGB uint8 image, and its detections where they are wanted."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise OptionError(f'expected an RGB image of shape (H, W, 3) and uint8, got {image.shape} of {image.dtype}')
        self._batch = self.detector.prepare([image])
        detections = None
        try:
            with self._recorder:
                detections = self.detector.predict(self._batch)[0]
        except MissingPackageError as error:
            # Of use only where the op is missing after the last wanted layer.
            if not self.settings.boxes or not all(self._recorder.calls(target) for target in self.targets):
                raise
            way_out = '--no-boxes (boxes=False) draws backbone and neck without the head'
            raise MissingPackageError(f'{error}; {way_out}') from error
        else:
            geometry = self._batch.geometries[0]
            maps = tuple(_feature_maps(self._recorder, geometry, self._reducer_name))
        finally:
            self._batch = None
        return maps, detections if self.settings.boxes else None

    def _consume(self, target: Target, output: Any) -> list[tuple[str, Any, tuple[int, ...]]]:
        """Inside the hook: unfold and reduce on the device, so that nothing C×h×w is kept."""
        assert self._batch is not None
        geometry = self._batch.geometries[0]
        found = maps_of(output, self._batch.input_shape, 1, target.path, target.name)
        reduced = []
        for item in found:
            features = item.features[0].detach()
            weights = self._weights(geometry, features)
            reduction = reduce(self.reducer, features, weights)
            reduced.append((item.path, reduction, tuple(features.shape)))
        return reduced

    def _weights(self, geometry: ImageGeometry, features: Tensor) -> Tensor:
        shape = (int(features.shape[1]), int(features.shape[2]))
        return torch.from_numpy(geometry.weights(shape)).to(features.device)

    @property
    def _reducer_name(self) -> str:
        return _name_of(self.settings.channel_reduction, self.settings.topk)


def _name_of(reduction: Any, topk: int) -> str:
    if isinstance(reduction, (list, tuple)):
        return ' → '.join(_name_of(step, topk) for step in reduction)
    if isinstance(reduction, dict):
        return str(reduction.get('type'))
    return reduction or ('topk' if topk > 0 else 'as it is')


def _each(images: AnyImage | Iterable[AnyImage]) -> Iterator[np.ndarray | Source]:
    if isinstance(images, (np.ndarray, Source)):
        yield images
    elif isinstance(images, (str, Path)):
        yield from list_sources(images)
    else:
        for image in images:
            yield from _each(image)


def _is_one(images: AnyImage | Iterable[AnyImage]) -> bool:
    """Whether this names one image, and not a folder, a glob or several."""
    if isinstance(images, (str, Path)):
        path = os.path.expanduser(images)
        return bool(re.match('https?://', str(images), re.IGNORECASE)) or (
            os.path.exists(path) and not os.path.isdir(path)
        )
    return isinstance(images, (np.ndarray, Source))


def _feature_maps(recorder: ActivationRecorder, geometry: ImageGeometry, reducer: str) -> Iterator[FeatureMap]:
    for record in recorder.records:
        for path, reduction, shape in record.value:
            yield FeatureMap(
                values=reduction.values.cpu().numpy(),
                layer=record.target.name,
                shape=shape,
                stride=geometry.stride(shape[1:]),
                geometry=geometry,
                path=path,
                call=record.call,
                calls=recorder.calls(record.target),
                reducer=reducer,
                channels=reduction.channels,
                kind=reduction.kind,
                names=reduction.names,
                ranges=reduction.ranges,
            )


def _build_visualizer(settings: Settings, given: set[str], save_dir: str | Path | None) -> FeatMapVisualizer:
    """The visualizer of the settings; options that were given win over the ``visualizer`` dict."""
    cfg = dict(settings.visualizer)
    for name in ('alpha', 'colormap', 'labels', 'arrangement', 'norm', 'symmetric', 'colorbar'):
        if name in given or name not in cfg:
            cfg[name] = getattr(settings, name)
    backends = [{'type': b} if isinstance(b, str) else dict(b) for b in settings.vis_backends]
    if backends or 'vis_backends' in given:
        cfg['vis_backends'] = backends
    if save_dir is not None:
        cfg.setdefault('save_dir', str(save_dir))
    # MMEngine hands out the existing instance for a name that is taken, whatever the new arguments say.
    cfg.setdefault('name', f'featmap-{next(_numbers)}')
    try:
        visualizer = VISUALIZERS.build(cfg)
    except (KeyError, TypeError) as error:
        raise OptionError(f'the visualizer {settings.visualizer} cannot be built: {error}') from error
    if not hasattr(visualizer, 'draw_maps'):
        raise OptionError(
            f'the visualizer {cfg["type"]} cannot draw feature maps: expected FeatMapVisualizer or a subclass'
        )
    return visualizer
