"""Where the cells of a map look in the network input, by the arithmetic of what computed them.

All lengths are continuous input pixels, see :mod:`featmap.geometry.image`. An axis has a step ``t`` and a shift ``o``:
the receptive field of cell ``i`` has its middle at ``(i + 0.5) · t + o``. A window of ``k`` taps, dilated by ``d``,
that moves by ``s`` over cells padded with ``p``, gives ``t' = s · t``, ``o' = o + t · (((k - 1) · d + 1 - s) / 2 - p)``
(Dumoulin and Visin, arXiv 1603.07285, with middles for corners).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from featmap.geometry.strides import Offset, Stride


@dataclass(frozen=True)
class AxisPlace:
    """Where the cells of one axis look.

    Attributes:
        cells: How many there are.
        step: Input pixels from one cell's middle to the next one's.
        low: The least shift, in input pixels, of the ways that lead from the input to the map.
        high: The greatest.
        stretched: Whether the step comes of a resize to a size, which the extents decide, and not of strides.
    """

    cells: int
    step: float
    low: float = 0.0
    high: float = 0.0
    stretched: bool = False

    def moved(self, cells: int, step: float, shift: float) -> AxisPlace:
        """The axis with other cells: its step times ``step``, its shift greater by ``shift`` of its own cells."""
        return replace(
            self,
            cells=cells,
            step=self.step * step,
            low=self.low + self.step * shift,
            high=self.high + self.step * shift,
        )

    def windowed(self, cells: int, kernel: int, stride: int, padding: float, dilation: int) -> AxisPlace:
        """After a convolution or pooling."""
        return self.moved(cells, stride, ((kernel - 1) * dilation + 1 - stride) / 2 - padding)

    def transposed(self, cells: int, kernel: int, stride: int, padding: int, dilation: int) -> AxisPlace:
        """After a transposed convolution."""
        return self.moved(cells, 1 / stride, (padding - ((kernel - 1) * dilation + 1) / 2) / stride + 0.5)

    def sampled(self, start: int, step: int, cells: int) -> AxisPlace:
        """Every ``step``-th cell from ``start`` on; negative starts are padding."""
        return self.moved(cells, step, start + 0.5 - step / 2)

    def resized(self, cells: int, nearest: bool = False, corners: bool = False) -> AxisPlace:
        """Resized to so many cells, by interpolation or by adaptive pooling.

        Args:
            cells: How many.
            nearest: Whether each takes the value of one cell, that of its own left edge.
            corners: Whether the first and the last middles stay where they are.
        """
        if cells == self.cells:
            return self
        ratio, shift = self.cells / cells, 0.0
        if corners:
            ratio = (self.cells - 1) / (cells - 1) if cells > 1 else 1.0
            shift = (1 - ratio) / 2
        elif nearest:
            shift = sum(i * self.cells // cells - i * ratio for i in range(cells)) / cells + (1 - ratio) / 2
        whole = not corners and (self.cells % cells == 0 or cells % self.cells == 0)
        return replace(self.moved(cells, ratio, shift), stretched=self.stretched or not whole)

    def merged(self, other: AxisPlace) -> AxisPlace:
        """Of two ways to the same cells: a step of strides before a stretched one, and both ends of the shifts."""
        own, far = (other, self) if self.stretched and not other.stretched else (self, other)
        # Where the steps differ, the middles of the maps are what can be compared.
        slip = (far.step - own.step) * own.cells / 2
        return replace(own, low=min(own.low, far.low + slip), high=max(own.high, far.high + slip))


def _whole(cells: float) -> float:
    """The nearest whole number; from the middle between two, the one nearer to 0."""
    return math.copysign(math.ceil(abs(cells) - 0.5), cells) + 0.0


@dataclass(frozen=True)
class Place:
    """Where the cells of a map look: rows and columns."""

    rows: AxisPlace
    columns: AxisPlace

    @classmethod
    def of_input(cls, shape: tuple[int, int]) -> Place:
        """The pixels of an input of this height and width."""
        return cls(AxisPlace(shape[0], 1.0), AxisPlace(shape[1], 1.0))

    @property
    def grid(self) -> tuple[int, int]:
        """How many rows and columns."""
        return self.rows.cells, self.columns.cells

    @property
    def stride(self) -> Stride:
        """``(sy, sx)``, input pixels per cell."""
        return self.rows.step, self.columns.step

    @property
    def offset(self) -> Offset:
        """``(oy, ox)`` in cells: the middle of the shifts of all ways."""
        return self._shift(lambda axis: (axis.low + axis.high) / 2)

    @property
    def spread(self) -> Offset:
        """Half the difference, in cells, between the ways: 0 where all agree."""
        return self._shift(lambda axis: (axis.high - axis.low) / 2)

    @property
    def origin(self) -> Offset:
        """``(oy, ox)``, the whole cells of the least shift: what unpadded convolutions take away at the edge."""
        return self._shift(lambda axis: _whole(min(max(0.0, axis.low), axis.high) / axis.step) * axis.step)

    def _shift(self, pixels: Callable[[AxisPlace], float]) -> Offset:
        return pixels(self.rows) / self.rows.step, pixels(self.columns) / self.columns.step

    def each(self, change: Callable[..., AxisPlace], *arguments: Sequence[int]) -> Place:
        """Both axes changed, with the arguments' first elements for the rows and their second for the columns."""
        return Place(
            change(self.rows, *(argument[0] for argument in arguments)),
            change(self.columns, *(argument[1] for argument in arguments)),
        )


def merged(places: Iterable[Place]) -> Place | None:
    """Several ways to the same cells as one place; None for none, or where they lead to different grids."""
    found: Place | None = None
    for place in dict.fromkeys(places):
        if found is not None and place.grid != found.grid:
            return None
        found = place if found is None else Place(found.rows.merged(place.rows), found.columns.merged(place.columns))
    return found


@dataclass(frozen=True)
class Cells:
    """How a map's cells lie in the network input.

    Attributes:
        stride: ``(sy, sx)``, input pixels per cell.
        offset: ``(oy, ox)`` in cells, see :data:`featmap.geometry.Offset`.
        known: Whether the stride comes of the operations that made the map, and not of its size.
    """

    stride: Stride
    offset: Offset = (0.0, 0.0)
    known: bool = False
