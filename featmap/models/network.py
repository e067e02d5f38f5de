"""``Network``: any module with a preprocessing, and a reader of what it puts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featmap.answers import Answers, RawLayer
from featmap.errors import ConfigError, SourceError, first_line
from featmap.models.bare import arguments_of, named_input, needed_by, put_on, type_of, unwrapped
from featmap.models.checkpoint import Checkpoint, apply_weights
from featmap.models.outputs import OutputReader
from featmap.models.outputs.answering import answers_in
from featmap.models.preprocessing import Preprocessing
from featmap.models.protocol import AnyModel, Batch
from featmap.models.query_heads import raw_layers
from featmap.structures import Detections
from featmap.wording import option as written


@dataclass(frozen=True)
class NetworkBatch(Batch):
    """Preprocessed images, with what else the preprocessing hands to the forward, by the names of its arguments."""

    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def repeated(self, inputs: Tensor) -> NetworkBatch:
        """The first image in other forms, each with what else is handed to the forward of it."""
        count = len(inputs)
        extras = {name: value[:1].expand(count, *value.shape[1:]) for name, value in self.extras.items()}
        return replace(self, inputs=inputs, geometries=self.geometries[:1] * count, extras=extras)


class Network(AnyModel):
    """A module of any kind.

    Args:
        module: It is put on the device, in eval mode. What only wraps it, as ``DataParallel`` and ``torch.compile`` do,
            is left out: hooks see what runs inside of the module itself.
        preprocessing: From an image to the network input and its geometry.
        reader: Makes sense of what the forward returns.
        device: Where the module runs.
        checkpoint: Weights to put into it.
        random_weights: Whether its weights mean nothing.
        name: What it is called, for the provenance of saved maps.
        weights_name: What its weights are called, where they are of no checkpoint.
        amp: Run the forward under autocast: in float16 on CUDA, in bfloat16 elsewhere.
        argument: Of the forward, which takes the network input; default the first, or ``pixel_values`` where there is
            one.
        settings: Further arguments of the forward.

    Raises:
        CheckpointError: where the checkpoint is of another architecture.
        ConfigError: where the module runs no hooks, or cannot be put on the device.
    """

    def __init__(
        self,
        module: nn.Module,
        preprocessing: Preprocessing,
        reader: OutputReader,
        *,
        device: torch.device,
        checkpoint: Checkpoint | None = None,
        random_weights: bool = False,
        name: str | None = None,
        weights_name: str | None = None,
        amp: bool = False,
        argument: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = module = unwrapped(module)
        self.weights = None if checkpoint is None else apply_weights(module, checkpoint)
        put_on(module, device)
        module.eval()
        self.device = device
        self.preprocessing = preprocessing
        self.classes = reader.classes
        self.random_weights = random_weights
        self.score_thr = reader.score_thr
        self.amp = amp
        self._reader = reader
        self._settings = dict(settings or {})
        self._accepted = arguments_of(module)
        self._argument = argument or named_input(module)
        self._dtype = torch.float32 if amp else type_of(module)
        # Convolutions are faster so on CPUs, elsewhere in half precision; a layer passes the layout of its input on.
        self._channels_last = device.type == 'cpu' or amp
        self._provenance = {
            'config': name,
            'checkpoint': checkpoint.source if checkpoint else weights_name,
            'checkpoint_sha256': checkpoint.sha256 if checkpoint else None,
        }

    @property
    def provenance(self) -> Mapping[str, str | None]:
        """The names of the model and of its weights, and the hash of the checkpoint file."""
        return self._provenance

    def prepare(self, images: Sequence[np.ndarray], contiguous: bool = False, over_input: bool = False) -> NetworkBatch:
        """The network input for images, which are to come out of one size."""
        items = [self.preprocessing(image, over_input) for image in images]
        shapes = {tuple(item.tensor.shape) for item in items}
        if len(shapes) > 1:
            raise SourceError(f'images of one batch come out in several sizes: {sorted(shapes)}')
        inputs = torch.stack([item.tensor for item in items]).to(self.device, self._dtype)
        names = [name for name in items[0].extras if name in self._accepted]
        extras = {name: torch.cat([item.extras[name] for item in items]).to(self.device) for name in names}
        return NetworkBatch(self._laid_out(inputs, contiguous), tuple(item.geometry for item in items), extras)

    def _explained(self, error: Exception, batch: Batch) -> ConfigError:
        """An error of the forward, which is anyone's code, with what it was given."""
        size = '×'.join(map(str, batch.inputs.shape[1:]))
        wanted = needed_by(self.model, (*self._settings, *getattr(batch, 'extras', ())))
        hint = (
            f'its forward takes {", ".join(wanted)}: wrap it into a module whose forward takes the image alone'
            if len(wanted) > 1
            else f'{written("input_size")} and {written("preprocess")} say what it is given'
        )
        return ConfigError(
            f'{type(self.model).__name__} cannot take an input of {size}: {type(error).__name__}: '
            f'{first_line(error)}; {hint}'
        )

    def _predict(self, batch: Batch) -> tuple[Detections, ...] | None:
        assert isinstance(batch, NetworkBatch)
        with torch.no_grad():
            output = self._forward(batch)
        return self._reading.read(output, batch.geometries)

    def _respond(self, batch: Batch, raw: float | None) -> tuple[Answers, ...]:
        assert isinstance(batch, NetworkBatch)
        reader = self._reading
        if self.classifies and not reader.classes:
            reader = replace(reader, asked=True)
        return answers_in(self._forward(batch, raw), batch.geometries, reader, raw)

    def _forward(self, batch: NetworkBatch, raw: float | None = None) -> Any:
        """What the module returns of a batch, in the caller's grad mode.

        Args:
            batch: The images.
            raw: The score from which up a module that suppresses predictions is to return all.
        """
        given = {**self._settings, **batch.extras}
        with self._autocast():
            if self._argument is None:
                return self.model(batch.inputs, **given)
            return self.model(**{self._argument: batch.inputs}, **given)

    def raw_layers(self) -> list[RawLayer]:
        """Of a detector with object queries, the layers that put out their classes and boxes."""
        if self._reader.task not in ('', 'detection'):
            return []
        return raw_layers(self.model, self._reader.count or len(self.classes), self.classes)

    @property
    def _reading(self) -> OutputReader:
        return replace(self._reader, score_thr=self.score_thr)
