"""Masks of the original image as masks of the network input: how an image is taken away before a model sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from featmap.geometry import ImageGeometry

_ROUNDING = 1e-4  # pixels


class _Taps(NamedTuple):
    """What each pixel of the input is made of along an axis: for each tap, original pixels and their shares."""

    places: np.ndarray  # (taps, pixels) indices
    shares: np.ndarray  # (taps, pixels) float32, which add up to 1
    content: np.ndarray  # (pixels,) bool: whether it shows any of the image


class InputMasks:
    """Brings masks on the original image onto the network input.

    A pixel of the input is kept by the share of its area, back in the original, that is kept. Padding stays.

    Args:
        geometry: How the image lies in the input.
    """

    def __init__(self, geometry: ImageGeometry) -> None:
        self._image_shape = geometry.image_shape
        height, width = geometry.input_shape
        x1, y1, x2, y2 = geometry.visible
        self._rows = _taps(lambda v: geometry.to_image(v, v)[1], height, y1, y2)
        self._columns = _taps(lambda u: geometry.to_image(u, u)[0], width, x1, x2)

    @property
    def seen(self) -> np.ndarray:
        """(H, W) bool: which pixels of the original reach the network."""
        rows, columns = np.zeros(self._image_shape[0], bool), np.zeros(self._image_shape[1], bool)
        for taps, axis in ((self._rows, rows), (self._columns, columns)):
            axis[taps.places[:, taps.content][taps.shares[:, taps.content] > 0]] = True
        return rows[:, None] & columns

    def __call__(self, masks: np.ndarray, device: torch.device | None = None) -> Tensor:
        """(B, H, W) masks, bool or from 0 to 1, on the grid of the input: (B, h, w) float32, 1 on padding."""
        planes = torch.from_numpy(np.ascontiguousarray(masks)).to(device, torch.float32)
        planes = _mixed(_mixed(planes, self._rows, 1), self._columns, 2)
        content = self._rows.content[:, None] & self._columns.content
        if not content.all():
            planes.masked_fill_(~torch.from_numpy(content).to(planes.device), 1.0)
        return planes


def _taps(to_image: Callable[[np.ndarray], np.ndarray], pixels: int, low: float, high: float) -> _Taps:
    """Which part of ``low`` to ``high`` of the original each pixel of an axis covers."""
    edges = np.asarray(to_image(np.arange(pixels + 1, dtype=np.float64)))
    first, last = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    content = (np.minimum(last, high) - np.maximum(first, low)) > 0.5 * np.minimum(last - first, high - low)
    extent = max(int(np.ceil(high - _ROUNDING)), 1)
    first, last = np.clip(first, low, high - _ROUNDING), np.clip(last, low + _ROUNDING, high)
    start = np.floor(first + _ROUNDING).astype(np.intp)
    count = np.maximum(np.ceil(last - _ROUNDING).astype(np.intp) - start, 1)
    places = start + np.arange(count[content].max(initial=1))[:, None]
    shares = np.clip(np.minimum(places + 1, last) - np.maximum(places, first), 0, None)
    shares[0, shares.sum(axis=0) <= 0] = 1
    shares /= shares.sum(axis=0)
    return _Taps(np.minimum(places, extent - 1), shares.astype(np.float32), content)


def _mixed(planes: Tensor, taps: _Taps, dimension: int) -> Tensor:
    device = planes.device
    places, shares = torch.from_numpy(taps.places).to(device), torch.from_numpy(taps.shares).to(device)
    if len(places) == 1:
        return planes.index_select(dimension, places[0])
    shape = (-1, 1) if dimension == 1 else (-1,)
    mixed = planes.index_select(dimension, places[0]) * shares[0].view(shape)
    for place, share in zip(places[1:], shares[1:]):
        mixed += planes.index_select(dimension, place) * share.view(shape)
    return mixed
