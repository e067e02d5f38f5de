"""``FeatMapVisualizer``: draws the maps of one image and hands pictures to MMEngine's vis backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.visualization import Visualizer
from torch import Tensor

from featmap.errors import DrawError, OptionError
from featmap.geometry import ImageGeometry
from featmap.reducers import build_reducer, reduce
from featmap.registry import VISUALIZERS
from featmap.rendering.boxes import draw_boxes
from featmap.rendering.colors import blend, color_table, colorize
from featmap.rendering.normalize import Range, to_levels, value_range
from featmap.rendering.text import SEPARATOR, draw_lines, line_height, text_width
from featmap.rendering.tile import Cell, tile
from featmap.structures import Detections, FeatureMap, Rendering


@VISUALIZERS.register_module()
class FeatMapVisualizer(Visualizer):
    """Draws feature maps over the image they were computed from, each cell over its own place.

    Args:
        name, image, vis_backends, save_dir, and others: As for MMEngine's ``Visualizer``.
        alpha: Opacity of the heat, 0 to 1.
        colormap: An OpenCV or matplotlib colour map.
        labels: Whether each panel has a strip with layer, shape, stride and value range above it.
        arrangement: Rows and columns for maps of several planes; None for near-square.
    """

    def __init__(
        self,
        name: str = 'featmap',
        *args: Any,
        alpha: float = 0.5,
        colormap: str = 'jet',
        labels: bool = True,
        arrangement: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, *args, **kwargs)
        if not 0 <= alpha <= 1:
            raise OptionError(f'alpha is an opacity from 0 to 1, got {alpha}')
        self.alpha = alpha
        self.table = color_table(colormap)
        self.labels = labels
        self.arrangement = arrangement

    def draw_maps(
        self,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        detections: Detections | None = None,
        title: str = 'image',
    ) -> Rendering:
        """One picture: the original with its detections, then a panel for each plane of each map.

        Args:
            image: (H, W, 3) RGB uint8, the original.
            maps: Maps of this image, in drawing order.
            detections: Drawn with class and score on the original and as outlines on the panels; None for none.
            title: Label of the original.

        Raises:
            DrawError: where a map holds no finite value on the image, or belongs to an image of another size.
        """
        height, width = image.shape[:2]
        head = [title, f'{width}×{height}']
        original = image
        if detections is not None:
            original = draw_boxes(image, detections)
            head.append('1 detection' if len(detections) == 1 else f'{len(detections)} detections')
        groups = []
        for item in maps:
            if item.geometry.image_shape != (height, width):
                raise DrawError(
                    f'{item.name} belongs to an image of {item.geometry.image_shape}, got one of {(height, width)}'
                )
            groups.append(self._cells(image, item, detections))
        return tile(Cell(original, SEPARATOR.join(head)), groups, self.arrangement, self.labels)

    def add_maps(
        self,
        name: str,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        detections: Detections | None = None,
        step: int = 0,
    ) -> Rendering:
        """Draw as :meth:`draw_maps` and write the picture to every vis backend under ``name`` and ``step``."""
        rendering = self.draw_maps(image, maps, detections, title=name)
        self.add_image(name, rendering.image, step)
        return rendering

    def _cells(self, image: np.ndarray, item: FeatureMap, detections: Detections | None) -> list[Cell]:
        rows, columns = item.geometry.warp_axes(item.values.shape[-2:], item.stride)
        if item.as_image:
            scale = _range_of(item.content, item.name)
            levels, visible = _levels(item.values, scale, rows, columns)
            planes: list[tuple[np.ndarray, np.ndarray | None, Range, int | None]]
            planes = [(_as_rgb(levels), visible, scale, None)]
        else:
            planes = []
            for plane, inside, channel in zip(item.values, item.content, item.channels):
                scale = _range_of(inside, item.name)
                levels, visible = _levels(plane[None], scale, rows, columns)
                planes.append((colorize(levels[0], self.table), visible, scale, channel))
        cells = []
        for heat, visible, scale, channel in planes:
            panel = blend(image, heat, self.alpha, visible)
            if detections is not None and len(detections):
                panel = draw_boxes(panel, detections, tags=False)
            cells.append(Cell(panel, panel_label(item, channel, scale)))
        return cells

    @staticmethod
    def draw_featmap(
        featmap: Tensor,
        overlaid_image: np.ndarray | None = None,
        channel_reduction: str | None = 'squeeze_mean',
        topk: int = 20,
        arrangement: tuple[int, int] = (4, 5),
        resize_shape: tuple[int, int] | None = None,
        alpha: float = 0.5,
    ) -> np.ndarray:
        """MMEngine's ``draw_featmap``: same arguments, same channels, same picture, but reduced before upsampling.

        The map is stretched over the whole picture, which is right only where the input was not padded;
        :meth:`draw_maps` knows the padding.

        Args:
            featmap: (C, H, W) features.
            overlaid_image: (H, W, 3) RGB or (H, W) grey uint8 to blend with.
            channel_reduction: A reducer's name, or None to draw channels.
            topk: With ``channel_reduction`` None, how many channels; 0 or less draws a 1- or 3-channel map.
            arrangement: Rows and columns of the grid of channels.
            resize_shape: Height and width of each drawn map.
            alpha: Opacity of the heat.

        Returns:
            (H, W, 3) RGB uint8.

        Raises:
            DrawError: an AssertionError, where MMEngine asserts.
        """
        if not isinstance(featmap, Tensor):
            raise DrawError(f'featmap should be a torch.Tensor, got {type(featmap).__name__}')
        if featmap.ndim != 3:
            raise DrawError(f'featmap should be (C, H, W), got the shape {tuple(featmap.shape)}')
        if channel_reduction is None and topk > 0 and arrangement[0] * arrangement[1] < topk:
            raise DrawError(
                f'an arrangement of {tuple(arrangement)} has {arrangement[0] * arrangement[1]} places for topk={topk}'
            )
        try:
            reducer = build_reducer(channel_reduction, topk)
        except OptionError as error:
            raise DrawError(str(error)) from error
        map_shape = (featmap.shape[1], featmap.shape[2])
        image = _as_overlay(overlaid_image, resize_shape)
        shape = tuple(resize_shape or (map_shape if image is None else image.shape[:2]))
        stride = (shape[0] / map_shape[0], shape[1] / map_shape[1])
        rows, columns = ImageGeometry.whole(shape).warp_axes(map_shape, stride)
        # MMEngine sums the upsampled map: a weighted sum of the small one, a cell counting as often as it is drawn.
        weights = torch.from_numpy(np.outer(rows.sum(0), columns.sum(0))).to(featmap.device)
        with torch.no_grad():
            reduction = reduce(reducer, featmap.detach(), weights)
            values = reduction.values.cpu().numpy()
        table = color_table('jet')
        if reduction.as_image:
            levels, visible = _levels(values, None, rows, columns)
            # OpenCV colours a picture of three channels by its grey value, the first taken for blue.
            grey = cv2.cvtColor(_as_rgb(levels), cv2.COLOR_BGR2GRAY) if len(levels) == 3 else levels[0]
            return _overlay(image, colorize(grey, table), alpha, visible)
        panels = []
        for plane in values:
            levels, visible = _levels(plane[None], None, rows, columns)
            panels.append(_overlay(image, colorize(levels[0], table), alpha, visible))
        if channel_reduction is None:
            return _channel_grid(panels, reduction.channels, arrangement)
        return np.hstack(panels)


def panel_label(item: FeatureMap, channel: int | None, scale: Range) -> str:
    """Layer and output index, channel or reducer, C×H×W, stride, value range."""
    channels, rows, columns = item.shape
    sy, sx = item.stride
    stride = f'{sy:.3g}' if sy == sx else f'{sy:.3g}×{sx:.3g}'
    return SEPARATOR.join(
        [
            item.name,
            item.reducer if channel is None else f'channel {channel}',
            f'{channels}×{rows}×{columns}',
            f'stride {stride}',
            str(scale),
        ]
    )


def _range_of(values: np.ndarray, name: str) -> Range:
    scale = value_range(values)
    if scale is None:
        raise DrawError(
            f'{name} holds no finite value: all {values.size} cells on the image are NaN or infinite; check the '
            'checkpoint and the input range'
        )
    return scale


def _levels(
    planes: np.ndarray, scale: Range | None, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Planes (K, h, w) as grey levels (K, H, W) uint8, and where there is something to see.

    ``scale`` None takes the range of the warped planes. Non-finite cells take no part in the interpolation; pixels to
    which they contribute half or more are not visible.
    """
    finite = np.isfinite(planes).all(axis=0)
    visible = None
    if finite.all():
        warped = rows @ planes @ columns.T
    else:
        share = rows @ finite.astype(np.float32) @ columns.T
        warped = rows @ np.where(finite, planes, np.float32(0)) @ columns.T / np.maximum(share, 1e-6)
        visible = share >= 0.5
    if scale is None:
        scale = value_range(warped if visible is None else warped[:, visible]) or Range(0, 0)
    return to_levels(warped, scale), visible


def _as_rgb(levels: np.ndarray) -> np.ndarray:
    """(1 or 3, H, W) to (H, W, 3)."""
    return np.ascontiguousarray(np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0))


def _as_overlay(image: np.ndarray | None, resize_shape: tuple[int, int] | None) -> np.ndarray | None:
    if image is None:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return image if resize_shape is None else cv2.resize(image, tuple(resize_shape)[::-1])


def _overlay(image: np.ndarray | None, heat: np.ndarray, alpha: float, visible: np.ndarray | None) -> np.ndarray:
    if image is None:
        return heat if visible is None else heat * visible[..., None].astype(np.uint8)
    return blend(image, heat, alpha, visible)


def _channel_grid(panels: list[np.ndarray], channels: Sequence[int | None], arrangement: tuple[int, int]) -> np.ndarray:
    """Panels in rows and columns without gaps, the channel's number in each corner, as MMEngine lays them out."""
    height, width = panels[0].shape[:2]
    grid = np.full((height * arrangement[0], width * arrangement[1], 3), 255, dtype=np.uint8)
    size = 10
    for index, (panel, channel) in enumerate(zip(panels, channels)):
        row, column = divmod(index, arrangement[1])
        place = grid[row * height : (row + 1) * height, column * width : (column + 1) * width]
        place[:] = panel
        text = f'channel: {channel}'
        tag = draw_lines([text], size, (line_height(size) + 2, text_width(text, size) + 4), margin=2)
        tag = tag[:height, :width]
        place[: tag.shape[0], : tag.shape[1]] = tag
    return grid
