"""Leading components of a matrix of features: the linear algebra behind ``pca`` and ``eigen``."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_DIRECT = 96  # below this many rows or columns a whole decomposition is quicker


def content_columns(features: Tensor, weights: Tensor) -> Tensor:
    """The cells of (C, h, w) features that count, as (C, n) float32: on image content and finite in every channel."""
    flat = features.float().flatten(1)
    keep = weights.flatten() > 0
    if not bool(torch.isfinite(flat.sum())):
        keep = keep & torch.isfinite(flat).all(dim=0)
    return flat if bool(keep.all()) else flat[:, keep]


def leading_components(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The leading left singular vectors of a (C, n) matrix, and their squared singular values.

    The product of the matrix with itself is taken on its device, along its shorter side; ARPACK finds the few leading
    eigenvectors of that from a fixed start, so that the result does not depend on chance.

    Returns:
        (C, k) orthonormal columns in descending order and (k,) float32, with k the lesser of ``count``, C and n.
    """
    rows, columns = matrix.shape
    count = min(count, rows, columns)
    if count < 1:
        return matrix.new_zeros((rows, 0)), matrix.new_zeros(0)
    wide = rows <= columns
    product = (matrix @ matrix.T if wide else matrix.T @ matrix).double().cpu().numpy()
    values, vectors = _leading_eigenpairs(product, count)
    if wide:
        return torch.from_numpy(vectors).to(matrix), torch.from_numpy(values).to(matrix)
    leading = torch.linalg.qr(matrix.double() @ torch.from_numpy(vectors).to(matrix.device)).Q
    return leading.to(matrix), torch.from_numpy(values).to(matrix)


def _leading_eigenpairs(product: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` largest eigenvalues of a symmetric matrix, descending and not negative, and their vectors."""
    size = len(product)
    if size > _DIRECT and 8 * count < size and product.any():
        from scipy.sparse.linalg import ArpackError, eigsh

        start = np.random.default_rng(0).standard_normal(size)
        try:
            values, vectors = eigsh(product, count, which='LA', v0=start, ncv=max(4 * count, 12), tol=1e-7)
        except ArpackError:  # no convergence: the whole decomposition has no such trouble
            values, vectors = _eigenpairs(product)
    else:
        values, vectors = _eigenpairs(product)
    order = np.argsort(-values, kind='stable')[:count]
    return np.maximum(values[order], 0), np.ascontiguousarray(vectors[:, order])


def _eigenpairs(product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All of them, by PyTorch: threads of the library under NumPy wait for its own, for twenty times as long."""
    values, vectors = torch.linalg.eigh(torch.from_numpy(product))
    return values.numpy(), vectors.numpy()


def fix_signs(components: Tensor) -> Tensor:
    """Flip each column of (C, k) so that its entry of largest magnitude is positive; the first of equal ones counts.

    Singular vectors have no sign of their own; without a rule colours would change from run to run.
    """
    if not components.numel():
        return components
    largest = components.gather(0, components.abs().argmax(dim=0, keepdim=True))
    return components * torch.where(largest < 0, -1.0, 1.0)
