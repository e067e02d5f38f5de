"""``FeatMapVisualizer``: draws the maps of one image and hands pictures to MMEngine's vis backends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from mmengine.visualization import Visualizer
from torch import Tensor

from featmap.crop import PANEL_SIZE, parse_crop
from featmap.errors import OptionError, nearest
from featmap.geometry import View
from featmap.matching import Match
from featmap.norm import parse_norm
from featmap.options import DRAWING, Run
from featmap.registry import VISUALIZERS
from featmap.rendering.budget import fitting
from featmap.rendering.colors import background_for, color_table, opacity_over
from featmap.rendering.fonts import chosen_font, open_font
from featmap.rendering.legend import add_legend, entries_of
from featmap.rendering.masks import draw_results
from featmap.rendering.mmengine_picture import draw_as_mmengine
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look, frame_of, panels_of, sizes_of
from featmap.rendering.query import draw_query
from featmap.rendering.scales import scales_of
from featmap.rendering.text import SEPARATOR
from featmap.rendering.tile import Cell, tile
from featmap.rendering.truth import draw_match
from featmap.structures import Detections, FeatureMap, Rendering, check_drawable

_PLANES_A_PAGE, _LARGE_PLANES = 64, 32  # the most in a picture, and the most that are as large as elsewhere
_MMENGINE = ('save_dir', 'fig_save_cfg', 'fig_show_cfg')  # options of its Visualizer, beside the positional ones
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
        known = (*DRAWING, *_MMENGINE)
        for option in kwargs:
            if option not in known:
                near = ', '.join(nearest(option, known))
                raise OptionError(f'a visualizer has no option {option!r}; nearest: {near}')
        drawing = Run.of({option: kwargs.pop(option) for option in DRAWING if option in kwargs})
        # MMEngine writes its save_dir into the dicts, which the caller may use again.
        if isinstance(vis_backends, (list, tuple)):
            vis_backends = [dict(each) if isinstance(each, dict) else each for each in vis_backends]
        elif isinstance(vis_backends, dict):
            vis_backends = dict(vis_backends)
        super().__init__(name, image, vis_backends, *args, **kwargs)
        self.settings = drawing.values('look', 'scale')
        look, scale = drawing.look, drawing.scale
        colormap = look.colormap or ('coolwarm' if scale.symmetric else 'jet')
        background = look.background or background_for(colormap)
        self.look = Look(
            opacity_over(background) if look.alpha is None else look.alpha,
            color_table(colormap),
            parse_norm(scale.norm, scale.symmetric),
            background,
            look.interpolation,
            look.grid,
            look.font,
        )
        if look.font is not None:
            open_font(os.path.expanduser(look.font))  # a slip should not cost an image
        self.crop = None if look.crop is None else parse_crop(look.crop)
        self.panel_size = None if look.panel_size == 'full' else int(look.panel_size or PANEL_SIZE)
        self.alpha = self.look.alpha
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
        match: Match | None = None,
    ) -> Rendering:
        """One picture: the original with its detections, then a panel for each plane of each map.

        Args:
            image: (H, W, 3) RGB uint8, the original.
            maps: Maps of this image, in drawing order.
            detections: Masks, and boxes with class and score, on the original, outlines on the panels; None for none.
            title: Label of the original.
            run: The range of the whole run, for the norm ``run``; by default that of these maps.
            scales: For each map the range of each plane; by default what the norm makes of these maps.
            match: Ground truth and what of it was found, drawn beside the original; None for none.

        Raises:
            DrawError: where a map holds no finite value on the image, or belongs to an image of another size.
        """
        check_drawable(image, maps, detections)
        if scales is None:
            scales = scales_of(maps, self.look.norm, run)
        view = self.view(image, detections, maps, plain=1 if match is None else 2)
        with chosen_font(self.look.font):
            return self._draw(image, maps, scales, detections, self._head(title, image, maps, view), view, match)

    def view(
        self,
        image: np.ndarray,
        detections: Detections | None = None,
        maps: Sequence[FeatureMap] = (),
        longest: int | None = None,
        plain: int = 1,
    ) -> View:
        """What of an (H, W, 3) image is drawn, by ``crop``, and how large, by ``panel_size`` and ``longest``.

        By default so large that the picture of the maps, with so many plain panels, can be sent.

        Raises:
            DrawError: where the image has no such part, or no such detection, to crop to.
        """
        boxes = None if detections is None else detections.boxes.tolist()
        window = None if self.crop is None else self.crop.window(image.shape[:2], boxes)
        sizes = [size for size in (self.panel_size, longest) if size is not None]
        view = View.of(image.shape[:2], min(sizes, default=None), window)
        if self.settings['panel_size'] is not None or longest is not None:
            return view
        heats = sum(len(item) if item.kind in ('heat', 'concepts') else 1 for item in maps)
        while True:
            size = max(view.shape)
            fits = fitting(view.picture(image), heats, self.look, view.image_shape, plain)
            if fits >= size:
                return view
            view = View.of(image.shape[:2], fits, window)

    def _head(self, title: str, image: np.ndarray, maps: Sequence[FeatureMap], view: View) -> list[str]:
        sizes = sizes_of(maps[0].geometry) if maps else f'{image.shape[1]}×{image.shape[0]}'
        if self.crop is None:
            return [title, sizes]
        left, top, right, bottom = view.window
        return [title, sizes, f'{self.crop.name} {left},{top} – {right},{bottom}, ×{1 / view.step[0]:.3g}']

    def _draw(
        self,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        scales: Sequence[Sequence[Range]],
        detections: Detections | None,
        head: list[str],
        view: View,
        match: Match | None = None,
    ) -> Rendering:
        original = view.picture(image, self.look.interpolation == 'linear')
        beside = []
        if match is not None:
            parts = ['ground truth', match.count, *([] if view.is_whole else ['in the whole image'])]
            beside = [Cell(draw_match(original, match, view), SEPARATOR.join(parts))]
        backdrop = self.look.backdrop(original)
        colors = self.look.bar(backdrop) if self.colorbar else None
        seen = None if detections is None else detections.seen(view)
        if detections is not None and seen is not None:
            original = draw_results(original, seen)
            head = [*head, detections.count_in(view)]
        for position in dict.fromkeys(item.query for item in maps if item.query):
            original = draw_query(original, position, view)
        groups = []
        for item, ranges in zip(maps, scales):
            item.check_image(image)
            cells = []
            for number, panel in enumerate(panels_of(backdrop, item, ranges, self.look, view)):
                picture = panel.image
                if seen is not None:
                    picture = draw_results(picture, seen, full=False)
                if item.query:
                    picture = draw_query(picture, item.query, view)
                bar = colors if panel.scale else None
                cells.append(Cell(picture, panel.label, bar, panel.scale, frame_of(item, number)))
            groups.append(cells)
        rendering = tile(Cell(original, SEPARATOR.join(head)), groups, self.arrangement, self.labels, beside)
        return add_legend(rendering, entries_of(seen)) if seen is not None and self.labels else rendering

    def draw_sheets(
        self,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        detections: Detections | None = None,
        title: str = 'image',
        run: Range | None = None,
        match: Match | None = None,
    ) -> tuple[Rendering, ...]:
        """As :meth:`draw_maps`, but a map of many planes gets pages of its own, with panels up to 320 pixels.

        Many are more than a page holds, which is what the arrangement has places for, else 64; or more than 32, where
        no panel size is set. The other maps, if any, share the first page.
        """
        check_drawable(image, maps, detections)
        limit = self.arrangement[0] * self.arrangement[1] if self.arrangement else _PLANES_A_PAGE
        many = limit if self.settings['panel_size'] is not None else min(limit, _LARGE_PLANES)
        if all(len(item) <= many for item in maps):
            return (self.draw_maps(image, maps, detections, title, run, match=match),)
        # Found once: a range that is shared is shared by all pages.
        scales = scales_of(maps, self.look.norm, run)
        small = [index for index, item in enumerate(maps) if len(item) <= many]
        pages = []
        if small or match is not None:
            few, theirs = [maps[index] for index in small], [scales[index] for index in small]
            pages = [self.draw_maps(image, few, detections, title, run, theirs, match)]
        view = self.view(image, detections, longest=_PAGE_PANEL)
        head = self._head(title, image, maps, view)
        for item, ranges in zip(maps, scales):
            if len(item) <= many:
                continue
            for first in range(0, len(item), limit):
                chosen = slice(first, first + limit)
                part = replace(
                    item, values=item.values[chosen], channels=item.channels[chosen], names=item.names[chosen],
                    ranges=item.ranges[chosen],
                    noise=item.noise[chosen],
                    why=item.why[chosen],
                )  # fmt: skip
                with chosen_font(self.look.font):
                    pages.append(self._draw(image, [part], [ranges[chosen]], None, head, view))
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
        return draw_as_mmengine(featmap, overlaid_image, channel_reduction, topk, arrangement, resize_shape, alpha)
