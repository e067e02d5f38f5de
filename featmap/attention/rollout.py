"""How attention matrices of successive layers are put together: relevance of what came in for what came out.

Chefer, Gur and Wolf, Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers,
arXiv 2103.15679; the numbers of equations are theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

IMAGE, QUERIES, ACROSS = 'image', 'queries', 'across'
"""Whose attention a matrix is: of image tokens among themselves, of object queries likewise, of these over those."""


def weighted(weights: Tensor, gradient: Tensor) -> Tensor:
    """(rows, keys), Ā = mean over heads of max(∂y/∂A ⊙ A, 0) (5), from both of (heads, rows, keys)."""
    return (gradient.float() * weights.float()).clamp_min(0).mean(dim=0)


def relevance(steps: Sequence[tuple[str, Tensor]], rows: Tensor) -> Tensor:
    """How relevant each image token is for some of the last rows.

    Self-attention: R_ss ← R_ss + Ā R_ss (6), R_sq ← R_sq + Ā R_sq (7). Object queries over image tokens:
    R_qi ← R_qi + R̄_qqᵀ Ā R̄_ii (10), with R̄ = (R - I) / its rows' sums + I (8, 9). R_ii is the same for all of the
    decoder, so only products of vectors with the Ā are taken, and R_ii itself, of n² numbers, is never made.

    Args:
        steps: One of the kinds above and its Ā, (rows, keys), in the order in which they ran; the image's come first.
        rows: (n,), how much of each row of the last sequence is asked for: one object query, or the class token.

    Returns:
        (m,), for each image token.
    """
    image = [matrix for kind, matrix in steps if kind == IMAGE]
    if all(kind == IMAGE for kind, _ in steps):
        return _through(rows, image)
    among: Tensor | None = None  # R_qq
    over: Tensor | None = None  # R_qi without R̄_ii, which is the last factor of all its terms
    for kind, matrix in steps:
        if kind == IMAGE:
            continue
        if among is None:
            among = torch.eye(len(matrix)).to(matrix)
        if kind == QUERIES:
            among = among + matrix @ among
            over = None if over is None else over + matrix @ over
        else:
            made = _normalised(among).T @ matrix
            over = made if over is None else over + made
    assert over is not None, 'object queries that attend to nothing but themselves'
    asked = rows @ over
    shares = asked / _positive(_sums(image, asked))
    return _through(shares, image) - shares + asked


def _through(rows: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Rows of (I + Ā_n) … (I + Ā_1)."""
    for matrix in reversed(matrices):
        rows = rows + rows @ matrix
    return rows


def _sums(matrices: Sequence[Tensor], like: Tensor) -> Tensor:
    """Of each row of (I + Ā_n) … (I + Ā_1) - I."""
    ones = total = torch.ones_like(like)
    for matrix in matrices:
        total = total + matrix @ total
    return total - ones


def _normalised(among: Tensor) -> Tensor:
    """R̄ of an R."""
    identity = torch.eye(len(among)).to(among)
    return (among - identity) / _positive((among - identity).sum(dim=1, keepdim=True)) + identity


def _positive(sums: Tensor) -> Tensor:
    """Sums to divide by: of rows of zeros, zeros remain."""
    return torch.where(sums > 0, sums, torch.ones_like(sums))
