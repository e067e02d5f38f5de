"""Deformable attention, whose samples are known by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from featmap.attention.asking import hint
from featmap.attention.keys import Keys
from featmap.attention.sampled import is_deformable
from featmap.attention.splat import splat
from featmap.attention.tape import AttentionTape
from featmap.errors import LayerError
from featmap.layers import Target
from featmap.models.openmmlab.mmcv_ops import ensure_ops
from tests.conftest import hooks

SHAPES = ((2, 4), (1, 2))


class Deformable(nn.Module):
    """Two heads, two levels and two points, whose offsets and weights are the same for all queries.

    It reads what it reads by a loop over samples, cell by cell.
    """

    def __init__(self, mistake: float = 0.0) -> None:
        super().__init__()
        self.num_heads, self.mistake = 2, mistake
        self.sampling_offsets = nn.Linear(4, 16)
        self.attention_weights = nn.Linear(4, 8)
        self.value_proj = nn.Linear(4, 4)
        self.output_proj = nn.Linear(4, 4)
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
        # By head, level, point: x and y, in cells.
        offsets = [[[[0, 0], [1, 0]], [[0.5, 0], [0, 0]]], [[[0, 0.5], [-1, 0]], [[0, 0], [9, 9]]]]
        shares = [[[4, 2], [1, 1]], [[1, 1], [4, 2]]]
        self.sampling_offsets.bias.data = torch.tensor(offsets, dtype=torch.float).flatten()
        self.attention_weights.bias.data = torch.tensor(shares, dtype=torch.float).log().flatten()

    def forward(
        self, query: Tensor, value: Tensor, reference_points: Tensor, spatial_shapes: Tensor, key_padding_mask=None
    ) -> Tensor:
        values = self.value_proj(value)[0]
        if key_padding_mask is not None:
            values = values.masked_fill(key_padding_mask[0][:, None], 0)
        offsets = self.sampling_offsets(query).view(-1, 2, 2, 2, 2)
        weights = self.attention_weights(query).view(-1, 2, 4).softmax(dim=-1).view(-1, 2, 2, 2)
        rows = []
        for row in range(query.shape[1]):
            read = torch.zeros(4)
            for head in range(2):
                for level, (height, width) in enumerate(SHAPES):
                    plane = values[8 * level :][: height * width].view(height, width, 2, 2)[:, :, head]
                    for point in range(2):
                        offset = offsets[row, head, level, point]
                        at = reference_points[0, row, level]
                        scale = torch.tensor([width, height])
                        if at.shape[-1] == 2:
                            x, y = at * scale + offset - 0.5
                        else:
                            x, y = (at[:2] + offset / 2 * at[2:] * 0.5) * scale - 0.5
                        for i in range(height):
                            for j in range(width):
                                near = max(0, 1 - abs(float(y) - i)) * max(0, 1 - abs(float(x) - j))
                                read[2 * head : 2 * head + 2] += weights[row, head, level, point] * near * plane[i, j]
            rows.append(read + self.mistake)
        return self.output_proj(torch.stack(rows)[None])


def taken(model: Deformable, reference: Tensor, **more):
    torch.manual_seed(0)
    tape = AttentionTape(model, lambda layer, call, tokens, grids: Keys(layer))
    with torch.no_grad(), tape:
        model(
            torch.randn(1, reference.shape[1], 4), torch.randn(1, 10, 4), reference_points=reference,
            spatial_shapes=torch.tensor(SHAPES), **more,
        )  # fmt: skip
    assert hooks(model) == 0
    (sampling,) = tape.samplings
    return sampling


def test_the_splat_of_a_query_by_hand():
    """The query's reference is the middle, x = 1.5 and y = 0.5 on the first level, x = 0.5 and y = 0 on the second.

    First level, of head 0: ½ at (1.5, 0.5), ¼ at (2.5, 0.5); of head 1: ⅛ at (1.5, 1), ⅛ at (0.5, 0.5).
    Second level, of head 0: ⅛ at (1, 0), ⅛ at (0.5, 0); of head 1: ½ at (0.5, 0), and ¼ far outside.
    """
    model = Deformable()
    assert is_deformable(model)
    samples = taken(model, torch.full((1, 1, 2, 2), 0.5)).samples
    assert samples.weights.shape == (1, 2, 4)
    torch.testing.assert_close(samples.weights[0, 0], torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 8]))
    first = splat(*samples.of(0, 0), SHAPES[0])
    half, quarter, eighth = 0.5 / 2, 0.25 / 2, 0.125 / 2  # of two heads
    expected = torch.zeros(2, 4)
    expected[:, 1:3] += half / 4
    expected[:, 2:4] += quarter / 4
    expected[1, 1:3] += eighth / 2
    expected[:, 0:2] += eighth / 4
    torch.testing.assert_close(first, expected)
    second = splat(*samples.of(0, 1), SHAPES[1])
    torch.testing.assert_close(second, torch.tensor([[eighth / 2 + half / 2, eighth + eighth / 2 + half / 2]]))
    assert float(first.sum() + second.sum()) == pytest.approx(1 - quarter)


def test_references_that_are_boxes_scale_the_offsets():
    reference = torch.tensor([0.5, 0.5, 0.4, 0.8]).expand(1, 2, 2, 4)
    samples = taken(Deformable(), reference).samples
    # Head 0, second point of the first level: half of half the width for one cell, with two points.
    torch.testing.assert_close(samples.locations[0, 0, 1], torch.tensor([0.5 + 1 / 2 * 0.4 * 0.5, 0.5]))
    torch.testing.assert_close(samples.locations[1, 1, 0], torch.tensor([0.5, 0.5 + 0.5 / 2 * 0.8 * 0.5]))


def test_padding_is_left_out_of_what_it_reads():
    mask = torch.zeros(1, 10, dtype=torch.bool)
    mask[0, 5:8] = True
    taken(Deformable(), torch.full((1, 3, 2, 2), 0.5), key_padding_mask=mask)  # it checks what was read


def test_a_module_that_samples_otherwise_is_refused_by_name():
    with pytest.raises(LayerError, match=r'Deformable\) samples otherwise than deformable attention does: .* by 1 of'):
        taken(Deformable(mistake=1.0), torch.full((1, 1, 2, 2), 0.5))


def test_a_refusal_of_its_features_says_how_to_draw_its_samples():
    assert hint(Target('cross_attn', Deformable()), 'no map') == (
        "; explain='box:0' and method=['attention'] draw where object queries sample"
    )


def test_mmcvs_module_in_pure_pytorch():
    ensure_ops()
    from mmcv.ops import MultiScaleDeformableAttention

    torch.manual_seed(1)
    model = MultiScaleDeformableAttention(16, num_heads=2, num_levels=2, num_points=3, batch_first=True).eval()
    nn.init.normal_(model.sampling_offsets.weight)
    nn.init.normal_(model.attention_weights.weight)
    tape = AttentionTape(model, lambda layer, call, tokens, grids: Keys(layer))
    value, query = torch.randn(1, 26, 16), torch.randn(1, 5, 16)
    with torch.no_grad(), tape:
        made = model(
            query, value=value, identity=torch.zeros(1, 5, 16), reference_points=torch.rand(1, 5, 2, 2),
            spatial_shapes=torch.tensor([(4, 5), (2, 3)]), level_start_index=torch.tensor([0, 20]),
        )  # fmt: skip
    samples = tape.samplings[0].samples
    with torch.no_grad():
        values = model.value_proj(value)[0]
        rows = []
        for row in range(5):
            read = torch.zeros(16)
            for head in range(2):
                for level, (start, shape) in enumerate(((0, (4, 5)), (20, (2, 3)))):
                    here = samples.levels == level
                    plane = splat(samples.weights[row, head, here], samples.locations[row, head, here], shape)
                    own = values[start : start + plane.numel(), 8 * head : 8 * head + 8]
                    read[8 * head : 8 * head + 8] += plane.flatten() @ own
            rows.append(read)
        torch.testing.assert_close(made[0], model.output_proj(torch.stack(rows)), rtol=1e-4, atol=1e-5)
