"""Leading components of a matrix of features: the linear algebra behind ``pca`` and ``eigen``."""

from __future__ import annotations

import torch
from torch import Tensor

_OVERSAMPLING = 6
_POWERS = 3
_RESTARTS = 6
_TOLERANCE = 1e-4
_DIRECT = 96  # below this many rows or columns an exact decomposition is quicker


def content_columns(features: Tensor, weights: Tensor) -> Tensor:
    """The cells of (C, h, w) features that count, as (C, n) float32: on image content and finite in every channel."""
    flat = features.float().flatten(1)
    keep = weights.flatten() > 0
    if not bool(torch.isfinite(flat.sum())):
        keep = keep & torch.isfinite(flat).all(dim=0)
    return flat if bool(keep.all()) else flat[:, keep]


def leading_components(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The leading left singular vectors of a (C, n) matrix, and their squared singular values.

    Block Krylov iteration (Musco and Musco, "Randomized Block Krylov Methods", 2015) from a fixed start, restarted
    until the residuals are small, else an exact eigendecomposition: the result does not depend on chance.

    Returns:
        (C, k) orthonormal columns in descending order and (k,) float32, with k the lesser of ``count``, C and n.
    """
    rows, columns = matrix.shape
    count = min(count, rows, columns)
    if count < 1:
        return matrix.new_zeros((rows, 0)), matrix.new_zeros(0)
    if min(rows, columns) <= _DIRECT:
        return _exact(matrix, count)
    start = torch.randn(rows, count + _OVERSAMPLING, generator=torch.Generator().manual_seed(0)).to(matrix)
    block = torch.linalg.qr(start).Q
    for _ in range(_RESTARTS):
        blocks = [block]
        for _ in range(_POWERS):
            blocks.append(torch.linalg.qr(matrix @ (matrix.T @ blocks[-1])).Q)
        space = torch.linalg.qr(torch.cat(blocks, dim=1)).Q
        image = matrix.T @ space
        values, vectors = torch.linalg.eigh(image.T @ image)
        block = space @ vectors[:, -(count + _OVERSAMPLING) :].flip(1)
        values = values.flip(0)[:count]
        leading = block[:, :count]
        residual = (matrix @ (matrix.T @ leading) - leading * values).norm(dim=0).max()
        if residual <= _TOLERANCE * values[0]:
            return leading, values.clamp_min(0)
    return _exact(matrix, count)


def _exact(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    rows, columns = matrix.shape
    if rows <= columns:
        values, vectors = torch.linalg.eigh((matrix @ matrix.T).double())
        return vectors[:, -count:].flip(1).float(), values[-count:].flip(0).clamp_min(0).float()
    values, vectors = torch.linalg.eigh((matrix.T @ matrix).double())
    values, vectors = values[-count:].flip(0).clamp_min(0), vectors[:, -count:].flip(1)
    leading = torch.linalg.qr(matrix.double() @ vectors).Q
    return leading.float(), values.float()


def fix_signs(components: Tensor) -> Tensor:
    """Flip each column of (C, k) so that its entry of largest magnitude is positive; the first of equal ones counts.

    Singular vectors have no sign of their own; without a rule colours would change from run to run.
    """
    if not components.numel():
        return components
    largest = components.gather(0, components.abs().argmax(dim=0, keepdim=True))
    return components * torch.where(largest < 0, -1.0, 1.0)
