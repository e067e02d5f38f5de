"""Where one image lies in the network input, and what a head's answer is in its pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from featmap.geometry import ImageGeometry


@dataclass(frozen=True)
class ImagePlace:
    """Where one image lies, and whether its metainfo says so.

    Attributes:
        geometry: How the image lies in the network input.
        told: Whether heads, which believe the metainfo, answer in pixels of the original image, up to flips. Otherwise
            they are given entries with which they answer in pixels of the network input.
        answer_shape: Height and width of the planes that heads answer with, such as masks.
    """

    geometry: ImageGeometry
    told: bool
    answer_shape: tuple[int, int]

    @classmethod
    def as_told(cls, geometry: ImageGeometry) -> ImagePlace:
        """The place of an image whose metainfo is true."""
        return cls(geometry, True, geometry.image_shape)

    @classmethod
    def as_measured(cls, geometry: ImageGeometry, metainfo: Mapping[str, Any]) -> ImagePlace:
        """The place of an image whose metainfo says something else."""
        (height, width), (x1, y1, x2, y2) = geometry.input_shape, geometry.visible
        ends = geometry.to_input(x1, y1), geometry.to_input(x2, y2)
        # Heads cut boxes at img_shape. What else the network makes of it is left to the pipeline, as long as all of
        # the image is within.
        told = metainfo.get('img_shape', (0, 0))
        right, bottom = (math.ceil(max(end[axis] for end in ends)) for axis in (0, 1))
        return cls(geometry, False, (min(max(int(told[0]), bottom), height), min(max(int(told[1]), right), width)))

    @classmethod
    def of_input(cls, input_shape: tuple[int, int]) -> ImagePlace:
        """The place of a network input of this height and width in itself."""
        return cls(ImageGeometry.whole(input_shape), False, input_shape)

    def entries(self, metainfo: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of the metainfo to replace: where it is untrue, heads are to leave scale and shift alone."""
        if self.told:
            return {}
        pads = {name: np.zeros(4, np.float32) for name in ('pad_param', 'border') if metainfo.get(name) is not None}
        return {'ori_shape': self.answer_shape, 'img_shape': self.answer_shape, 'scale_factor': (1.0, 1.0), **pads}

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """A head's boxes x1 y1 x2 y2, (N, 4), in pixels of the original image, cut at its edges."""
        geometry = self.geometry
        height, width = geometry.image_shape
        if self.told:
            left, top, right, bottom = boxes.T
            left, right = (width - right, width - left) if geometry.flip[0] else (left, right)
            top, bottom = (height - bottom, height - top) if geometry.flip[1] else (top, bottom)
            boxes = np.stack([left, top, right, bottom], axis=1)
        else:
            boxes = geometry.boxes_to_image(boxes)
        return np.clip(boxes, 0, np.array([width, height, width, height], dtype=boxes.dtype))

    def plane(self, plane: np.ndarray, void: int = 0) -> np.ndarray:
        """A head's plane of ``answer_shape`` on the original image, (H, W); ``void`` where the image was cut off."""
        if not self.told:
            return self.geometry.planes_to_image(plane, void)
        flip = self.geometry.flip
        return plane[:: -1 if flip[1] else 1, :: -1 if flip[0] else 1]
