"""``Placement``: how the cells of each recorded map lie in the network input, as the model itself shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor, nn

from featmap.calibration import Displacement
from featmap.geometry import Cells, Offset, Place, nominal_stride
from featmap.layers import Target
from featmap.layouts import Layout, Map, declared_layout
from featmap.tracing import PlaceTrace

Output = tuple[Target, int, str]
"""One output of a layer: target, number of the call, and path as text."""
Mirrored = dict[Output, tuple[np.ndarray, tuple[float, float]]]
"""Outputs' energies on image content, and by how many rows and columns a map is longer than the input."""


@dataclass
class _Seen:
    """What one forward showed: layouts, cells, and their places where the arithmetic is known all the way."""

    layouts: dict[Output, Layout] = field(default_factory=dict)
    cells: dict[Output, Cells] = field(default_factory=dict)
    places: dict[Output, Place] = field(default_factory=dict)


class Placement:
    """Asks the first forward of each input size how the cells lie, and remembers it for the others.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._seen: dict[tuple[int, int], _Seen] = {}
        self._now = _Seen()
        self._size = (0, 0)
        self._trace: PlaceTrace | None = None
        self._calls: Callable[[Target], int] = lambda target: 1
        self._displaced: dict[Output, Displacement] = {}
        self._shifts: dict[Output, Offset] = {}
        self.calibrated = False

    @contextmanager
    def watched(self, inputs: Tensor, calls: Callable[[Target], int]) -> Iterator[None]:
        """Around a forward, inside which the other methods may be asked.

        Args:
            inputs: (N, C, H, W), the network input.
            calls: How often a target has been called in this forward, the present call included.
        """
        self._size = size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
        self._calls = calls
        if size in self._seen:
            self._now = self._seen[size]
            yield
            return
        self._now = _Seen()
        self._trace = PlaceTrace(self._model, inputs)
        try:
            with self._trace:
                yield
            self._seen[size] = self._now
        finally:
            self._trace = None

    def layouts_of(self, target: Target) -> Callable[[str, Tensor], Layout | None]:
        """What :func:`featmap.layouts.maps_of` asks for tensors in the present call of the target.

        Operations that ran are asked first, then modules that say what they are made for.
        """

        def layout_of(path: str, value: Tensor) -> Layout | None:
            output = (target, self._calls(target) - 1, path)
            if self._trace and (layout := self._trace.layout(value)):
                self._now.layouts[output] = layout
            found = self._now.layouts.get(output)
            if found is None and value.ndim == 3:
                found = declared_layout(self._model, target.name, self._size, value)
            return found

        return layout_of

    def cells(self, target: Target, found: Map) -> Cells:
        """How the cells of a map that the present call of the target put out lie: (N, C, h, w)."""
        output = (target, self._calls(target) - 1, found.path)
        if self._trace:
            if place := self._trace.place(found.features):
                self._now.places[output] = place
                self._now.cells[output] = Cells(place.stride, place.origin, known=True)
            elif stride := self._trace.stride(found.features):
                self._now.cells[output] = Cells(stride, known=True)
        guess = Cells(nominal_stride(self._size, (found.features.shape[-2], found.features.shape[-1])))
        cells = self._now.cells.get(output, guess)
        oy, ox = self._shifts.get(output, (0.0, 0.0))
        return replace(cells, offset=(cells.offset[0] + oy, cells.offset[1] + ox)) if oy or ox else cells

    def nominal(self) -> None:
        """Forget what was measured."""
        self._displaced, self._shifts, self.calibrated = {}, {}, False

    def compare(self, straight: Mirrored, across: Mirrored, upended: Mirrored) -> None:
        """Take in what one image shows, and what its two mirror images do, mirrored back."""
        for output, (plane, slack) in straight.items():
            if output in across and output in upended:
                displaced = self._displaced.setdefault(output, Displacement())
                displaced.rows.observe(plane.T, upended[output][0].T, slack[0])
                displaced.columns.observe(plane, across[output][0], slack[1])

    def calibrate(self) -> None:
        """From now on, place the cells by what was compared, within what the arithmetic of the operations allows."""
        places = {output: place for seen in self._seen.values() for output, place in seen.places.items()}
        self._shifts = {output: each.offset(places.get(output)) for output, each in self._displaced.items()}
        self.calibrated = bool(self._shifts)
