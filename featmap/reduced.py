"""What a hook keeps of one map, how much its cells count, and the ``FeatureMap`` that becomes of it in the end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featmap.geometry import Cells, ImageGeometry
from featmap.meaning import Meaning
from featmap.recorder import Record
from featmap.reducers.channels import reasons
from featmap.reducers.rounding import noise_of
from featmap.structures import FeatureMap, Reduction
from featmap.tokens import Tokens


@dataclass(frozen=True)
class Reduced:
    """One map, reduced, on the model's device.

    Attributes:
        path: Where in the layer's output it was found, as text.
        tokens: The tokens that it was made of; None where it was made of none.
        meaning: What its channels are.
        reduction: Its planes.
        shape: (C, h, w) of all of it.
        dtype: Of the layer.
        cells: How its cells lie in the network input.
        label: What the reducer is called; empty where the planes' names say it.
        query: The position in the original that it answers to; None for none.
        pca: The picture of components that goes with it, where one is wanted.
        features: (C, h, w), where they are wanted.
    """

    path: str
    tokens: Tokens | None
    meaning: Meaning
    reduction: Reduction
    shape: tuple[int, int, int]
    dtype: torch.dtype
    cells: Cells
    label: str
    query: tuple[float, float] | None = None
    pca: Reduction | None = None
    features: Tensor | None = None

    def feature_map(self, record: Record, calls: int, geometry: ImageGeometry, note: str) -> FeatureMap:
        """On the host, as one of so many calls of a layer; ``note`` is what has to be known of all values."""
        of_layer: dict[str, Any] = {
            'layer': record.target.name,
            'shape': self.shape,
            'stride': self.cells.stride,
            'geometry': geometry,
            'path': self.path,
            'call': record.call,
            'calls': calls,
            'meaning': self.meaning.label,
            'note': note,
            'offset': self.cells.offset,
            'stride_known': self.cells.known,
            'tokens': self.tokens,
            'query': self.query,
        }
        return FeatureMap(
            **self._shown(self.reduction, self.label),
            **of_layer,
            features=None if self.features is None else _to_numpy(self.features),
            pca=None if self.pca is None else FeatureMap(**self._shown(self.pca, 'pca'), **of_layer),
        )

    def _shown(self, reduction: Reduction, label: str) -> dict[str, Any]:
        """What a reduction makes of the map: the fields of a FeatureMap."""
        channels = reduction.channels
        channels = tuple(channels.tolist()) if isinstance(channels, Tensor) else tuple(channels)
        values = reduction.values.cpu().numpy()
        return {
            'values': values,
            'reducer': label,
            'channels': channels,
            'kind': reduction.kind,
            'names': reduction.names or _described(reduction.kind, channels, self.meaning),
            'ranges': reduction.ranges,
            'why': reasons(reduction),
            'noise': noise_of(reduction, values, self.shape[0], self.dtype),
        }


def _described(kind: str, channels: tuple[int | None, ...], meaning: Meaning) -> tuple[str, ...]:
    """Channels with what they stand for, where all planes are channels and that is known."""
    if kind != 'heat' or not meaning.attributes or None in channels:
        return ()
    return tuple(f'channel {channel} ({meaning.describe(channel)})' for channel in channels if channel is not None)


def _to_numpy(features: Tensor) -> np.ndarray:
    """To the host; bfloat16, which NumPy does not have, as float32."""
    return (features.float() if features.dtype == torch.bfloat16 else features).cpu().numpy()


@lru_cache(maxsize=64)
def cell_weights(geometry: ImageGeometry, cells: Cells, shape: tuple[int, int], device: torch.device) -> Tensor:
    """How much each cell counts, on the device; a copy for every map would make the host wait for the device."""
    return torch.from_numpy(geometry.weights(shape, cells.stride, cells.offset)).to(device)
