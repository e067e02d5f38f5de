"""``Trace``: the one raw prediction, before anything was suppressed, that an answer comes from."""

from __future__ import annotations

from dataclasses import dataclass

Cell = tuple[int, int]
"""Row and column."""


@dataclass(frozen=True)
class Trace:
    """The raw prediction that an answer comes from, as its gradient shows.

    Attributes:
        kind: ``dense``, an anchor at a cell; ``region``, a proposal; ``query``, an object query.
        layer: The layer that puts out the raw predictions.
        path: Where in that layer's output its class scores are: ``[0][1]``.
        feature: The map that a cell is of, or that a region was cut out of: ``neck[1]``; empty where that is not known.
        stride: Pixels of the network input from cell to cell; None where there are no cells.
        stride_known: Whether the head says so; else it is concluded from the sizes.
        cells: Row and column; two where a head pairs corners.
        anchor: Which of ``anchors`` at the cell.
        anchors: How many there are at a cell.
        proposal: Number of the region.
        query: Number of the object query.
        class_index: The class that it is a prediction of.
    """

    kind: str
    layer: str
    path: str = ''
    feature: str = ''
    stride: float | None = None
    stride_known: bool = True
    cells: tuple[Cell, ...] = ()
    anchor: int | None = None
    anchors: int = 1
    proposal: int | None = None
    query: int | None = None
    class_index: int | None = None

    @property
    def cell(self) -> Cell | None:
        """Row and column, where it is of one cell."""
        return self.cells[0] if len(self.cells) == 1 else None

    def __str__(self) -> str:
        """As labels have it: ``neck[1] · stride 16 · cell (12, 31)``."""
        words = [self.feature or self.layer + self.path if self.kind == 'dense' else self.feature or self.layer]
        if self.stride is not None:
            words.append(f'stride {"" if self.stride_known else "≈ "}{self.stride:g}')
        if self.cells:
            words.append(
                f'cell{"s" * (len(self.cells) > 1)} ' + ' and '.join(f'({row}, {col})' for row, col in self.cells)
            )
        if self.anchor is not None and self.anchors > 1:
            words.append(f'anchor {self.anchor}')
        if self.proposal is not None:
            words.append(f'proposal {self.proposal}')
        if self.query is not None:
            words.append(f'query {self.query}')
        return ' · '.join(words)
