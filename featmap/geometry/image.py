"""Where in the image a feature cell lies, and the warp that puts it there.

Three grids are in play: the original image, the network input (resized, maybe flipped, padded) and the feature map.
Positions are continuous: pixel (or cell) ``i`` covers ``[i, i + 1)`` and its centre is at ``i + 0.5``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from featmap.errors import GeometryError, first_line
from featmap.geometry.strides import Offset, Stride, nominal_stride
from featmap.geometry.view import View
from featmap.geometry.warp import Warp, axis_of

_ROUNDING = 1.5
"""Input pixels by which the content may end early or late for no other reason than rounding."""


@dataclass(frozen=True)
class ImageGeometry:
    """How one original image lies in the network input.

    Attributes:
        image_shape: Height and width of the original image.
        input_shape: Height and width of the network input, padding included.
        scale: Resize factors ``(sx, sy)`` from the original image to the input: width first.
        offset: ``(left, top)`` padding in input pixels; below 0 where the image begins outside of the input.
        flip: Whether the content is mirrored ``(horizontally, vertically)``.
        crop: ``(x1, y1, x2, y2)``, the part of the original image that was let into the input, in its own pixels; None
            for all that fits.
    """

    image_shape: tuple[int, int]
    input_shape: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0, 0)
    flip: tuple[bool, bool] = (False, False)
    crop: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        for shape in (self.image_shape, self.input_shape):
            _check('a shape', shape, 2, lambda side: side >= 1 and side == int(side), 'height and width, 1 or more')
        _check('scale_factor', self.scale, 2, lambda factor: factor > 0, 'two positive numbers')
        _check('an offset', self.offset, 2, lambda _: True, 'two numbers, left and top')
        _check('a flip', self.flip, 2, lambda turned: turned in (True, False), 'two of True and False')
        if self.crop is not None:
            _check('a crop', self.crop, 4, lambda _: True, 'x1, y1, x2, y2 in pixels')
        x1, y1, x2, y2 = self.visible
        if not (x1 < x2 and y1 < y2):
            raise GeometryError(
                f'nothing of an image of {self.image_shape}, scaled by {self.scale} and put at {self.offset}, lies in '
                f'the network input of {self.input_shape}'
            )

    @classmethod
    def from_metainfo(cls, metainfo: Mapping[str, Any], input_shape: tuple[int, int] | None = None) -> ImageGeometry:
        """Read the geometry off a data sample's metainfo.

        Args:
            metainfo: Needs ``ori_shape``; uses ``scale_factor`` (w, h), ``pad_param`` (top, bottom, left, right),
                ``border`` (top, bottom, left, right of the content), ``flip`` and ``flip_direction`` where present.
            input_shape: Height and width of the batched input; default ``batch_input_shape`` of the metainfo.

        Raises:
            GeometryError: where a needed entry is missing or the entries contradict each other.
        """
        try:
            return cls._of_metainfo(metainfo, input_shape)
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise GeometryError(f'the metainfo of the test pipeline cannot be read: {first_line(error)}') from error

    @classmethod
    def _of_metainfo(cls, metainfo: Mapping[str, Any], input_shape: tuple[int, int] | None) -> ImageGeometry:
        if input_shape is None:
            input_shape = metainfo.get('batch_input_shape')
        if input_shape is None or 'ori_shape' not in metainfo:
            raise GeometryError(
                "the test pipeline hands on no 'ori_shape' or 'batch_input_shape': add them to the meta_keys of "
                f'PackDetInputs (got {sorted(metainfo)})'
            )
        factors = metainfo.get('scale_factor')
        factors = np.atleast_1d(np.asarray(1.0 if factors is None else factors, dtype=float))
        pads = metainfo.get('pad_param')
        if pads is None:
            pads = metainfo.get('border')
        top, _, left, _ = (0, 0, 0, 0) if pads is None else (math.floor(float(pad)) for pad in pads)
        direction = (metainfo.get('flip_direction') or 'horizontal') if metainfo.get('flip') else ''
        geometry = cls(
            image_shape=_pair(metainfo['ori_shape']),
            input_shape=_pair(input_shape),
            scale=(float(factors[0]), float(factors[1 if factors.size > 1 else 0])),
            offset=(int(left), int(top)),
            flip=(direction in ('horizontal', 'diagonal'), direction in ('vertical', 'diagonal')),
        )
        geometry._check_fit(int(left), int(top))
        return geometry

    @classmethod
    def whole(cls, image_shape: tuple[int, int]) -> ImageGeometry:
        """The geometry of an input that is the image itself."""
        return cls(_pair(image_shape), _pair(image_shape))

    def resized(self, image_shape: tuple[int, int]) -> ImageGeometry:
        """The geometry for the original image resized to this height and width; the network input stays."""
        height, width = self.image_shape
        down, across = image_shape[0] / height, image_shape[1] / width
        crop = self.crop
        if crop:
            crop = crop[0] * across, crop[1] * down, crop[2] * across, crop[3] * down
        return replace(self, image_shape=image_shape, scale=(self.scale[0] / across, self.scale[1] / down), crop=crop)

    @property
    def content_shape(self) -> tuple[int, int]:
        """Height and width, in input pixels, of the resized image without its padding."""
        height, width = self.image_shape
        return max(round(height * self.scale[1]), 1), max(round(width * self.scale[0]), 1)

    @property
    def visible(self) -> tuple[float, float, float, float]:
        """The part of the original image that lies in the input, ``(x1, y1, x2, y2)`` in its own pixels."""
        height, width = self.image_shape
        x1, y1, x2, y2 = self.crop or (0.0, 0.0, float(width), float(height))
        left, right = self._reach(0, width)
        top, bottom = self._reach(1, height)
        return max(x1, left), max(y1, top), min(x2, right), min(y2, bottom)

    @property
    def is_cropped(self) -> bool:
        """Whether a part of the original image is missing in the input."""
        height, width = self.image_shape
        return self.visible != (0, 0, width, height)

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """Continuous position in the original image to the network input."""
        height, width = self.content_shape
        u, v = x * self.scale[0], y * self.scale[1]
        u, v = (width - u if self.flip[0] else u), (height - v if self.flip[1] else v)
        return u + self.offset[0], v + self.offset[1]

    def to_image(self, u: Any, v: Any) -> tuple[Any, Any]:
        """Continuous positions in the network input, numbers or arrays, to the original image."""
        height, width = self.content_shape
        x, y = u - self.offset[0], v - self.offset[1]
        x, y = (width - x if self.flip[0] else x), (height - y if self.flip[1] else y)
        return x / self.scale[0], y / self.scale[1]

    def boxes_to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes x1 y1 x2 y2, (N, 4), in network input pixels, to pixels of the original image; they may leave it."""
        x, y = self.to_image(boxes[:, 0::2], boxes[:, 1::2])
        ends = np.stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)], axis=1)
        return ends.astype(boxes.dtype, copy=False)

    def planes_to_image(self, planes: np.ndarray, void: int = 0) -> np.ndarray:
        """Pixels of the network input, (..., h, w), such as masks, to the original image: (..., H, W), the nearest.

        ``void`` where the image is cut off.
        """
        (height, width), (x1, y1, x2, y2) = self.image_shape, self.visible
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        columns, rows = self.to_input(x, y)  # type: ignore[arg-type]
        columns = np.clip(np.floor(columns), 0, planes.shape[-1] - 1).astype(np.intp)
        rows = np.clip(np.floor(rows), 0, planes.shape[-2] - 1).astype(np.intp)
        picked = planes[..., rows[:, None], columns]
        picked[..., (y < y1) | (y > y2), :] = void
        picked[..., (x < x1) | (x > x2)] = void
        return picked

    def stride(self, map_shape: tuple[int, int]) -> Stride:
        """Nominal stride ``(sy, sx)`` of a map of this height and width; see :func:`nominal_stride`."""
        return nominal_stride(self.input_shape, map_shape)

    def content_cells(
        self, map_shape: tuple[int, int], stride: Stride | None = None, offset: Offset = (0.0, 0.0)
    ) -> tuple[slice, slice]:
        """Rows and columns whose cell centres lie on image content: the ones that statistics count.

        At least one cell each way: content smaller than a cell counts the cell that holds its middle. Cell ``i`` of an
        axis has its centre at ``(i + 0.5 + offset) · stride``.
        """
        return self._cells(map_shape, stride, offset, 0.5)

    def weights(
        self, map_shape: tuple[int, int], stride: Stride | None = None, offset: Offset = (0.0, 0.0)
    ) -> np.ndarray:
        """How much each cell counts in statistics, (h, w) float32: 1 on image content, 0 on padding."""
        content = self.content_cells(map_shape, stride, offset)
        counts = np.zeros(map_shape, dtype=np.float32)
        counts[content] = 1
        return counts

    def warper(
        self,
        map_shape: tuple[int, int],
        stride: Stride | None = None,
        view: View | None = None,
        offset: Offset = (0.0, 0.0),
    ) -> Warp:
        """The bilinear warp of a map of this height and width onto the original image, or a view of it.

        Un-padding, un-scaling, un-flipping and upsampling are one affine map, and a diagonal one, so each axis is
        interpolated on its own. Cells that share no pixel with the content are not touched; the outermost cell that
        does is extended to the image's edge. Where the image was cut off there is nothing to see.
        """
        sy, sx = self._stride_of(map_shape, stride)
        rows, columns = self._cells(map_shape, (sy, sx), offset, 0.0)
        height, width = self.content_shape
        left, top = self.offset[0] - offset[1] * sx, self.offset[1] - offset[0] * sy
        view = view or View.of(self.image_shape)
        return Warp(
            axis_of(view.rows, self.scale[1], height if self.flip[1] else None, top, sy, rows),
            axis_of(view.columns, self.scale[0], width if self.flip[0] else None, left, sx, columns),
            self._kept(view) if self.is_cropped else None,
        )

    def warp(self, planes: np.ndarray, stride: Stride | None = None, offset: Offset = (0.0, 0.0)) -> np.ndarray:
        """Put planes of (..., h, w) onto the original image: (..., H, W) float32.

        NaN, in all planes, where cells that are not finite in one of them contribute more than half, and where the
        image was cut off.
        """
        planes = np.asarray(planes, dtype=np.float32)
        warped, visible = self.warper(planes.shape[-2:], stride, offset=offset).masked(planes)
        if visible is not None:
            warped[..., ~visible] = np.nan
        return warped

    def _stride_of(self, map_shape: tuple[int, int], stride: Stride | None) -> Stride:
        if stride is None:
            return self.stride(map_shape)
        _check('a stride', stride, 2, lambda step: step > 0, 'two positive numbers')
        return stride

    def _cells(
        self, map_shape: tuple[int, int], stride: Stride | None, offset: Offset, margin: float
    ) -> tuple[slice, slice]:
        """Cells of which more than ``margin`` (0: any part, 0.5: the centre) reaches into the content."""
        sy, sx = self._stride_of(map_shape, stride)
        left, top, width, height = self._content()
        left, top = left - offset[1] * sx, top - offset[0] * sy
        return (
            _span(top, height, sy, map_shape[0], margin),
            _span(left, width, sx, map_shape[1], margin),
        )

    def _content(self) -> tuple[float, float, float, float]:
        """Where the content begins in the input, left and top, and its width and height."""
        height, width = self.content_shape
        if not self.is_cropped:
            return *self.offset, width, height
        x1, y1, x2, y2 = self.visible
        (u1, v1), (u2, v2) = self.to_input(x1, y1), self.to_input(x2, y2)
        return min(u1, u2), min(v1, v2), abs(u2 - u1), abs(v2 - v1)

    def _kept(self, view: View) -> tuple[slice, slice]:
        """Rows and columns of a view whose centres lie in the part of the image that the input holds."""
        x1, y1, x2, y2 = self.visible
        rows, columns = np.searchsorted(view.rows, (y1, y2)), np.searchsorted(view.columns, (x1, x2))
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))

    def _reach(self, axis: int, extent: int) -> tuple[float, float]:
        """From where to where an axis of the input reaches, in pixels of the original image, and not beyond it."""
        end = self.input_shape[1 - axis]
        low, high = sorted((self.to_image(0, 0)[axis], self.to_image(end, end)[axis]))
        # Resizers round or cut the last pixel: that is no crop.
        slack = _ROUNDING / self.scale[axis]
        return (0.0 if low < slack else low), (float(extent) if high > extent - slack else high)

    def _check_fit(self, left: int, top: int) -> None:
        """Refuse what metainfo cannot say: it knows of padding, not of crops."""
        height, width = self.content_shape
        if min(left, top) < 0 or top + height > self.input_shape[0] + 1 or left + width > self.input_shape[1] + 1:
            raise GeometryError(
                f'the image content of {height}x{width} at row {top}, column {left} does not fit the network input of '
                f'{self.input_shape[0]}x{self.input_shape[1]}: the test pipeline seems to crop, which metainfo does '
                'not tell; measure it'
            )


def _span(start: float, length: float, stride: float, cells: int, margin: float) -> slice:
    if margin:
        first = math.ceil(start / stride - margin)
        last = math.ceil((start + length) / stride - margin)
    else:
        first = math.floor(start / stride)
        last = math.ceil((start + length) / stride)
    first, last = max(first, 0), min(last, cells)
    if first < last:
        return slice(first, last)
    middle = min(max(math.floor((start + length / 2) / stride), 0), cells - 1)
    return slice(middle, middle + 1)


def _check(what: str, given: Any, count: int, fits: Callable[[Any], bool], expected: str) -> None:
    numbers = given if isinstance(given, Sequence) and len(given) == count else ('none',)
    if not all(isinstance(each, (Real, np.bool_)) and math.isfinite(each) and fits(each) for each in numbers):
        raise GeometryError(f'{what} {given!r}: expected {expected}')


def _pair(shape: Any) -> tuple[int, int]:
    return int(shape[0]), int(shape[1])
