"""A model of OpenMMLab that is fed with RGB arrays and asked for features and what it finds."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from featmap.answers import Answers, RawLayer
from featmap.errors import ConfigError, FeatMapError, FeatMapWarning, OptionError, SourceError, first_line
from featmap.models.checkpoint import apply_weights, load_checkpoint
from featmap.models.device import pick_device
from featmap.models.differentiable import joined
from featmap.models.openmmlab.answering import answers_of
from featmap.models.openmmlab.build import build_model, class_names, class_palette, import_scopes, scope_of
from featmap.models.openmmlab.class_scores import class_scores
from featmap.models.openmmlab.config import load_config
from featmap.models.openmmlab.fused_norms import FusedNorms
from featmap.models.openmmlab.heads import Meanings
from featmap.models.openmmlab.image_place import ImagePlace
from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.models.openmmlab.pipeline import TestPipeline
from featmap.models.openmmlab.placement import Placement
from featmap.models.openmmlab.precision import FullPrecision
from featmap.models.openmmlab.predictions import Reader
from featmap.models.openmmlab.raw_layers import raw_layers
from featmap.models.openmmlab.segmentors import SegmentorPlace, is_segmentor, remedy, whole_images, window_of
from featmap.models.openmmlab.thresholds import own_score_threshold, raised_score_threshold
from featmap.models.openmmlab.unsuppressed import unsuppressed
from featmap.models.packages import missing_name, missing_package
from featmap.models.protocol import AnyModel, Batch
from featmap.structures import Detections
from featmap.wording import option as written


@dataclass(frozen=True)
class DetectorBatch(Batch):
    """Preprocessed images, with what heads are told of them.

    The metainfo of an image of which it does not tell the truth is such that heads answer in pixels of the input.
    """

    data_samples: list[Any]
    places: tuple[ImagePlace, ...]

    def repeated(self, inputs: Tensor) -> DetectorBatch:
        """The first image in other forms; each has a data sample of its own, which heads write into."""
        count = len(inputs)
        samples = [self.data_samples[0].clone() for _ in range(count)]
        return replace(
            self,
            inputs=inputs,
            geometries=self.geometries[:1] * count,
            data_samples=samples,
            places=self.places[:1] * count,
        )


class Detector(AnyModel):
    """A model of OpenMMLab with its test pipeline.

    Args:
        config: A path, a scoped or bare name, or a Config. A Config is not changed.
        checkpoint: A path or URL; None for random weights, the same each time.
        device: Such as ``cuda:0`` or ``cpu``; None for the first CUDA device, else the CPU.
        cfg_options: Overrides of the config.
        score_thr: Detections below it are not asked for. It is handed on to heads that stay exact under it.
        trust_checkpoint: Unpickle a checkpoint that weights-only loading refuses. It can run any code.
        model: The model, where it is built already; it is put into eval mode, on the device.
        amp: Run the network under autocast: in float16 on CUDA, in bfloat16 elsewhere. Boxes and masks are made of its
            raw output in float32.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | None = None,
        cfg_options: dict[str, Any] | None = None,
        score_thr: float = 0.3,
        trust_checkpoint: bool = False,
        amp: bool = False,
        model: nn.Module | None = None,
    ) -> None:
        self.config = load_config(config, cfg_options)
        self.device = pick_device(device)
        self.amp = amp
        weights = None if checkpoint is None else load_checkpoint(checkpoint, trust=trust_checkpoint)
        self.random_weights = weights is None and model is None
        if model is not None:
            import_scopes(self.config)  # the transforms of the test pipeline
            if not hasattr(model, 'data_preprocessor'):
                raise OptionError(
                    f'{type(model).__name__} was given as the model beside a config: expected a detector of MMEngine, '
                    'with a data_preprocessor; any other goes without one: FeatMapInferencer(model=…, preprocess=…)'
                )
        self.model = build_model(self.config, random_weights=weights is None) if model is None else model
        self.weights = apply_weights(self.model, weights) if weights else None
        # Without the weights, which the model has now: they would only take memory.
        self._checkpoint = replace(weights, state_dict=OrderedDict()) if weights else None
        meta = dict(weights.meta) if weights else {}
        self.classes, self.palette = class_names(self.config, meta), class_palette(self.config, meta)
        self._reader = Reader.of(self.model, self.classes, self.palette, score_thr)
        self.model.to(self.device)
        self.model.eval()
        self._scope = scope_of(self.config)
        self.head_score_thr = own_score_threshold(self.model)
        self.score_thr = score_thr
        # On a device each small operation is a kernel to launch, of which scaling the weights takes several.
        self._norms = FusedNorms(self.model) if self.device.type == 'cpu' else None
        self._decoding = FullPrecision(self.model) if amp else None
        # Convolutions are faster with channels last on CPUs, elsewhere in half precision. A layer passes the layout of
        # its input on, so that of the network input does for all. MMCV's compiled ops do not look at it, and would
        # read something else than what is meant.
        self._channels_last = ensure_ops() and (self.device.type == 'cpu' or amp)
        with DefaultScope.overwrite_default_scope(self._scope):
            self._pipeline = TestPipeline(self.config)
        self._placement = Placement(self._pipeline, self._network_input, self.model.data_preprocessor)
        self._window = window_of(self.model)
        if self._window is not None:
            height, width = self._window
            warnings.warn(
                f"test_cfg has mode='slide', windows of {width}x{height}: the network is given whole images here, "
                'so that a layer has one map of an image; what it finds differs a little from a test by windows',
                FeatMapWarning,
                stacklevel=2,
            )

    @cached_property
    def provenance(self) -> dict[str, str | None]:
        """The config's and the checkpoint's path or URL, and the hash of the checkpoint file."""
        checkpoint = self._checkpoint
        return {
            'config': self.config.filename,
            'checkpoint': checkpoint.source if checkpoint else None,
            'checkpoint_sha256': checkpoint.sha256 if checkpoint else None,
        }

    def prepare(
        self, images: Sequence[np.ndarray], contiguous: bool = False, over_input: bool = False
    ) -> DetectorBatch:
        """Run the test pipeline and the data preprocessor on images, which may differ in size."""
        data = self._preprocessed(images)
        inputs, samples = data['inputs'], data['data_samples']
        shape = (int(inputs.shape[-2]), int(inputs.shape[-1]))
        if over_input:
            places = tuple(ImagePlace.of_input(shape) for _ in samples)
        else:
            places = tuple(self._placement.of(s.metainfo, image.shape[:2], shape) for s, image in zip(samples, images))
        if is_segmentor(self.model):
            count = max(len(self.classes), int(getattr(self.model, 'out_channels', 1)))
            places = tuple(SegmentorPlace.of(place.geometry, count) for place in places)
        for sample, place in zip(samples, places):
            sample.set_metainfo(place.entries(sample.metainfo))
        geometries = tuple(place.geometry for place in places)
        return DetectorBatch(self._laid_out(inputs, contiguous), geometries, samples, places)

    def _preprocessed(self, images: Sequence[np.ndarray]) -> dict[str, Any]:
        packed = [self._packed(image) for image in images]
        data = {key: [item[key] for item in packed] for key in ('inputs', 'data_samples')}
        with torch.no_grad():
            return self.model.data_preprocessor(data, False)  # type: ignore[operator]

    def _network_input(self, image: np.ndarray) -> np.ndarray:
        return self._preprocessed([image])['inputs'][0].float().cpu().numpy()

    def _packed(self, image: np.ndarray) -> dict[str, Any]:
        try:
            return self._pipeline(image)
        except FeatMapError:
            raise
        except Exception as error:  # whatever a transform makes of an image that it cannot take
            height, width = image.shape[:2]
            raise SourceError(
                f'the test pipeline cannot take an image of {width}x{height}: '
                f'{type(error).__name__}: {first_line(error)}'
            ) from error

    def meanings(self) -> Meanings:
        """What the outputs of its heads mean."""
        return Meanings(self.model, self.classes)

    def raw_layers(self) -> list[RawLayer]:
        """The layers of its heads."""
        return raw_layers(self.model, self.classes)

    def _explained(self, error: Exception, batch: Batch) -> ConfigError | None:
        """Where a segmentor cannot take the size of an input, what to do."""
        about_size = isinstance(error, (AssertionError, RuntimeError, ValueError))
        if not about_size or not is_segmentor(self.model) or isinstance(error, torch.cuda.OutOfMemoryError):
            return None
        rows, columns = batch.input_shape
        name = type(getattr(self.model, 'backbone', self.model)).__name__
        return ConfigError(
            f'{name} cannot take an input of {columns}x{rows}: {type(error).__name__}: {first_line(error)}; '
            f'{remedy(self._window)} ({written("cfg_options")})'
        )

    def _predict(self, batch: Batch) -> tuple[Detections, ...] | None:
        assert isinstance(batch, DetectorBatch)
        with torch.no_grad(), raised_score_threshold(self.model, self.score_thr):
            samples = self._samples(batch)
        if not self._has_head:
            return None
        reader = replace(self._reader, score_thr=self.score_thr)
        return tuple(reader.read(sample, place) for sample, place in zip(samples, batch.places))

    def _respond(self, batch: Batch, raw: float | None) -> tuple[Answers, ...]:
        assert isinstance(batch, DetectorBatch)
        limits = raised_score_threshold(self.model, self.score_thr) if raw is None else unsuppressed(self.model, raw)
        # Some heads score their masks too, and multiply the box's score with that.
        decoding, masks = joined(self.model, 'predict_by_feat'), joined(self.model, 'predict_mask')
        with limits, decoding, masks, class_scores(self.model) as scores:
            samples = self._samples(batch)
        if not self._has_head:
            return tuple(Answers(output=samples, classes=self.classes) for _ in batch.places)
        reader = replace(self._reader, score_thr=self.score_thr)
        each = list(scores[0]) if len(scores) == 1 and len(scores[0]) == len(samples) else [None] * len(samples)
        return tuple(
            answers_of(*given[:2], reader, raw is not None, given[2]) for given in zip(samples, batch.places, each)
        )

    @property
    def _has_head(self) -> bool:
        return getattr(self.model, 'head', self) is not None  # of mmpretrain's, backbones can stand alone

    def _samples(self, batch: DetectorBatch) -> list[Any]:
        scope = DefaultScope.overwrite_default_scope(self._scope)
        fused = self._norms.active() if self._norms else nullcontext()
        decoding = self._decoding.active() if self._decoding else nullcontext()
        with self._autocast(), scope, fused, decoding, whole_images(self.model):
            try:
                return self.model(batch.inputs, batch.data_samples, mode='predict' if self._has_head else 'tensor')
            except ModuleNotFoundError as error:  # some of mmdet's heads import what they need only here
                name = missing_name(error)
                if name is None:
                    raise
                raise missing_package(name, 'the forward') from error
