"""Maps for the tests of ``pca``, and the planes that scikit-learn has for them."""

from __future__ import annotations

import numpy as np
import torch
from sklearn import decomposition

from featmap.reducers import PCA


def everywhere(maps: torch.Tensor) -> torch.Tensor:
    return torch.ones(maps.shape[1:])


def features(channels: int, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Maps of which a few directions hold most of the variance, with a mean of their own."""
    generator = np.random.default_rng(seed)
    parts = generator.normal(size=(channels, channels)) * 0.6 ** np.arange(channels)
    cells = generator.normal(size=(rows * columns, channels)) @ parts.T + generator.normal(size=channels)
    return torch.from_numpy(cells.T.reshape(channels, rows, columns)).float()


def cells_of(maps: torch.Tensor, weights: torch.Tensor | None = None) -> np.ndarray:
    """(n, C) float64: the cells that count."""
    values = maps.double().numpy()
    keep = np.isfinite(values).all(0) & (True if weights is None else weights.numpy() > 0)
    return values[:, keep].T


def by_the_rule(directions: np.ndarray) -> np.ndarray:
    """Rows, each with its entry of largest magnitude positive."""
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    return directions * np.sign(largest)[:, None]


def projected(reference: decomposition.PCA, maps: torch.Tensor) -> np.ndarray:
    """(K, h, w): all cells on the reference's components, signs by the rule."""
    values = maps.double().numpy()
    centred = values.reshape(len(values), -1) - reference.mean_[:, None]
    return (by_the_rule(reference.components_) @ centred).reshape(-1, *values.shape[1:])


def run_of_maps() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Two images, with two layers of 12 channels and one of 5 each, and with padding."""
    shown = []
    for image in range(2):
        for layer, (channels, rows, columns) in enumerate([(12, 6, 7), (12, 3, 4), (5, 6, 7)]):
            weights = torch.zeros(rows, columns)
            weights[: rows - image - 1] = 1
            maps = features(channels, rows, columns, seed=10 * image + layer) * (1 + image)
            maps[:, rows - image - 1 :] = 1e5
            shown.append((maps, weights))
    return shown


def fitted_on(shown, k: int = 3) -> PCA:
    reducer = PCA(k)
    for maps, weights in shown:
        reducer.observe(maps, weights)
    reducer.fit()
    return reducer
