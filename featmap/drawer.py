"""``MapDrawer``: the pictures of one image's maps."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from featmap.crop import PANEL_SIZE, parse_crop
from featmap.geometry import View
from featmap.matching import Match
from featmap.norm import parse_norm
from featmap.options import Run
from featmap.rendering.budget import fitting
from featmap.rendering.colors import background_for, color_table, opacity_over
from featmap.rendering.fonts import chosen_font, open_font
from featmap.rendering.normalize import Range
from featmap.rendering.panels import Look, components_of, sizes_of
from featmap.rendering.scales import scales_of
from featmap.sheets import Drawing, Layout, Pages, classified, planes_of
from featmap.singles import Singles
from featmap.structures import Detections, FeatureMap, Rendering, check_drawable

_PLANES_A_PAGE, _LARGE_PLANES = 64, 32  # the most in a picture, and the most that are as large as elsewhere
_PAGE_PANEL, _LEAST_PANEL = 320, 192  # pixels of the longer side; of a map of more planes than
_MOST_PLANES = 512


def _page_panel(maps: Sequence[FeatureMap]) -> int:
    """The longer side of panels on pages."""
    return _PAGE_PANEL if max(map(len, maps)) <= _MOST_PLANES else _LEAST_PANEL


class MapDrawer:
    """Draws feature maps over the image they were computed from, each cell over its own place.

    Args:
        run: Its options of look and scale count.

    Raises:
        OptionError: for a value that makes no sense.
    """

    def __init__(self, run: Run) -> None:
        self.settings = run.values('look', 'scale')
        look, scale = run.look, run.scale
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
            look.panels,
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
        longest: int | None = None,
    ) -> Rendering:
        """One picture: the original with its detections, then a panel for each plane of each map.

        Args:
            image: (H, W, 3) RGB uint8, the original.
            maps: Maps of this image, in drawing order.
            detections: Masks, and boxes with class and score, on the original, outlines on the panels; the best
                classes of the image beside it; None for none.
            title: Label of the original.
            run: The range of the whole run, for the norm ``run``; by default that of these maps.
            scales: For each map the range of each plane; by default what the norm makes of these maps.
            match: Ground truth and what of it was found, drawn beside the original; None for none.
            longest: The most pixels of a panel's longer side, where ``panel_size`` allows as many.

        Raises:
            DrawError: where a map holds no finite value on the image, or belongs to an image of another size.
        """
        self._check(image, maps, detections)
        if scales is None:
            scales = scales_of(maps, self.look.norm, run)
        view = self.view(image, detections, maps, longest, plain=1 if match is None else 2)
        head = self._head(title, image, maps, view)
        return self._draw(Drawing(image, view, self.look, detections, match), maps, scales, head)

    def view(
        self,
        image: np.ndarray,
        detections: Detections | None = None,
        maps: Sequence[FeatureMap] = (),
        longest: int | None = None,
        plain: int = 1,
    ) -> View:
        """What of an (H, W, 3) image is drawn, by ``crop``, and how large, by ``panel_size`` and ``longest``.

        By default so large that the picture of the maps, with so many plain panels, can be sent; of more than 64
        panels up to 320 pixels.

        Raises:
            DrawError: where the image has no such part, or no such detection, to crop to.
        """
        boxes = detections.boxes.tolist() if detections is not None and detections.kind else None
        window = None if self.crop is None else self.crop.window(image.shape[:2], boxes)
        sizes = [size for size in (self.panel_size, longest) if size is not None]
        view = View.of(image.shape[:2], min(sizes, default=None), window)
        if self.settings['panel_size'] is not None or longest is not None:
            return view
        rows = sum(len(item) if item.kind in ('heat', 'concepts') else 1 for item in maps)
        heats = rows * max(len(self.look.panels), 1)
        if heats > _PLANES_A_PAGE:
            return View.of(image.shape[:2], min([*sizes, _PAGE_PANEL]), window)
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
        self, drawing: Drawing, maps: Sequence[FeatureMap], scales: Sequence[Sequence[Range]], head: Sequence[str]
    ) -> Rendering:
        with chosen_font(self.look.font):
            return drawing.page(maps, scales, head, Layout(self.arrangement, self.labels, self.colorbar))

    def draw_sheets(
        self,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        detections: Detections | None = None,
        title: str = 'image',
        run: Range | None = None,
        match: Match | None = None,
        scales: Sequence[Sequence[Range]] | None = None,
        longest: int | None = None,
    ) -> Sequence[Rendering]:
        """As :meth:`draw_maps`, but a map of many planes gets pages of its own, with small panels.

        Many are more than a page holds, which is what the arrangement has places for, else 64; or more than 32, where
        no panel size is set. Panels are then up to 320 pixels, of over 512 planes 192. The other maps, if any, share
        the first page. Several pages are drawn one by one, as they are asked for.
        """
        self._check(image, maps, detections)
        columns = max(len(self.look.panels), 1)
        limit, many = self._limits(columns)
        if all(len(item) <= many for item in maps):
            return (self.draw_maps(image, maps, detections, title, run, scales, match, longest),)
        # Found once: a range that is shared is shared by all pages.
        scales = scales_of(maps, self.look.norm, run) if scales is None else scales
        small = [index for index, item in enumerate(maps) if len(item) <= many]
        draws: list[Callable[[], Rendering]] = []
        if small or match is not None:
            few, theirs = [maps[index] for index in small], [scales[index] for index in small]
            draws.append(partial(self.draw_maps, image, few, detections, title, run, theirs, match, longest))
        page_panel = _page_panel(maps)
        view = self.view(image, detections, longest=min(longest or page_panel, page_panel))
        head = self._head(title, image, maps, view)
        drawing = Drawing(image, view, self.look)
        first_page = Drawing(image, view, self.look, classified(detections))
        for item, ranges in zip(maps, scales):
            for first in range(0, len(item) if len(item) > many else 0, limit):
                chosen = slice(first, first + limit)
                on = drawing if draws else first_page
                draws.append(partial(self._draw, on, [planes_of(item, chosen)], [ranges[chosen]], head))
        return (draws[0](),) if len(draws) == 1 else Pages(draws)

    def draw_panels(
        self,
        image: np.ndarray,
        maps: Sequence[FeatureMap],
        detections: Detections | None = None,
        run: Range | None = None,
        match: Match | None = None,
    ) -> Singles:
        """The panels of :meth:`draw_sheets` one by one, bare: no labels, bars or frames.

        They have up to ``panel_size`` pixels, or, where none is set, those of pages where a map has so many planes that
        they stand on some. Arguments and errors are those of :meth:`draw_maps`.
        """
        self._check(image, maps, detections)
        scales = scales_of(maps, self.look.norm, run)
        _, many = self._limits(max(len(self.look.panels), 1))
        large = Drawing(image, self.view(image, detections, longest=self.panel_size), self.look, detections, match)
        if self.settings['panel_size'] is not None or all(len(item) <= many for item in maps):
            return Singles(maps, scales, lambda item: large)
        small = Drawing(image, self.view(image, detections, longest=_page_panel(maps)), self.look)
        return Singles(maps, scales, lambda item: small if item is not None and len(item) > many else large)

    def _check(self, image: Any, maps: Any, detections: Any) -> None:
        check_drawable(image, maps, detections)
        for item in maps:
            item.check_image(image)
            if 'pca' in self.look.panels:
                components_of(item)

    def _limits(self, columns: int) -> tuple[int, int]:
        """The most planes that a page holds, and the most of a map that needs no page of its own."""
        limit = self.arrangement[0] * self.arrangement[1] if self.arrangement else _PLANES_A_PAGE
        many = limit if self.settings['panel_size'] is not None else min(limit, _LARGE_PLANES)
        return max(limit // columns, 1), max(many // columns, 1)
