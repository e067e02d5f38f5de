"""Multi-scale deformable attention through the compiled op's door, against plain loops."""

from __future__ import annotations

import math

import torch
from torch.autograd import gradcheck

from featmap.models.openmmlab.mmcv_ops import ensure_ops

ensure_ops()


def bilinear(plane: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """(h, w, d) read at continuous cell indices, 0 outside."""
    height, width, depth = plane.shape
    total = torch.zeros(depth)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total = total + (1 - abs(y - row)) * (1 - abs(x - column)) * plane[row, column]
    return total


def test_matches_the_definition():
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    torch.manual_seed(3)
    shapes, heads, depth, queries, points = [(4, 6), (2, 3)], 2, 3, 5, 2
    value = torch.randn(1, sum(h * w for h, w in shapes), heads, depth)
    locations = torch.rand(1, queries, heads, len(shapes), points, 2) * 1.4 - 0.2
    weights = torch.rand(1, queries, heads, len(shapes), points)
    expected = torch.zeros(1, queries, heads, depth)
    for query in range(queries):
        for head in range(heads):
            start = 0
            for level, (height, width) in enumerate(shapes):
                plane = value[0, start : start + height * width, head].reshape(height, width, depth)
                start += height * width
                for point in range(points):
                    x, y = locations[0, query, head, level, point].tolist()
                    read = bilinear(plane, x * width - 0.5, y * height - 0.5)
                    expected[0, query, head] += weights[0, query, head, level, point] * read
    got = MultiScaleDeformableAttnFunction.apply(
        value, torch.tensor(shapes), torch.tensor([0, 24]), locations, weights, 64
    )
    assert torch.allclose(got, expected.flatten(2), atol=1e-5)


def test_its_gradients():
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    torch.manual_seed(3)
    shapes, heads, depth, queries, points = [(4, 6), (2, 3)], 2, 3, 5, 2
    value = torch.randn(1, sum(h * w for h, w in shapes), heads, depth, dtype=torch.float64)
    locations = torch.rand(1, queries, heads, len(shapes), points, 2, dtype=torch.float64) * 1.4 - 0.2
    weights = torch.rand(1, queries, heads, len(shapes), points, dtype=torch.float64)
    given = [tensor.requires_grad_() for tensor in (value, locations, weights)]

    def attend(value, locations, weights):
        return MultiScaleDeformableAttnFunction.apply(
            value, torch.tensor(shapes), torch.tensor([0, 24]), locations, weights, 64
        )

    assert gradcheck(attend, given, fast_mode=True)
