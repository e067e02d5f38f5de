"""Greedy non-maximum suppression in plain PyTorch.

The best boxes are taken a block at a time, in score order. A block is settled within itself, then
what it keeps is held against the rest. Two boxes can only overlap enough if their left edges are
close, so with the rest sorted by left edge each comparison runs over one short slice of it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from featmap.models.openmmlab.ops.bilinear import working_dtype

BLOCK = 512
GROUP = 32


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that greedy non-maximum suppression keeps, best score first.

    Args:
        boxes: (N, 4) as (x1, y1, x2, y2).
        scores: (N,); equal scores keep their input order.
        iou_threshold: a box goes if its IoU with a better kept one is above this.
        offset: 1 where x2 and y2 are the last pixels inside the box, else 0.

    Returns:
        (K,) int64, on the device of ``boxes``.
    """
    order = scores.argsort(descending=True, stable=True)
    if not len(order):
        return order
    rest = boxes.to(working_dtype(boxes.dtype))[order]
    spread = rest.amax(0) - rest.amin(0)
    if spread[1] > spread[0]:
        # Overlaps are the same with the axes swapped, and the longer one tells more boxes apart.
        rest = rest[:, [1, 0, 3, 2]]
    ranks = rest[:, 0].argsort()
    rest = rest[ranks]
    kept = []
    while len(ranks):
        best = ranks.topk(min(BLOCK, len(ranks)), largest=False).indices
        block = rest[best]
        best_kept = best[_settle(_overlaps(block, block, iou_threshold, offset))]
        kept.append(ranks[best_kept])
        done = torch.zeros_like(ranks, dtype=torch.bool)
        done[best] = True
        _suppress(done, rest, rest[best_kept.sort().values], iou_threshold, offset)
        ranks, rest = ranks[~done], rest[~done]
    return order[torch.cat(kept)]


def _settle(over: Tensor) -> Tensor:
    """Which boxes of a block survive each other: (B, B) overlaps in score order -> (B,) bool."""
    # Each verdict needs those before it: a loop on the host, over rows of bytes.
    matrix = over.triu(1).cpu().numpy()
    alive = np.ones(len(matrix), dtype=bool)
    for row in matrix.any(1).nonzero()[0]:
        if alive[row]:
            alive &= ~matrix[row]
    return torch.from_numpy(alive).to(over.device)


def _suppress(done: Tensor, rest: Tensor, kept: Tensor, threshold: float, offset: int) -> None:
    """Mark in ``done`` what ``kept`` suppresses; both box tensors are sorted by left edge."""
    # Below zero, even boxes that do not touch suppress each other.
    if len(rest) <= BLOCK or threshold < 0:
        done |= _overlaps(kept, rest, threshold, offset).any(0)
        return
    low, high = _reach(kept, threshold, offset)
    edges = rest[:, 0].double().contiguous()
    lows = torch.stack([part.amin() for part in low.split(GROUP)])
    highs = torch.stack([part.amax() for part in high.split(GROUP)])
    starts = torch.searchsorted(edges, lows).tolist()
    ends = torch.searchsorted(edges, highs, right=True).tolist()
    for group, start, end in zip(kept.split(GROUP), starts, ends):
        if start < end:
            done[start:end] |= _overlaps(group, rest[start:end], threshold, offset).any(0)


def _reach(boxes: Tensor, threshold: float, offset: int) -> tuple[Tensor, Tensor]:
    """Between which left edges a box must begin for its IoU with ``boxes`` to pass ``threshold``.

    An IoU above t means that the overlap is wider than t times either box: the other box begins
    less than (1 - t) widths of this one to the right, and less than (1 - t) of its own widths, so
    (1 - t) / t of this one's, to the left.
    """
    left = boxes[:, 0].double()
    width = boxes[:, 2].double() - left + offset
    t = threshold * (1 - 1e-5)  # the IoU is rounded to its own precision
    before = (1 - t) / t if t > 0 else math.inf
    low = (left - before * width).nan_to_num(nan=-math.inf, neginf=-math.inf, posinf=math.inf)
    high = (left + (1 - t) * width).nan_to_num(nan=math.inf, neginf=-math.inf, posinf=math.inf)
    return low, high


def _overlaps(first: Tensor, second: Tensor, threshold: float, offset: int) -> Tensor:
    """Whether IoU > ``threshold``: (A, 4), (B, 4) -> (A, B) bool."""
    x1, y1, x2, y2 = first.T[..., None].contiguous()
    u1, v1, u2, v2 = second.T[:, None].contiguous()
    inter = torch.minimum(x2, u2).sub_(torch.maximum(x1, u1)).add_(offset).clamp_(min=0)
    inter *= torch.minimum(y2, v2).sub_(torch.maximum(y1, v1)).add_(offset).clamp_(min=0)
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    union = (area + (u2 - u1 + offset) * (v2 - v1 + offset)).sub_(inter)
    return inter.div_(union) > threshold
