"""A config's test pipeline, fed with RGB arrays, with the metainfo that tells of the geometry."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config

from featmap.errors import ConfigError, FeatMapWarning
from featmap.wording import option as written

# What tells of the geometry. Transforms that pack pass over a key that their pipeline did not set.
_META_KEYS = (
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'pad_param', 'border', 'flip',
    'flip_direction',
)  # fmt: skip


# Data sets whose images are no files, but arrays in RGB.
_OF_ARRAYS = {'CIFAR10', 'CIFAR100'}


class LoadArray:
    """Stands where a pipeline loads an image from a file: the image is there already.

    Of mmdet, mmseg and mmpretrain, each of which has a loader for arrays of its own or none, any may be missing.

    Args:
        to_float32: Whether what comes after is given float32 instead of uint8.
        rgb: Whether it is given RGB: where a data set has arrays instead of files. MMCV's loaders hand out BGR.
    """

    def __init__(self, to_float32: bool = False, rgb: bool = False) -> None:
        self.to_float32 = to_float32
        self.rgb = rgb

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """The results with the image as a loader leaves it, and its shape; it is given in BGR."""
        image = results['img']
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if self.rgb else image
        image = image.astype(np.float32) if self.to_float32 else image
        shape = image.shape[:2]
        return {**results, 'img': image, 'img_shape': shape, 'ori_shape': shape}


def test_pipeline_config(config: Config) -> list[dict[str, Any]]:
    """The test pipeline as plain dicts, for an array instead of a file, without annotations.

    Raises:
        ConfigError: where the config has none, or none that starts by loading an image.
    """
    steps = _find_pipeline(config) or _of_a_backbone(config)
    if not steps:
        raise ConfigError('the config has no test pipeline: expected test_dataloader.dataset.pipeline or test_pipeline')
    kept: list[dict[str, Any]] = []
    for step in steps:
        kind = type_name(step)
        if kind.startswith('LoadImageFrom'):
            kept.append({'type': LoadArray, 'to_float32': step.get('to_float32', False)})
        elif kind.startswith('Load'):
            continue  # annotations, which inference has none of
        elif kind.startswith('Pack'):
            keys = tuple(step.get('meta_keys', ()))
            kept.append(dict(step, meta_keys=keys + tuple(k for k in _META_KEYS if k not in keys)))
        else:
            kept.append(step)
    if kept and kept[0]['type'] is not LoadArray and type_name(dataset_config(config)) in _OF_ARRAYS:
        kept.insert(0, {'type': LoadArray, 'rgb': True})
    if not kept or kept[0]['type'] is not LoadArray:
        raise ConfigError(f'the test pipeline starts with {type_name(steps[0])}: expected LoadImageFromFile')
    if not type_name(kept[-1]).startswith('Pack'):
        raise ConfigError(
            f'the test pipeline ends with {type_name(steps[-1])}: expected PackDetInputs, PackSegInputs or PackInputs '
            '(test-time augmentation has no single network input to draw; use the plain test pipeline)'
        )
    return kept


def type_name(step: Mapping[str, Any]) -> str:
    """The name of a transform without its scope: ``mmdet.Pad`` is ``Pad``."""
    kind = step.get('type', '')
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


def _of_a_backbone(config: Config) -> list[dict[str, Any]]:
    """What mmpretrain's classifiers are tested with, for a backbone alone, whose config has weights and no data."""
    model = config.get('model') or {}
    if type_name(model) != 'ImageClassifier' or model.get('head'):
        return []
    size = (model.get('backbone') or {}).get('img_size', 224)
    size = size if isinstance(size, int) else min(size)
    warnings.warn(
        f'the config has no test pipeline: the shorter side of an image becomes {size}, and its middle is cut out, '
        f'{size}x{size}; {written("cfg_options")} can set test_pipeline',
        FeatMapWarning,
        stacklevel=2,
    )
    return [
        {'type': 'LoadImageFromFile'},
        {'type': 'ResizeEdge', 'scale': size, 'edge': 'short'},
        {'type': 'CenterCrop', 'crop_size': size},
        {'type': 'PackInputs'},
    ]


class TestPipeline:
    """Runs a config's test pipeline on images in memory.

    Attributes:
        steps: Name and function of each transform, in order; the last one packs.
    """

    __test__ = False  # for pytest, which takes the name for a test class

    def __init__(self, config: Config) -> None:
        from mmcv.transforms import Compose

        steps = test_pipeline_config(config)
        self._run = Compose(steps)
        self.steps: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
            (type_name(step), transform) for step, transform in zip(steps, self._run.transforms)
        ]

    def __call__(self, image: np.ndarray, name: str = '') -> dict[str, Any]:
        """``inputs`` (C, H, W) and ``data_samples`` for one (H, W, 3) RGB uint8 image."""
        return self._run(self.begin(image, name))

    @staticmethod
    def begin(image: np.ndarray, name: str = '') -> dict[str, Any]:
        """What the first transform is given for an (H, W, 3) RGB uint8 image."""
        # MMCV's loaders hand out BGR.
        return {'img': cv2.cvtColor(image, cv2.COLOR_RGB2BGR), 'img_id': 0, 'img_path': name}
