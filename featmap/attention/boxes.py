"""Which object query stands for a pixel: that of the smallest predicted box that holds it."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from featmap.attention.reading import Attended
from featmap.errors import LayerError
from featmap.geometry import ImageGeometry, check_query, position_of, query_text
from featmap.layouts import flatten
from featmap.wording import option as written


class BoxWatch:
    """Looks, inside its ``with`` block, for boxes (1, Q, 4) that the model or one of its parts puts out.

    They are centre, width and height in shares of what is seen of the image, as DETRs have them: between 0 and 1. The
    last that came are kept; of a decoder's layers those of the last.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._handles: list[RemovableHandle] = []
        self._boxes: dict[int, Tensor] = {}

    def __enter__(self) -> BoxWatch:
        self._boxes = {}
        for module in (self._model, *self._model.children()):
            self._handles.append(module.register_forward_hook(self._look))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def chosen(self, item: Attended, pixel: tuple[float, float], geometry: ImageGeometry | None) -> Attended:
        """Attention that waited for the boxes, of the object query whose box holds a pixel of the original.

        Raises:
            LayerError: as :meth:`query_at`, and where it is not known how the image lies in the network input.
        """
        if geometry is None:
            raise LayerError(
                f'boxes are shares of the image, whose place is not known with {written("overlay", "input")}: '
                f'{written("query")} N asks for an object query by its number'
            )
        assert item.matrix is not None
        return item.of(self.query_at(pixel, geometry, int(item.matrix.shape[1])), pixel)

    def query_at(self, pixel: tuple[float, float], geometry: ImageGeometry, count: int) -> int:
        """The number, of so many object queries, whose box holds a pixel of the original, the smallest of several.

        Raises:
            LayerError: where no such boxes were put out, or none holds the pixel.
        """
        check_query(geometry, pixel)
        text = query_text(pixel)
        boxes = self._boxes.get(count)
        by_number = f'{written("query")} N asks for one by its number'
        if boxes is None:
            raise LayerError(
                f'the model puts out no boxes of its {count} object queries to find {text} in: {by_number}'
            )
        x1, y1, x2, y2 = geometry.visible
        (u1, v1), (u2, v2) = geometry.to_input(x1, y1), geometry.to_input(x2, y2)
        u, v = geometry.to_input(*position_of(pixel))
        across, down = (u - min(u1, u2)) / abs(u2 - u1), (v - min(v1, v2)) / abs(v2 - v1)
        cx, cy, w, h = boxes.double().unbind(-1)
        holds = ((across - cx).abs() <= w / 2) & ((down - cy).abs() <= h / 2)
        if not holds.any():
            raise LayerError(f'none of the boxes of {count} object queries holds {text}: {by_number}')
        return int(torch.where(holds, w * h, torch.inf).argmin())

    def _look(self, module: nn.Module, inputs: Any, output: Any) -> None:
        found: dict[int, tuple[bool, Tensor]] = {}
        for leaf in flatten(output):
            boxes = leaf.value
            if not isinstance(boxes, Tensor) or not _are_boxes(boxes):
                continue
            boxes = boxes.detach()
            last = (boxes if boxes.ndim == 3 else boxes[-1])[0].clone()
            named = any('box' in str(key) for key in leaf.path)
            count = len(last)
            if named or not found.get(count, (False, last))[0]:
                found[count] = (named, last)
        self._boxes.update({count: boxes for count, (_, boxes) in found.items()})


def _are_boxes(value: Tensor) -> bool:
    """(1, Q, 4), or (layers, 1, Q, 4), of numbers between 0 and 1."""
    if not value.is_floating_point() or value.ndim not in (3, 4) or value.shape[-1] != 4 or value.shape[-3] != 1:
        return False
    return value.shape[-2] > 1 and bool((value.amin() >= 0) & (value.amax() <= 1))
