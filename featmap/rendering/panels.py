"""One map's planes as panels over the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import cv2
import numpy as np

from featmap.errors import DrawError
from featmap.geometry import ImageGeometry, View, Warp
from featmap.norm import Norm
from featmap.rendering.colors import blend, categories, color_table, colorize, faded, tones, withdrawn
from featmap.rendering.grid import draw_grid
from featmap.rendering.labels import Label, concepts_label, label_of
from featmap.rendering.normalize import Range, to_levels, value_range
from featmap.rendering.scales import scales_of
from featmap.structures import FeatureMap
from featmap.wording import option as written

_BARE = 235  # grey level of a backdrop without the image
_GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


@dataclass(frozen=True)
class Look:
    """How panels are coloured.

    Attributes:
        alpha: Opacity of the heat, 0 to 1.
        table: A (256, 3) RGB table; None for jet.
        norm: The rule of the range.
        background: What is under the heat: the ``image``, the image in ``grey``, or ``none``, which makes it opaque.
        interpolation: ``linear``, or ``nearest`` for the cells themselves.
        grid: Whether the borders of the cells are drawn.
        font: A font file for labels and tags; None for DejaVu Sans. Other fonts fill in for glyphs that it lacks.
        panels: The columns of a row of panels, of :data:`featmap.options.panels.PANELS`; none for one panel a plane.
    """

    alpha: float = 0.5
    table: np.ndarray | None = None
    norm: Norm = field(default_factory=Norm)
    background: str = 'image'
    interpolation: str = 'linear'
    grid: bool = False
    font: str | None = None
    panels: tuple[str, ...] = ()

    def column(self, name: str) -> Look:
        """The look of one column: opaque, but for the overlay; the overlay is also what stands in no column."""
        if name in ('', 'overlay'):
            return self
        return replace(self, background='none', table=_GREYS if name == 'grey' else self.table)

    @property
    def colors(self) -> np.ndarray:
        """The table; jet by default."""
        return color_table('jet') if self.table is None else self.table

    @property
    def opacity(self) -> float:
        """Of the heat over the backdrop."""
        return 1.0 if self.background == 'none' else self.alpha

    def backdrop(self, picture: np.ndarray) -> np.ndarray:
        """What is under the heat, (H, W, 3) RGB uint8, for a picture of that kind."""
        if self.background == 'image':
            return picture
        return faded(picture) if self.background == 'grey' else np.full_like(picture, _BARE)

    def bar(self, backdrop: np.ndarray) -> np.ndarray:
        """The colours that the table has over the light and the dark parts of a backdrop: (N, 256, 3) RGB uint8."""
        under = tones(backdrop) if self.opacity < 1 else np.zeros(1, np.uint8)
        ramp = np.tile(self.colors, (len(under), 1, 1))
        return blend(np.broadcast_to(under[:, None, None], ramp.shape).copy(), ramp, self.opacity)


@dataclass(frozen=True)
class PanelImage:
    """A panel of one map.

    Attributes:
        image: (H, W, 3) RGB uint8.
        label: What is said of it.
        scale: The range that its colours stand for, if any.
        plane: The number of the plane; that of all planes is one more than the last.
        column: The name of its column, where there are such.
    """

    image: np.ndarray
    label: Label
    scale: Range | None = None
    plane: int = 0
    column: str = ''


class _Under(NamedTuple):
    """A column: its look, and what is under the heat there."""

    name: str
    look: Look
    backdrop: np.ndarray


def panels_of(
    backdrop: np.ndarray, item: FeatureMap, scales: Sequence[Range], look: Look, view: View | None = None
) -> Iterator[PanelImage]:
    """The panels of one map over an (h, w, 3) RGB uint8 backdrop, which is of the view's size.

    ``heat`` gives one a plane; ``image`` one in all; ``segments`` one in colours without order; ``concepts`` one a
    plane and one that shows which plane is strongest where. What the network was not shown is withdrawn in all of them.
    Where the look has columns each of these panels is a row of them, and ``pca`` stands in the first.

    Raises:
        DrawError: where a column of ``pca`` is wanted, and the map has none.
    """
    warp = item.geometry.warper(item.shape[1:], item.stride, view, item.offset)
    cells = warp
    if look.interpolation == 'nearest':
        warp = warp.nearest()
    columns = []
    for name in look.panels or ('',):
        drawn = look.column(name)
        under = backdrop if name in ('', 'overlay') else drawn.backdrop(backdrop)
        columns.append(_Under(name, drawn, withdrawn(under, warp.kept)))
    for panel in _panels(item, scales, columns, warp):
        yield replace(panel, image=draw_grid(panel.image, cells)) if look.grid else panel


def order_of(item: FeatureMap, look: Look) -> Iterator[tuple[int, str]]:
    """The plane and the column of each panel that :func:`panels_of` makes of a map, in its order."""
    own = [name for name in look.panels or ('',) if name != 'pca']
    for plane in range(1 if item.kind in ('image', 'segments') else len(item)):
        yield from ((plane, name) for name in own)
    if item.kind == 'concepts':
        yield from ((len(item), name) for name in own if name != 'grey')
    if 'pca' in look.panels:
        yield 0, 'pca'


def _panels(item: FeatureMap, scales: Sequence[Range], columns: Sequence[_Under], warp: Warp) -> Iterator[PanelImage]:
    """The panels of a map, a row after the other; the picture that all columns of a row show is made once."""
    norm, grid = columns[0].look.norm, columns[0].look.grid
    own = [column for column in columns if column.name != 'pca']
    if item.kind in ('image', 'segments'):
        if own:
            picture, visible = _picture(item, scales, warp)
            label = label_of(item, 0, None if item.kind == 'segments' or item.ranges else scales[0], norm, grid)
        for name, look, under in own:
            shown = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, -1) if name == 'grey' else picture
            yield PanelImage(blend(under, shown, look.opacity, visible), label, None, 0, name)
    elif own:
        for index, (plane, scale) in enumerate(zip(item.values, scales)):
            levels, visible = warp_levels(plane[None], [scale], warp)
            label = label_of(item, index, scale, norm, grid)
            for name, look, under in own:
                heat = colorize(levels[0], look.colors)
                yield PanelImage(blend(under, heat, look.opacity, visible), label, scale, index, name)
    if item.kind == 'concepts':
        for name, look, under in own:
            if name != 'grey':
                yield replace(_concepts(under, item, scales, warp, look), plane=len(item), column=name)
    for name, look, under in columns:
        if name == 'pca':
            colors = components_of(item)
            picture, visible = _picture(colors, scales_of([colors])[0], warp)
            label = label_of(colors, 0, None, norm, grid)
            yield PanelImage(blend(under, picture, look.opacity, visible), label, None, 0, name)


def _picture(item: FeatureMap, scales: Sequence[Range], warp: Warp) -> tuple[np.ndarray, np.ndarray | None]:
    """What a map of kind ``image`` or ``segments`` shows, (H, W, 3) RGB uint8, and where there is something to see."""
    if item.kind == 'segments':
        return _segments(item.values[0], warp)
    levels, visible = warp_levels(item.values, scales, warp)
    return as_rgb(levels), visible


def components_of(item: FeatureMap) -> FeatureMap:
    """The three leading components of a map's features as a picture: those that were kept, or the map itself.

    Raises:
        DrawError: where it is neither.
    """
    if item.pca is not None:
        return item.pca
    if item.kind == 'image' and item.reducer == 'pca':
        return item
    raise DrawError(
        f'{item.name} holds no components to draw as pca, which takes the features: ask for '
        f'{written("panels", ["pca"])} when the maps are made'
    )


def frame_of(item: FeatureMap, number: int) -> tuple[int, int, int] | None:
    """The RGB colour that a concept has in the panel of all concepts, to frame its own panel; None for other maps."""
    if item.kind != 'concepts' or number >= len(item):
        return None
    red, green, blue = categories(len(item))[number].tolist()
    return red, green, blue


def sizes_of(geometry: ImageGeometry) -> str:
    """Width × height of the image, where that is another of its content in the network's input, and the factor.

    And of what was let into the input, where that is not all of it.
    """
    height, width = geometry.image_shape
    rows, columns = geometry.content_shape
    cut = ''
    if geometry.is_cropped:
        x1, y1, x2, y2 = geometry.visible
        cut = f', cut to {round((x2 - x1) * geometry.scale[0])}×{round((y2 - y1) * geometry.scale[1])}'
    if (rows, columns) == (height, width):
        return f'{width}×{height}{cut}'
    sx, sy = (f'×{factor:.2f}' if factor >= 0.1 else f'×{factor:.2g}' for factor in geometry.scale)
    alike = abs(geometry.scale[0] / geometry.scale[1] - 1) < 0.01
    return f'{width}×{height} → {columns}×{rows}, {sx if alike else f"{sx} wide, {sy} high"}{cut}'


def warp_levels(planes: np.ndarray, scales: Sequence[Range] | None, warp: Warp) -> tuple[np.ndarray, np.ndarray | None]:
    """Planes (K, h, w) as grey levels (K, H, W) uint8, and where there is something to see.

    ``scales`` None takes the range of all warped planes together. See :meth:`featmap.geometry.Warp.masked`.
    """
    warped, visible = warp.masked(planes)
    if scales is None:
        # What was constant stays so, though the interpolation rounds.
        own = value_range(planes)
        seen = own if own is None or own.constant else value_range(warped if visible is None else warped[:, visible])
        scales = [seen or Range(0, 0)] * len(warped)
    if len(set(scales)) == 1:
        return to_levels(warped, scales[0]), visible
    return np.stack([to_levels(plane, scale) for plane, scale in zip(warped, scales)]), visible


def as_rgb(levels: np.ndarray) -> np.ndarray:
    """(1 or 3, H, W) to (H, W, 3)."""
    return np.ascontiguousarray(np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0))


def _segments(numbers: np.ndarray, warp: Warp) -> tuple[np.ndarray, np.ndarray | None]:
    """Numbers without order: each has its share of a pixel warped, and the largest share colours it."""
    finite = np.isfinite(numbers)
    count = int(numbers[finite].max()) + 1
    each = (np.where(finite, numbers, -1)[None] == np.arange(-1, count)[:, None, None]).astype(np.float32)
    winner = warp(each).argmax(axis=0) - 1
    return categories(count)[np.maximum(winner, 0)], warp.seen(None if finite.all() else winner >= 0)


def _concepts(image: np.ndarray, item: FeatureMap, scales: Sequence[Range], warp: Warp, look: Look) -> PanelImage:
    """Each pixel in the colour of its strongest plane, the more opaque the stronger."""
    # Parts are never negative, so that what a part has no share in is bare, whatever the panels' scale begins at.
    scale = Range(max(min(s.low for s in scales), 0.0), max(s.high for s in scales))
    levels, visible = warp_levels(item.values, [scale] * len(scales), warp)
    # Not of the levels: where the scale ends several may be at their highest.
    winner = warp(np.nan_to_num(item.values, posinf=0.0, neginf=0.0)).argmax(axis=0)
    strength = levels.max(axis=0).astype(np.float32)[..., None] / 255
    if visible is not None:
        strength = strength * visible[..., None]
    opacity = np.minimum(strength * 2 * look.alpha, 1)
    mixed = image * (1 - opacity) + categories(len(levels))[winner] * opacity
    return PanelImage(np.round(mixed).astype(np.uint8), concepts_label(item))
