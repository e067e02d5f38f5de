"""A model of transformers: fed in other sizes than it was trained on, and with masks of what is padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from featmap.models.bare import arguments_of
from featmap.models.huggingface.modules import IMAGES, ModelClass
from featmap.models.network import Network, NetworkBatch
from featmap.models.outputs import OutputReader
from featmap.models.reading import classes_of, own_input_size
from featmap.options import Run

_INTERPOLATE = 'interpolate_pos_encoding'


class TransformersNetwork(Network):
    """A network that is asked to interpolate its position embeddings where the input is of another size.

    What is told by a ``pixel_mask`` where the image ends answers boxes in shares of the image, not of the input.
    """

    def _forward(self, batch: NetworkBatch, raw: float | None = None) -> Any:
        if _INTERPOLATE in self._accepted:
            self._settings[_INTERPOLATE] = batch.input_shape != own_input_size(self.model)
        output = super()._forward(batch, raw)
        mask = batch.extras.get('pixel_mask')
        boxes = output.get('pred_boxes') if isinstance(output, dict) else None
        if mask is not None and isinstance(boxes, Tensor) and not bool(mask.all()):
            return {**output, 'pred_boxes': boxes * _shares(mask).to(boxes)}
        return output


def reader_of(run: Run, model: nn.Module, found: ModelClass) -> OutputReader:
    """What reads a model's output: with the names of its config, where a run gives no others."""
    return OutputReader(
        classes_of(run, model) or found.classes,
        score_thr=run.what.score_thr,
        task=found.task,
        count=found.config.num_labels if found.task == 'detection' else 0,
    )


def is_of_transformers(model: nn.Module) -> bool:
    """Whether a module is built from a config of transformers, and takes images."""
    config = getattr(model, 'config', None)
    return hasattr(config, 'model_type') and hasattr(config, 'id2label') and IMAGES in arguments_of(model)


def _shares(mask: Tensor) -> Tensor:
    """How much of the width and height of an input is no padding, twice: (N, 1, 4)."""
    seen = mask.bool()
    wide, high = (seen.any(dim=axis).float().mean(dim=1) for axis in (1, 2))
    return torch.stack([wide, high] * 2, dim=1)[:, None]
