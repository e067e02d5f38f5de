"""What mmseg's segmentors do otherwise than detectors: they cut images into windows, padding off, and scale planes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from featmap.geometry import ImageGeometry
from featmap.meaning import Meaning, repeated
from featmap.models.openmmlab.image_place import ImagePlace

_AT_MOST = 2**28  # numbers: a GB of scores, as 150 classes of 1.8 megapixels have


def is_segmentor(model: nn.Module) -> bool:
    """Whether a model is one of mmseg's."""
    return all(callable(getattr(model, name, None)) for name in ('encode_decode', 'postprocess_result'))


def window_of(model: nn.Module) -> tuple[int, int] | None:
    """Height and width of the windows into which a segmentor cuts images (``mode='slide'``); None where it does not."""
    cfg = getattr(model, 'test_cfg', None) or {}
    if not is_segmentor(model) or not str(cfg.get('mode', '')).startswith('slide'):
        return None
    height, width = cfg['crop_size']
    return int(height), int(width)


def remedy(window: tuple[int, int] | None) -> str:
    """What may help where a segmentor, of such windows or of none, cannot take the size of an input."""
    if window is None:
        return 'model.data_preprocessor.test_cfg.size_divisor=32 makes it a multiple of 32'
    return f'it is made for windows of {window[1]}x{window[0]}: let the test pipeline make images of that size'


class ClassPlanes:
    """What the last layer of a segmentor's head puts out: a plane of each class, or one of a class against none.

    Args:
        planes: How many.
        classes: The model's class names; numbers stand for them where there are not as many.
    """

    by_query = False

    def __init__(self, planes: int, classes: Sequence[str] = ()) -> None:
        given = classes[-1:] if planes == 1 else classes  # of two classes the one that is not the background
        self.names = repeated(given if len(given) == planes else [f'class {number}' for number in range(planes)])

    def of(self, path: str, channels: int) -> Meaning:
        """The meaning of the map at a path."""
        activation = 'sigmoid' if channels == 1 else 'softmax'
        return Meaning('cls', '', self.names, tuple(range(channels)), activation=activation)

    def beside(self, meaning: Meaning, output: Any, path: str) -> Meaning:
        """The same: nothing else says what the planes are worth."""
        return meaning


def class_layers(model: nn.Module, classes: Sequence[str] = ()) -> Iterator[tuple[nn.Module, ClassPlanes]]:
    """The layers of a segmentor's heads that put out a plane of each class, ``decode_head.conv_seg``."""
    for head in model.modules() if is_segmentor(model) else ():
        layer = getattr(head, 'conv_seg', None)
        if isinstance(layer, nn.Conv2d):
            yield layer, ClassPlanes(layer.out_channels, classes)


@contextmanager
def whole_images(model: nn.Module) -> Iterator[None]:
    """Within, a segmentor is given the whole image at once: each layer runs once, and has one map of all of it."""
    if window_of(model) is None:
        yield
        return
    cfg: Any = model.test_cfg
    own = cfg['mode']
    cfg['mode'] = 'whole'
    try:
        yield
    finally:
        cfg['mode'] = own


@dataclass(frozen=True)
class SegmentorPlace(ImagePlace):
    """Where an image lies that a segmentor is given.

    It cuts ``padding_size`` off its scores and scales the rest to ``ori_shape`` before it compares them: what these say
    is made of the geometry here, whatever the pipeline said. Of an image that is cut off, or so large that the scores
    of all classes would not fit into memory, it answers in pixels of the network input.
    """

    @classmethod
    def of(cls, geometry: ImageGeometry, classes: int) -> SegmentorPlace:
        """The place by the geometry, for a segmentor of so many classes."""
        (height, width), (x1, y1, x2, y2) = geometry.image_shape, geometry.visible
        is_whole = max(x1, y1, width - x2, height - y2) < 0.5
        told = is_whole and height * width * classes <= _AT_MOST
        return cls(geometry, told, geometry.image_shape if told else geometry.input_shape)

    def entries(self, metainfo: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of the metainfo to replace. Flips are left to :meth:`plane`."""
        shape = height, width = self.geometry.input_shape
        left, top, right, bottom = self._content() if self.told else (0, 0, width, height)
        padding = [left, width - right, top, height - bottom]
        return {
            'ori_shape': self.answer_shape,
            'img_shape': shape,
            'pad_shape': shape,
            'padding_size': padding,
            'img_padding_size': padding,
            'flip': False,
        }

    def _content(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the image in whole pixels of the network input."""
        (height, width), (rows, columns) = self.geometry.image_shape, self.geometry.input_shape
        ends = self.geometry.to_input(0, 0), self.geometry.to_input(width, height)
        (left, right), (top, bottom) = (sorted(math.floor(end[axis] + 0.5) for end in ends) for axis in (0, 1))
        return max(left, 0), max(top, 0), min(right, columns), min(bottom, rows)
