"""On which axes of a tensor the rows and columns of a grid stand, followed through views, windows, heads and tokens.

Shapes alone do not tell: (1, 96, 96, 96) has its channels in front or behind. So each axis is written as the factors
that it is made of, outermost first, as in ``b (y wy) (x wx) c -> (b y x) (wy wx) c``: a view splits and joins factors,
a permutation moves them, and a map has come back together where an axis holds all rows and another all columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Union

from featmap.geometry import Place
from featmap.geometry.places import AxisPlace
from featmap.layouts import Grid, Layout


@dataclass(frozen=True)
class Factor:
    """A part of an axis.

    Attributes:
        size: Its extent.
        of: ``rows`` or ``columns`` of the grid; empty for channels, heads, images.
        step: How many rows or columns of the grid one step along it is.
    """

    size: int
    of: str = ''
    step: int = 1


@dataclass(frozen=True)
class Chain:
    """An axis of tokens from several sources: how many of each, and their place where they are cells."""

    parts: tuple[tuple[int, Place | None], ...]

    @property
    def size(self) -> int:
        """How many tokens."""
        return sum(count for count, _ in self.parts)


Axis = tuple[Union[Factor, Chain], ...]
Axes = tuple[Axis, ...]


def on_axes(shape: Sequence[int], rows: int, columns: int) -> Axes:
    """Those of a tensor with a whole grid's rows and columns on two axes, which may be the same."""
    kinds = {rows: 'rows', columns: 'columns'}
    return tuple(factors_of([Factor(int(extent), kinds.get(number, ''))]) for number, extent in enumerate(shape))


def as_tokens(ndim: int, axis: int, shape: Sequence[int], place: Place) -> Axes:
    """Those of a tensor with all cells of a grid on one axis."""
    return tuple(cells_of(place) if number == axis else plain(int(shape[number])) for number in range(ndim))


def read(axes: Axes | None, place: Place | None, shape: Sequence[int]) -> Layout | None:
    """How cells stand in a tensor of these axes; None where that is not known."""
    if axes is None or len(axes) != len(shape):
        return None
    for number, axis in enumerate(axes):
        if len(axis) == 1 and isinstance(axis[0], Chain):
            return Layout((number,), _grids(axis[0]))
    if place is None:
        return None
    # Blocks of cells may be among the channels, but what shares an axis with channels is no row of cells.
    pure = [number for number, axis in enumerate(axes) if axis and all(_of(factor) for factor in axis)]
    wholes = {number: whole_of(axes[number], place) for number in pure}
    if len(pure) == 1 and (grid := _in_order(axes[pure[0]], place)):
        return Layout((pure[0],), (grid,))
    rows, columns = ([n for n in pure if kind in wholes[n]] for kind in ('rows', 'columns'))
    if len(pure) == 2 and rows and columns and rows != columns:
        return Layout((rows[0], columns[0]))
    return _windows(axes, pure)


def folded(axes: Axes, place: Place | None) -> tuple[Axes, Place | None] | None:
    """Without blocks of cells whose inside is lost, and only where a grid is left at all."""
    factors = [factor for axis in axes for factor in axis]
    if any(isinstance(factor, Chain) for factor in factors):
        return axes, place
    if place is None:
        return None
    steps, cells = {}, []
    for kind, extent in zip(('rows', 'columns'), place.grid):
        own = [factor for factor in factors if isinstance(factor, Factor) and factor.of == kind]
        count, steps[kind] = math.prod(f.size for f in own), min((f.step for f in own), default=1)
        if count * steps[kind] != extent:
            return None  # the outermost are lost: a window, a part, a mean
        cells.append(count)
    if list(place.grid) == cells:
        return axes, place
    shrunk = tuple(
        tuple(Factor(f.size, f.of, f.step // steps[f.of]) if isinstance(f, Factor) and f.of else f for f in axis)
        for axis in axes
    )
    return shrunk, place.each(AxisPlace.resized, cells)


def others_on(shape: Sequence[int], axis: int) -> Axes:
    """Those of a tensor with tokens on an axis that are no cells: object queries, or picked in an unknown order."""
    return tuple(
        (Chain(((int(extent), None),)),) if number == axis else plain(int(extent))
        for number, extent in enumerate(shape)
    )


def holds_cells(axis: Axis) -> bool:
    """Whether rows, columns or tokens that are cells stand on an axis."""
    return any(any(place for _, place in factor.parts) if isinstance(factor, Chain) else factor.of for factor in axis)


def plain(extent: int) -> Axis:
    """An axis of no cells."""
    return factors_of([Factor(extent)])


def cells_of(place: Place) -> Axis:
    """An axis of all cells, one row after the other."""
    rows, columns = place.grid
    return factors_of([Factor(rows, 'rows'), Factor(columns, 'columns')])


def factors_of(factors: Iterable[Factor | Chain]) -> Axis:
    """An axis of these, with neighbours joined that are one, and without those of one element."""
    joined: list[Factor | Chain] = []
    for factor in factors:
        last = joined[-1] if joined else None
        if factor.size == 1 and isinstance(factor, Factor):
            continue
        if isinstance(last, Factor) and isinstance(factor, Factor) and last.of == factor.of and (
            not factor.of or last.step == factor.size * factor.step
        ):  # fmt: skip
            joined[-1] = Factor(last.size * factor.size, factor.of, factor.step)
        else:
            joined.append(factor)
    return tuple(joined)


def extent_of(axis: Axis) -> int:
    """How many elements there are along an axis."""
    return math.prod(factor.size for factor in axis)


def whole_of(axis: Axis, place: Place) -> dict[str, int]:
    """Rows, columns, or rows and then columns, where an axis holds all of them, each perhaps of several cells."""
    found = {}
    for factor in axis:
        if not isinstance(factor, Factor) or factor.of not in ('rows', 'columns') or factor.of in found:
            return {}
        extent = place.grid[factor.of == 'columns']
        if factor.size * factor.step != extent:
            return {}
        found[factor.of] = factor.size
    return found if list(found) != ['columns', 'rows'] else {}


def _in_order(axis: Axis, place: Place) -> Grid | None:
    """The grid of an axis that holds all rows and columns, however their factors are ordered."""
    wanted: list[int] = []
    shape = []
    for kind, extent in zip(('rows', 'columns'), place.grid):
        own = [n for n, factor in enumerate(axis) if isinstance(factor, Factor) and factor.of == kind]
        own.sort(key=lambda n: -axis[n].step)  # type: ignore[union-attr]
        left = extent
        for n in own:
            factor = axis[n]
            assert isinstance(factor, Factor)
            if factor.size * factor.step != left:
                return None
            left = factor.step
        wanted += own
        shape.append(extent // left)
    sizes = tuple(factor.size for factor in axis)
    order = None if wanted == sorted(wanted) else (sizes, tuple(wanted))
    return Grid((shape[0], shape[1]), 0, order)


def is_out_of_order(axis: Axis, place: Place | None) -> bool:
    """Whether an axis holds all cells of a grid, and not one row after the other."""
    if place is None or not axis or not all(map(_of, axis)):
        return False
    grid = _in_order(axis, place)
    return grid is not None and grid.order is not None


def _grids(tokens: Chain) -> tuple[Grid, ...]:
    starts = [sum(count for count, _ in tokens.parts[:number]) for number in range(len(tokens.parts))]
    return tuple(Grid(place.grid, start) for (_, place), start in zip(tokens.parts, starts) if place)


def _windows(axes: Axes, pure: Sequence[int]) -> Layout | None:
    """Windows, where a first axis says which and later ones which cell inside."""
    first = next((number for number, axis in enumerate(axes) if any(map(_of, axis))), 0)
    later = [number for number in pure if number > first]
    if not later or (first and first not in pure):
        return None
    # Of three or more axes the last two are rows and columns inside.
    within = later[-1:] if {_of(factor) for factor in axes[later[-1]]} == {'rows', 'columns'} else later[-2:]
    inside = [factor for number in within for factor in axes[number]]
    outside = [factor for number, axis in enumerate(axes) if number not in within for factor in axis if _of(factor)]
    size = {kind: math.prod(factor.size for factor in inside if _of(factor) == kind) for kind in ('rows', 'columns')}
    return Layout(windows=(math.prod(factor.size for factor in outside), (size['rows'], size['columns'])))


def _of(factor: Factor | Chain) -> str:
    return factor.of if isinstance(factor, Factor) else ''
