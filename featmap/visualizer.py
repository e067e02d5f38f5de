"""``FeatMapVisualizer``: draws the maps of one image and hands pictures to MMEngine's vis backends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.visualization import Visualizer
from torch import Tensor

from featmap.errors import DrawError, OptionError
from featmap.geometry import ImageGeometry, Warp
from featmap.norm import parse_norm
from featmap.options import DRAWING, Run
from featmap.reducers import build_reducer, reduce
from featmap.registry import VISUALIZERS
from featmap.rendering.colors import blend, color_table, colorize
from featmap.rendering.legend import add_legend, entries_of
from featmap.rendering.masks import draw_results
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look, as_rgb, panels_of, warp_levels
from featmap.rendering.scales import scales_of
from featmap.rendering.text import SEPARATOR
from featmap.rendering.tile import Cell, tile
from featmap.structures import Detections, FeatureMap, Rendering

_PLANES_A_PAGE = 64
_PAGE_PANEL = 320  # pixels of the longer side


@VISUALIZERS.register_module()
class FeatMapVisualizer(Visualizer):
    """Draws feature maps over the image they were computed from, each cell over its own place.

    Args:
        name, image, vis_backends, save_dir, and others: As for MMEngine's ``Visualizer``.
        **kwargs: Also the options of look and scale, see :mod:`featmap.options.groups`: ``alpha``, ``colormap``,
            ``labels``, ``arrangement``, ``norm``, ``symmetric``, ``colorbar`` and so on.

    Raises:
        OptionError: for a value that makes no sense.
    """

    def __init__(
        self,
        name: str = 'featmap',
        image: np.ndarray | None = None,
        vis_backends: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        drawing = Run.of({option: kwargs.pop(option) for option in DRAWING if option in kwargs})
        # MMEngine writes its save_dir into the dicts, which the caller may use again.
        if isinstance(vis_backends, (list, tuple)):
            vis_backends = [dict(each) if isinstance(each, dict) else each for each in vis_backends]
        elif isinstance(vis_backends, dict):
            vis_backends = dict(vis_backends)
        super().__init__(name, image, vis_backends, *args, **kwargs)
        self.settings = drawing.values('look', 'scale')
        look, scale = drawing.look, drawing.scale
        table = color_table(look.colormap or ('coolwarm' if scale.symmetric else 'jet'))
        self.look = Look(look.alpha, table, parse_norm(scale.norm, scale.symmetric))
        self.alpha = look.alpha
        self.labels = look.labels
        self.colorbar = scale.colorbar
        self.arrangement = look.arrangement

    def draw_maps(
        self,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        detections: Detections | None = None,
        title: str = 'image',
        run: Range | None = None,
        scales: Sequence[Sequence[Range]] | None = None,
    ) -> Rendering:
        """One picture: the original with its detections, then a panel for each plane of each map.

        Args:
            image: (H, W, 3) RGB uint8, the original.
            maps: Maps of this image, in drawing order.
            detections: Masks, and boxes with class and score, on the original, outlines on the panels; None for none.
            title: Label of the original.
            run: The range of the whole run, for the norm ``run``; by default that of these maps.
            scales: For each map the range of each plane; by default what the norm makes of these maps.

        Raises:
            DrawError: where a map holds no finite value on the image, or belongs to an image of another size.
        """
        if scales is None:
            scales = scales_of(maps, self.look.norm, run)
        return self._draw(image, maps, scales, detections, [title, f'{image.shape[1]}×{image.shape[0]}'])

    def _draw(
        self,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        scales: Sequence[Sequence[Range]],
        detections: Detections | None,
        head: list[str],
    ) -> Rendering:
        original = image
        if detections is not None:
            original = draw_results(image, detections)
            head = [*head, detections.count]
        groups = []
        for item, ranges in zip(maps, scales):
            item.check_image(image)
            cells = []
            for panel in panels_of(image, item, ranges, self.look):
                picture = panel.image
                if detections is not None:
                    picture = draw_results(picture, detections, full=False)
                bar = self.look.colors if self.colorbar and panel.scale else None
                cells.append(Cell(picture, panel.label, bar, panel.scale))
            groups.append(cells)
        rendering = tile(Cell(original, SEPARATOR.join(head)), groups, self.arrangement, self.labels)
        return add_legend(rendering, entries_of(detections)) if detections is not None and self.labels else rendering

    def draw_sheets(
        self,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        detections: Detections | None = None,
        title: str = 'image',
        run: Range | None = None,
    ) -> tuple[Rendering, ...]:
        """As :meth:`draw_maps`, but a map of more planes than a page holds gets its own, panels up to 320 pixels.

        A page holds what the arrangement has places for, else 64. The other maps, if any, share the first page.
        """
        limit = self.arrangement[0] * self.arrangement[1] if self.arrangement else _PLANES_A_PAGE
        if all(len(item) <= limit for item in maps):
            return (self.draw_maps(image, maps, detections, title, run),)
        # Found once: a range that is shared is shared by all pages.
        scales = scales_of(maps, self.look.norm, run)
        small = [index for index, item in enumerate(maps) if len(item) <= limit]
        pages = []
        if small:
            few = [maps[index] for index in small]
            pages = [self.draw_maps(image, few, detections, title, run, scales=[scales[index] for index in small])]
        scale = min(_PAGE_PANEL / max(image.shape[:2]), 1.0)
        shape = (max(round(image.shape[0] * scale), 1), max(round(image.shape[1] * scale), 1))
        head = [title, f'{image.shape[1]}×{image.shape[0]}']
        thumb = image if scale == 1 else cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
        for item, ranges in zip(maps, scales):
            if len(item) <= limit:
                continue
            item = replace(item, geometry=item.geometry.resized(shape))
            for first in range(0, len(item), limit):
                chosen = slice(first, first + limit)
                part = replace(
                    item, values=item.values[chosen], channels=item.channels[chosen], names=item.names[chosen],
                    ranges=item.ranges[chosen],
                    noise=item.noise[chosen],
                )  # fmt: skip
                pages.append(self._draw(thumb, [part], [ranges[chosen]], None, head))
        return tuple(pages)

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
        return _grid(
            values, reduction.channels if channel_reduction is None else (), (rows, columns), warp, image, alpha
        )


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
