"""Where everything stands in a figure, and the drawing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from featmap.figure.chart import LOWEST
from featmap.figure.marks import Legend, Marks, draw_query
from featmap.figure.style import SMALLEST, Type
from featmap.figure.tiles import Canvas, Line, Tile, shared_bars
from featmap.structures import Detections

# All lengths are points, 72 to the inch, from the top left corner.
MARGIN, GAP = 1.0, 6.0
_BAR, _NARROWEST = 5.0, 90.0
_HIGHEST, _MOST = 0.6, 1.25  # a panel, of the width of the figure; and where it would be very narrow
_THIN = 36.0  # a very narrow panel
_LEADING = 1.25  # of the size of a text: from one line to the next
_LEAST_IMAGE = 150.0  # wide, where it stands above the panels: so that there is room for tags


@dataclass(frozen=True)
class _Text:
    """A line of text: bold, then plain."""

    size: float
    bold: str = ''
    plain: str = ''

    @property
    def height(self) -> float:
        return self.size * _LEADING


def _height(texts: Sequence[_Text]) -> float:
    return sum(text.height for text in texts)


@dataclass(frozen=True)
class Caption:
    """What a figure says beside its panels: a title above all, the image's name and what else is told of it."""

    title: str = ''
    name: str = ''
    parts: tuple[str, ...] = ()


class Sheet:
    """The layout of a figure.

    Args:
        canvas: The image.
        caption: What is said of the image and of the whole.
        lines: The tiles.
        width: Of the figure, in inches.
        type: Its fonts.
        detections: To be outlined; None for none.
        above: Whether the image stands above the tiles rather than left of the first line.
        labels: Whether panels have titles.
        over: Draws on the image's axes, over it.
    """

    def __init__(
        self,
        canvas: Canvas,
        caption: Caption,
        lines: Sequence[Line],
        width: float,
        type: Type,
        detections: Detections | None = None,
        above: bool = False,
        labels: bool = True,
        over: Callable[[Axes], None] | None = None,
    ) -> None:
        self._canvas, self._type, self._labels, self._over = canvas, type, labels, over
        self._lines, self._width = list(lines) or [Line('', ())], width * 72
        self._shared = shared_bars(self._lines)
        self._first = 0 if above else 1  # the column of a line's first tile
        tiles = [tile for line in self._lines for tile in line.tiles]
        self._measure(tiles)
        y = MARGIN
        name = [caption.name, *caption.parts] if labels else []
        self._title = self._fold([caption.title], self._width - 2 * MARGIN, type.title, bold=True)
        y += _height(self._title) + 3 * bool(self._title)
        room = self._width - MARGIN - self._left if above else self._slot
        heading = self._fold(name[:1], room, self._size, bold=True)
        self._heading = heading + self._fold(name[1:], room, self._size)
        if above:
            self._corner = y + _height(self._heading) + 3 * bool(self._heading)
            y = self._corner + self._image[1] + GAP
        self._titles: list[list[list[_Text]]] = []
        self._heads: list[list[_Text]] = []
        self._tops: list[float] = []
        for number, line in enumerate(self._lines):
            y = self._place(number, line, y, beside=not above and number == 0)
        self._height = y - GAP + MARGIN
        self._marks = None if detections is None else Marks(detections, canvas.whole, self._image[::-1], type)
        self._legend = self._place_legend(above)

    @property
    def height(self) -> float:
        """Of the figure, in inches."""
        return self._height / 72

    def _measure(self, tiles: Sequence[Tile]) -> None:
        """How large panels, the image and texts are, and where the first column begins."""
        ends = [self._type.width(f'≥ {end}', self._type.tick) for t in tiles if t.scale for end in t.scale.ends]
        right = GAP + _BAR + 4 + max(ends) if self._shared else 0
        rows, columns = self._canvas.whole.shape
        slots = max(self._first + max(len(line.tiles) for line in self._lines), 1)
        self._slot = (self._width - 2 * MARGIN - right + GAP) / slots - GAP
        highest = min(max(_HIGHEST * self._width, _THIN * rows / columns), _MOST * self._width)
        self._panel_height = min(self._slot * rows / columns, highest)
        self._panel_width = self._panel_height * columns / rows
        self._slot = min(self._slot, max(self._panel_width, _NARROWEST))
        self._step = self._slot + GAP
        self._left = (self._width - right + GAP - slots * self._step) / 2  # high panels stand in the middle
        self._image = self._panel_width, self._panel_height
        if not self._first:
            span = min(-(-(_LEAST_IMAGE + GAP) // self._step), slots) * self._step - GAP
            across = min(span, highest * columns / rows)
            self._image = across, across * rows / columns
        widest = max([1.0, *(self._type.width(part, 1) for tile in tiles for part in tile.parts)])
        self._size = max(min(self._type.body, self._slot / widest), SMALLEST)

    def _fold(self, parts: Sequence[str], room: float, size: float, bold: bool = False) -> list[_Text]:
        lines = self._type.fold(parts, size, room, bold)
        return [_Text(size, line) if bold else _Text(size, plain=line) for line in lines]

    def _place(self, number: int, line: Line, y: float, beside: bool) -> float:
        """Find the places of a line below y, and return where the next begins; ``beside`` the image or alone."""
        said = number > 0 and self._lines[number - 1].head == line.head
        self._heads.append([] if said or not self._labels else self._head(line))
        self._titles.append(self._titles_of(line) if self._labels else [[] for _ in line.tiles])
        over = [_height(title) + _height(self._heads[-1]) for title in self._titles[-1]]
        over += [_height(self._heading)] if beside else []
        room = max(over, default=0.0)
        top = y + room + 3 * (room > 0)
        self._tops.append(top)
        if beside:
            self._corner = top
        y = self._bottom(number) + GAP
        bars = [self._ends(tile)[1] for tile in line.tiles if self._has_bar(number, tile)]
        return y + (3 + _BAR + 3 + self._type.tick * max(bars) if bars else 0)

    def _titles_of(self, line: Line) -> list[list[_Text]]:
        names = (self._fold([tile.name], self._slot, self._size, bold=True) for tile in line.tiles)
        parts = self._type.fold_alike([tile.parts for tile in line.tiles], self._size, self._slot)
        return [name + [_Text(self._size, plain=text) for text in lines] for name, lines in zip(names, parts)]

    def _head(self, line: Line) -> list[_Text]:
        room = self._width - MARGIN - self._left - self._first * self._step
        size = self._type.head
        name, rest = self._fold(line.head[:1], room, size, bold=True), self._fold(line.head[1:], room, self._size)
        if len(name) == len(rest) == 1:
            used = self._type.width(name[0].bold, size, bold=True) + GAP
            if used + self._type.width(rest[0].plain, self._size) <= room:
                return [_Text(size, name[0].bold, rest[0].plain)]
        return name + rest

    def _place_legend(self, above: bool) -> tuple[Legend, float, float] | None:
        """The legend and its corner: where the image leaves room, else below everything, in a higher figure."""
        if self._marks is None or not self._marks.entries:
            return None
        x, y = self._left, self._corner + self._image[1] + GAP
        room, depth = self._slot, self._bottom(len(self._tops) - 1) - y
        if above:
            x, y, depth = self._left + self._image[0] + GAP, self._corner, self._image[1]
            room = self._width - MARGIN - x
        legend = Legend(self._marks.entries, self._type, room)
        if legend.width <= room and legend.height <= depth:
            return legend, x, y
        legend = Legend(self._marks.entries, self._type, self._width - MARGIN - self._left)
        y = self._height - MARGIN + GAP
        self._height += GAP + legend.height
        return legend, self._left, y

    def _bottom(self, number: int) -> float:
        return self._tops[number] + max(
            self._panel_height, 3 * self._type.tick * bool(self._shared), self._chart(number)
        )

    def _chart(self, number: int) -> float:
        """The least height that a line needs for a panel of classes."""
        return LOWEST if any(tile.plot is not None for tile in self._lines[number].tiles) else 0

    def _has_bar(self, number: int, tile: Tile) -> bool:
        return bool(tile.scale and not tile.scale.constant and all(number not in group for group in self._shared))

    def _ends(self, *tiles: Tile) -> tuple[tuple[str, str], int, float]:
        """The ends of a bar that these tiles share, on how many lines they stand below it, and their size."""
        low, high = (end.replace('-', '−') for tile in tiles[:1] if tile.scale for end in tile.scale.ends)
        low = '≤ ' * any(tile.clipped[0] for tile in tiles) + low
        high = '≥ ' * any(tile.clipped[1] for tile in tiles) + high
        size = (self._slot - 3) / self._type.width(low + high, 1)
        return ((low, high), 2, SMALLEST) if size < SMALLEST else ((low, high), 1, min(size, self._type.tick))

    def draw(self, figure: Figure, dpi: float) -> None:
        """Put all on a figure of this size. Panels have the pixels that they are printed with at so many an inch."""
        self._write(figure, self._left, MARGIN + _height(self._title), self._title)
        self._write(figure, self._left, self._corner - 3, self._heading)
        axes = self._axes(figure, (self._left, self._corner, *self._image), dpi, 'image')
        self._show(axes, None)
        if self._marks is not None:
            self._marks.draw(axes, tags=True)
        if self._over is not None:
            self._over(axes)
        for query in dict.fromkeys(tile.query for line in self._lines for tile in line.tiles if tile.query):
            draw_query(axes, query, self._type.tag)
        for number, (line, top) in enumerate(zip(self._lines, self._tops)):
            start = self._left + self._first * self._step
            titles = max(map(_height, self._titles[number]), default=0.0)
            self._write(figure, start, top - 3 - titles, self._heads[number])
            for column, (tile, title) in enumerate(zip(line.tiles, self._titles[number])):
                x = start + column * self._step
                if tile.number is None:
                    continue
                self._write(figure, x, top - 3, title)
                if tile.plot is not None:
                    shape = (max(self._panel_height, LOWEST), self._slot)
                    tile.plot(self._axes(figure, (x, top, *shape[::-1]), dpi, 'chart'), self._type, shape)
                    continue
                axes = self._axes(figure, (x, top, self._panel_width, self._panel_height), dpi, 'panel')
                self._show(axes, tile)
                if tile.over is not None:
                    tile.over(axes)
                elif self._marks is not None and tile.column in ('', 'overlay'):
                    self._marks.draw(axes)
                if tile.query:
                    draw_query(axes, tile.query, self._type.tag)
                if self._has_bar(number, tile):
                    self._bar(figure, (x, top + self._panel_height + 3, self._slot, _BAR), dpi, [tile])
        for group in self._shared:
            tiles = [tile for number in group for tile in self._lines[number].tiles if tile.scale]
            x = self._left + (self._first + max(len(self._lines[number].tiles) for number in group)) * self._step
            top, bottom = self._tops[group[0]], self._bottom(group[-1])
            self._bar(figure, (x, top, _BAR, bottom - top), dpi, [t for t in tiles if t.scale and not t.scale.constant])
        if self._legend is not None:
            legend, x, y = self._legend
            legend.draw(figure, x, y)

    def _axes(self, figure: Figure, place: tuple[float, float, float, float], dpi: float, label: str) -> Axes:
        """Axes whose edges lie between the pixels of a picture of this resolution."""
        across, down = figure.get_size_inches() * 72
        x, y = (round(length * dpi / 72) * 72 / dpi for length in place[:2])
        width, height = (max(round(length * dpi / 72), 1) * 72 / dpi for length in place[2:])
        return figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down), label=label)

    def _show(self, axes: Axes, tile: Tile | None) -> None:
        """A panel, or the image, with pixels of the original for its unit."""
        shape = (round(axes.bbox.height), round(axes.bbox.width))
        shape = self._canvas.fitting(shape) if tile is None or tile.window is None else shape
        picture = self._canvas.picture(shape) if tile is None else tile.picture(shape)
        left, top, right, bottom = (None if tile is None else tile.window) or self._canvas.whole.window
        axes.imshow(picture, extent=(left, right, bottom, top), aspect='auto', interpolation='antialiased')
        axes.set(xticks=[], yticks=[], autoscale_on=False)  # marks of a caller's own do not move the picture
        axes.patch.set_visible(False)
        frame = None if tile is None else tile.frame
        for spine in axes.spines.values():
            spine.set_visible(frame is not None)
            if frame is not None:
                spine.set(color=frame, linewidth=1.5)

    def _write(self, figure: Figure, x: float, bottom: float, texts: Sequence[_Text]) -> None:
        across, down = figure.get_size_inches() * 72
        for text in reversed(texts):
            start, y = x, 1 - (bottom - 0.25 * text.size) / down
            if text.bold:
                figure.text(x / across, y, text.bold, **self._type.how(text.size, bold=True))
                start += self._type.width(text.bold, text.size, bold=True) + GAP
            if text.plain:
                figure.text(start / across, y, text.plain, **self._type.how(min(text.size, self._size)))
            bottom -= text.height

    def _bar(self, figure: Figure, place: tuple[float, float, float, float], dpi: float, tiles: Sequence[Tile]) -> None:
        """The colours from low to high, upright where the place is, with the values of its ends and where 0 is."""
        scale = next(tile.scale for tile in tiles if tile.scale)
        (low, high), lines, size = self._ends(*tiles)
        upright, length = place[3] > place[2], max(place[2:])
        size = self._type.tick if upright else size
        ticks = {0.0: low, 1.0: high if upright or lines == 1 else f'\n{high}'}
        zero = -scale.low / (scale.high - scale.low)
        widest = max(self._type.width(low, size), self._type.width(high, size))
        room = (2 * size if upright else widest + size) / length
        if room < zero < 1 - room:
            ticks[zero] = '0'
        axes = self._axes(figure, place, dpi, 'bar')
        colors = self._canvas.bar(tiles[0].column)
        colors = colors.transpose(1, 0, 2) if upright else colors
        axes.imshow(colors, extent=(0, 1, 0, 1), origin='lower', aspect='auto', interpolation='none')
        axis, other = (axes.yaxis, axes.xaxis) if upright else (axes.xaxis, axes.yaxis)
        axis.set_ticks(list(ticks), list(ticks.values()), **self._type.how(size))
        other.set_ticks([])
        axes.tick_params(length=1.5, width=0.4, pad=1.5, left=False, labelleft=False, right=upright, labelright=upright)
        for label, side in zip(axis.get_ticklabels(), ('bottom', 'top') if upright else ('left', 'right')):
            label.set(**{'verticalalignment' if upright else 'horizontalalignment': side})
        axes.spines[:].set_linewidth(0.4)
