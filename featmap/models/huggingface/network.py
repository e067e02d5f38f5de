"""A model of transformers: fed in other sizes than it was trained on, and with masks of what is padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featmap.models.network import Network, NetworkBatch
from featmap.models.protocol import Batch
from featmap.models.reading import own_input_size
from featmap.structures import Detections

_INTERPOLATE = 'interpolate_pos_encoding'


class TransformersNetwork(Network):
    """A network that is asked to interpolate its position embeddings where the input is of another size.

    What is told by a ``pixel_mask`` where the image ends answers boxes in shares of the image, not of the input.
    """

    def _predict(self, batch: Batch) -> tuple[Detections, ...] | None:
        if _INTERPOLATE in self._accepted:
            self._settings[_INTERPOLATE] = batch.input_shape != own_input_size(self.model)
        return super()._predict(batch)

    def _read(self, output: Any, batch: NetworkBatch) -> tuple[Detections, ...] | None:
        mask = batch.extras.get('pixel_mask')
        boxes = output.get('pred_boxes') if isinstance(output, dict) else None
        if mask is not None and isinstance(boxes, Tensor) and not bool(mask.all()):
            output = {**output, 'pred_boxes': boxes * _shares(mask).to(boxes)}
        return super()._read(output, batch)


def _shares(mask: Tensor) -> Tensor:
    """How much of the width and height of an input is no padding, twice: (N, 1, 4)."""
    seen = mask.bool()
    wide, high = (seen.any(dim=axis).float().mean(dim=1) for axis in (1, 2))
    return torch.stack([wide, high] * 2, dim=1)[:, None]
