"""A model of transformers that runs on inputs of other sizes than it was trained on."""

from __future__ import annotations

from featmap.models.network import Network
from featmap.models.protocol import Batch
from featmap.models.reading import own_input_size
from featmap.structures import Detections

_INTERPOLATE = 'interpolate_pos_encoding'


class TransformersNetwork(Network):
    """A network that is asked to interpolate its position embeddings where the input is of another size."""

    def _predict(self, batch: Batch) -> tuple[Detections, ...] | None:
        if _INTERPOLATE in self._accepted:
            self._settings[_INTERPOLATE] = batch.input_shape != own_input_size(self.model)
        return super()._predict(batch)
