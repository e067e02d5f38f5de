"""MMEngine's ``draw_featmap``, drawn from the small map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from featmap.errors import DrawError, OptionError
from featmap.geometry import ImageGeometry, Warp
from featmap.reducers import build_reducer, reduce
from featmap.rendering.colors import blend, color_table, colorize
from featmap.rendering.panels import as_rgb, warp_levels


def draw_as_mmengine(
    featmap: Tensor,
    overlaid_image: np.ndarray | None,
    channel_reduction: str | None,
    topk: int,
    arrangement: tuple[int, int],
    resize_shape: tuple[int, int] | None,
    alpha: float,
) -> np.ndarray:
    """The picture of :meth:`featmap.visualizer.FeatMapVisualizer.draw_featmap`, whose arguments these are."""
    if not isinstance(featmap, Tensor):
        raise DrawError(f'featmap should be a torch.Tensor, got {type(featmap).__name__}')
    if featmap.ndim != 3:
        raise DrawError(f'featmap should be (C, H, W), got the shape {tuple(featmap.shape)}')
    if not featmap.numel():
        raise DrawError(f'featmap is empty: its shape is {tuple(featmap.shape)}')
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
    warp = ImageGeometry.whole(shape).warper(map_shape, stride)
    # MMEngine sums the upsampled map: a weighted sum of the small one, a cell counting as often as it is drawn.
    counts = np.outer(warp.rows.counts(map_shape[0]), warp.columns.counts(map_shape[1]))
    weights = torch.from_numpy(counts).to(featmap.device)
    with torch.no_grad():
        reduction = reduce(reducer, featmap.detach(), weights)
        values = reduction.values.cpu().numpy()
    table = color_table('jet')
    if reduction.kind == 'image':
        levels, visible = warp_levels(values, None, warp)
        # OpenCV colours a picture of three channels by its grey value, the first taken for blue.
        grey = cv2.cvtColor(as_rgb(levels), cv2.COLOR_BGR2GRAY) if len(levels) == 3 else levels[0]
        return _overlay(image, colorize(grey, table), alpha, visible)
    rows, columns = (1, len(values)) if channel_reduction is not None else arrangement
    return _grid(values, reduction.channels if channel_reduction is None else (), (rows, columns), warp, image, alpha)


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


def _grid(
    planes: np.ndarray,
    channels: Sequence[Any] | Tensor,
    arrangement: tuple[int, int],
    warp: Warp,
    image: np.ndarray | None,
    alpha: float,
) -> np.ndarray:
    """Planes (K, h, w) in rows and columns without gaps, with the channels' numbers as MMEngine writes them."""
    rows, columns = arrangement
    height, width = len(warp.rows.lower), len(warp.columns.lower)
    grid = np.empty((height * rows, width * columns, 3), dtype=np.uint8)
    table = color_table('jet')
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        place = grid[row * height : (row + 1) * height, column * width : (column + 1) * width]
        if index >= len(planes):
            place[:] = 255
            continue
        levels, visible = warp_levels(planes[index][None], None, warp)
        place[:] = _overlay(image, colorize(levels[0], table), alpha, visible)
        if len(channels):
            text, font = f'channel: {int(channels[index])}', (cv2.FONT_HERSHEY_SIMPLEX, 0.4)
            (text_width, _), _ = cv2.getTextSize(text, *font, 1)
            place[:16, : text_width + 4] = 255
            cv2.putText(place, text, (2, 12), *font, (0, 0, 0), 1, cv2.LINE_AA)
    return grid
