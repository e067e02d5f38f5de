"""A config's test pipeline, fed with RGB arrays, with the metainfo that the geometry needs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config

from featmap.errors import ConfigError, GeometryError

# What the geometry reads. PackDetInputs passes over a key that its pipeline did not set.
_META_KEYS = (
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'pad_param', 'border', 'flip',
    'flip_direction',
)  # fmt: skip
# Transforms that pad at the bottom and right and record no offset, for there is none.
_PAD_BOTTOM_RIGHT = {'Pad', 'FixShapeResize'}
_PAD = _PAD_BOTTOM_RIGHT | {'LetterResize', 'RandomCenterCropPad'}


def test_pipeline_config(config: Config) -> list[dict[str, Any]]:
    """The test pipeline as plain dicts, for an array instead of a file, without annotations.

    Raises:
        ConfigError: where the config has none, or none that starts by loading an image.
    """
    steps = _find_pipeline(config)
    if not steps:
        raise ConfigError('the config has no test pipeline: expected test_dataloader.dataset.pipeline or test_pipeline')
    kept: list[dict[str, Any]] = []
    for step in steps:
        kind = type_name(step)
        if kind.startswith('LoadImageFrom'):
            kept.append(
                {
                    'type': 'mmdet.LoadImageFromNDArray',
                    'to_float32': step.get('to_float32', False),
                }
            )
        elif kind.startswith('Load'):
            continue  # annotations, which inference has none of
        elif kind.startswith('Pack'):
            keys = tuple(step.get('meta_keys', ()))
            kept.append(dict(step, meta_keys=keys + tuple(k for k in _META_KEYS if k not in keys)))
        else:
            kept.append(step)
    if not kept or type_name(kept[0]) != 'LoadImageFromNDArray':
        raise ConfigError(f'the test pipeline starts with {type_name(steps[0])}: expected LoadImageFromFile')
    if not type_name(kept[-1]).startswith('Pack'):
        raise ConfigError(
            f'the test pipeline ends with {type_name(steps[-1])}: expected PackDetInputs (test-time augmentation '
            'has no single network input to draw; use the plain test pipeline)'
        )
    return kept


def type_name(step: Mapping[str, Any]) -> str:
    """The name of a transform without its scope: ``mmdet.Pad`` is ``Pad``."""
    kind = step['type']
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def dataset_config(config: Config) -> dict[str, Any]:
    """The config of the test dataset; of nested and of several ones, the first that has a pipeline of its own."""
    loader = config.get('test_dataloader') or {}
    if isinstance(loader, (list, tuple)):
        loader = loader[0]
    dataset = loader.get('dataset') or {}
    while 'pipeline' not in dataset:
        inner = dataset.get('dataset') or next(iter(dataset.get('datasets') or ()), None)
        if inner is None:
            break
        dataset = inner
    return dataset


def _find_pipeline(config: Config) -> list[dict[str, Any]]:
    steps = dataset_config(config).get('pipeline') or config.get('test_pipeline') or []
    return [step.to_dict() if hasattr(step, 'to_dict') else copy.deepcopy(dict(step)) for step in steps]


class TestPipeline:
    """Runs a config's test pipeline on images in memory."""

    __test__ = False  # for pytest, which takes the name for a test class

    def __init__(self, config: Config) -> None:
        from mmcv.transforms import Compose

        steps = test_pipeline_config(config)
        self.kinds = [type_name(step) for step in steps]
        self._run = Compose(steps)

    def __call__(self, image: np.ndarray, name: str = '') -> dict[str, Any]:
        """``inputs`` (C, H, W) and ``data_samples`` for one (H, W, 3) RGB uint8 image.

        Raises:
            GeometryError: where the pipeline moved the image in a way that it does not tell.
        """
        # MMCV's loaders hand out BGR.
        packed = self._run({'img': cv2.cvtColor(image, cv2.COLOR_RGB2BGR), 'img_id': 0, 'img_path': name})
        self._check(packed['data_samples'].metainfo, tuple(packed['inputs'].shape[-2:]))
        return packed

    def _check(self, meta: Mapping[str, Any], shape: tuple[int, ...]) -> None:
        """Refuse padding of unknown place: a letterbox drawn as if it began at the top left would be a lie."""
        factors = np.atleast_1d(np.asarray(meta.get('scale_factor', 1.0), dtype=float))
        height, width = meta['ori_shape'][:2]
        content = (height * factors[1 if factors.size > 1 else 0], width * factors[0])
        if all(abs(a - b) <= 1.5 for a, b in zip(shape, content)):
            return
        if meta.get('flip') and self._flips_padding():
            raise GeometryError(
                'the test pipeline flips the image with its padding, and does not say where it lies then; put '
                'RandomFlip before the transform that pads'
            )
        if 'pad_param' not in meta and 'border' not in meta and not _PAD_BOTTOM_RIGHT & set(self.kinds):
            raise GeometryError(
                f'the test pipeline made {shape} of an image of {(height, width)} scaled to '
                f'{tuple(round(extent) for extent in content)} and does not say where it lies; have the transform '
                "set results['pad_param'] = (top, bottom, left, right)"
            )

    def _flips_padding(self) -> bool:
        last_flip = max((index for index, kind in enumerate(self.kinds) if 'Flip' in kind), default=-1)
        return bool(_PAD & set(self.kinds[: last_flip + 1]))
