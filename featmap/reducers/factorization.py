"""Reducers that group cells by their features: non-negative concepts and clusters. They go through scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from featmap.errors import DrawError, MissingPackageError
from featmap.reducers.base import Reducer
from featmap.registry import REDUCERS
from featmap.structures import Reduction


@REDUCERS.register_module('nmf')
class NMF(Reducer):
    """``k`` non-negative concepts, the strongest first, with the share of each.

    Deep feature factorisation (Collins, Achanta, Süsstrunk, 2018): cells × channels ≈ W · H with neither negative.
    Negative features are set to 0. A concept's share is its part of the sum of W · H over the image. Starts from the
    singular vectors (NNDSVDa), so that the result does not depend on chance.
    """

    def __init__(self, k: int = 4, iterations: int = 200) -> None:
        if k < 1:
            raise ValueError(f'k must be at least 1, got {k}')
        self.k, self.iterations = k, iterations

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        decomposition = _sklearn('decomposition', 'nmf')
        cells, inside = _content_rows(features, weights)
        cells = np.maximum(cells, 0)
        count = min(self.k, *cells.shape)
        if not cells.any():
            strengths, loads = np.zeros((len(cells), count), np.float32), np.zeros(count)
        else:
            start = 'nndsvda' if count <= min(cells.shape) else 'random'
            model = decomposition.NMF(count, init=start, max_iter=self.iterations, tol=1e-4, random_state=0)
            strengths = model.fit_transform(cells)
            loads = strengths.sum(0) * model.components_.sum(1)
            # W and H share a free factor; give W the concept's own size, so that planes can be compared.
            strengths = strengths * model.components_.sum(1)
        order = np.argsort(-loads, kind='stable')
        shares = loads[order] / loads.sum() if loads.sum() > 0 else np.zeros(count)
        planes = _scatter(strengths[:, order].T, inside, weights)
        names = tuple(f'concept {number + 1}, {share:.0%}' for number, share in enumerate(shares))
        return Reduction(planes, (None,) * count, names=names, kind='concepts')


@REDUCERS.register_module('kmeans')
class KMeans(Reducer):
    """``k`` segments of cells with similar features, the largest first, drawn in colours without order.

    k-means on the features of each cell, scaled to unit length where ``normalize``, so that direction counts and
    strength does not. Fixed starts: the result does not depend on chance.
    """

    def __init__(self, k: int = 5, normalize: bool = True) -> None:
        if k < 1:
            raise ValueError(f'k must be at least 1, got {k}')
        self.k, self.normalize = k, normalize

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        cluster = _sklearn('cluster', 'kmeans')
        cells, inside = _content_rows(features, weights)
        if self.normalize:
            cells = cells / np.maximum(np.linalg.norm(cells, axis=1, keepdims=True), 1e-12)
        distinct = len(np.unique(cells, axis=0))
        model = cluster.KMeans(min(self.k, distinct), n_init=4, random_state=0)
        found = model.fit_predict(cells)
        found = _first_alike(model.cluster_centers_)[found]
        sizes = np.bincount(found, minlength=model.n_clusters)
        rank = np.empty_like(sizes)
        rank[np.argsort(-sizes, kind='stable')] = np.arange(len(sizes))
        planes = _scatter(rank[found][None].astype(np.float32), inside, weights)
        count = int((sizes > 0).sum())
        return Reduction(planes, (None,), names=(f'{count} segment{"s" * (count > 1)}',), kind='segments')


def _first_alike(centers: np.ndarray) -> np.ndarray:
    """For each of (k, C) centres the first that is the same but for rounding: a segment of noise is no segment."""
    distances = np.linalg.norm(centers[:, None] - centers[None], axis=-1)
    return (distances <= 1e-5 * np.linalg.norm(centers, axis=1).max()).argmax(axis=1)


def _content_rows(features: Tensor, weights: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The cells on image content that are finite in every channel: (n, C) float32, and where they are: (h, w) bool."""
    values = features.float().cpu().numpy()
    inside = (weights.cpu().numpy() > 0) & np.isfinite(values).all(axis=0)
    if not inside.any():
        raise DrawError(
            f'no cell of a map of {tuple(features.shape)} is finite on the image, so there is nothing to group'
        )
    return np.ascontiguousarray(values[:, inside].T), inside


def _scatter(rows: np.ndarray, inside: np.ndarray, weights: Tensor) -> Tensor:
    """(K, n) values back to (K, h, w); cells on the image that took no part are NaN.

    Cells on padding get the value of the nearest cell on the image: those at its edge are drawn in part.
    """
    planes = np.full((len(rows), *inside.shape), np.nan, dtype=np.float32)
    planes[:, inside] = rows
    content = np.nonzero(weights.cpu().numpy())
    near = [np.clip(np.arange(n), found.min(), found.max()) for n, found in zip(inside.shape, content)]
    return torch.from_numpy(planes[:, near[0][:, None], near[1]]).to(weights.device)


def _sklearn(module: str, wanted_by: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f'sklearn.{module}')
    except ModuleNotFoundError as error:
        raise MissingPackageError(f'the reducer {wanted_by} needs scikit-learn: pip install scikit-learn') from error
