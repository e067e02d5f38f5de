"""Which operations of a forward are attention, whose weights are on the graph whatever kernel computes them."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featmap.attention.explicit import dot_product_attention
from featmap.attention.keys import Keys, keys_by
from featmap.attention.tape import AttentionTape
from featmap.placement import Placement
from tests.attention_helpers import ViT, share
from tests.conftest import hooks


def nowhere(layer: str, call: int, tokens: Tensor, grids=()) -> Keys:
    return Keys(layer, reason=f'{tokens.shape[1]} tokens')


class Calls(nn.Module):
    """Whatever a test does with a tensor, in a module called ``inner``."""

    def __init__(self, what) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.inner.forward = what  # type: ignore[method-assign]

    def forward(self, *given: Tensor) -> Tensor:
        return self.inner(*given)


def taped(what, *given: Tensor):
    model = Calls(what)
    tape = AttentionTape(model, nowhere)
    with tape:
        made = model(*given)
    assert hooks(model) == 0
    return tape, made


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize('options', [
    {}, {'scale': 0.3}, {'is_causal': True},
    {'attn_mask': torch.tensor([[True, False, True], [True, True, False]])},
    {'attn_mask': torch.tensor([[0.0, -1.0, 2.0], [0.5, 0.0, 0.0]])},
], ids=lambda options: next(iter(options), 'plain'))  # fmt: skip
def test_the_fused_product_step_by_step(options):
    query, key, value = random(1, 2, 2, 4), random(1, 2, 3, 4), random(1, 2, 3, 5)
    made, weights = dot_product_attention(query, key, value, **options)
    torch.testing.assert_close(made, F.scaled_dot_product_attention(query, key, value, **options))
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(1, 2, 2))


@pytest.mark.skipif(
    'enable_gqa' not in (F.scaled_dot_product_attention.__doc__ or ''),
    reason='this PyTorch has no grouped queries; runs from 2.5 on',
)
def test_grouped_queries_step_by_step():
    query, key = random(1, 4, 2, 4), random(1, 2, 3, 4)
    made, _ = dot_product_attention(query, key, key, enable_gqa=True)
    torch.testing.assert_close(made, F.scaled_dot_product_attention(query, key, key, enable_gqa=True))


def test_the_gradient_of_fused_attention_by_its_weights():
    value = random(1, 2, 3, 5)
    tape, made = taped(F.scaled_dot_product_attention, random(1, 2, 2, 4), random(1, 2, 3, 4), value)
    (step,) = tape.steps
    assert (step.layer, step.shape, step.across, step.keys.reason) == ('inner', (2, 3), True, '3 tokens')
    (gradient,) = torch.autograd.grad(made[0, 1, 0].sum(), step.joined)
    expected = torch.zeros(1, 2, 2, 3)
    expected[0, 1, 0] = value[0, 1].sum(dim=-1)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize('asked', [{'need_weights': False}, {}, {'average_attn_weights': False}], ids=str)
@pytest.mark.parametrize('on_graph', [False, True])
def test_pytorchs_module_hands_out_what_it_was_asked_for(asked, on_graph):
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=True).eval().requires_grad_(False)
    query, key = random(1, 3, 8).requires_grad_(on_graph), random(1, 5, 8)
    plain = module(query, key, key, **asked)
    tape = AttentionTape(module, nowhere)
    with tape:
        made = module(query, key, key, **asked)
    for one, other in zip(made, plain):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)
    (step,) = tape.steps
    # The gradient of the output by the weights, through values and the last projection.
    (gradient,) = torch.autograd.grad(made[0][0, 1, 3], step.joined)
    width = 8
    values = F.linear(key, module.in_proj_weight[2 * width :], module.in_proj_bias[2 * width :])[0]
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        expected = values[:, part] @ module.out_proj.weight[3, part]
        torch.testing.assert_close(step.heads_of(gradient)[head, 1], expected, rtol=1e-4, atol=1e-6)
    assert float(step.heads_of(gradient)[:, [0, 2]].abs().max()) == 0
    assert hooks(module) == 0


@pytest.mark.parametrize('what', [
    lambda a, v: a.softmax(-1) @ v,
    lambda a, v: torch.bmm(F.dropout(F.softmax(a, dim=2), 0.5, False), v),
    lambda a, v: torch.einsum('hqk,hkc->qhc', torch.softmax(a, dim=-1), v),
    lambda a, v: torch.matmul(a.softmax(dim=-1, dtype=torch.float64).to(v.dtype).unsqueeze(0), v.unsqueeze(0)),
], ids=['operator', 'bmm', 'einsum', 'matmul'])  # fmt: skip
def test_weights_are_told_by_being_multiplied_with_values(what):
    tape, made = taped(what, random(2, 3, 4), random(2, 4, 5))
    (step,) = tape.steps
    assert step.shape == (3, 4)
    (gradient,) = torch.autograd.grad(made.sum(), step.joined)
    torch.testing.assert_close(gradient.float(), random(2, 4, 5).sum(dim=-1)[:, None].expand(2, 3, 4))


@pytest.mark.parametrize('what', [
    lambda a, v: a.softmax(-1) * v[:, :3, :4],
    lambda a, v: a.softmax(1) @ v,
    lambda a, v: a.softmax(-1) @ v[0],
    lambda a, v: torch.einsum('hqk,hkc->hqkc', a.softmax(-1), v),
    lambda a, v: (a @ v).softmax(-1),
], ids=['gate', 'another axis', 'an integral', 'no sum', 'scores of classes'])  # fmt: skip
def test_other_softmaxes_are_none(what):
    tape, _ = taped(what, random(2, 3, 4), random(2, 4, 5)[:, :, :5])
    assert not tape.steps


@pytest.mark.parametrize('grad', [True, False])
def test_pytorchs_fast_path_is_not_taken_meanwhile(grad):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval().requires_grad_(False)
    x = random(1, 5, 8)
    plain = layer(x)
    tape = AttentionTape(layer, nowhere)
    with torch.set_grad_enabled(grad), tape:
        made = layer(x)
    assert [(step.layer, step.shape, step.joined.requires_grad) for step in tape.steps] == [('self_attn', (5, 5), grad)]
    torch.testing.assert_close(made, plain, rtol=1e-4, atol=1e-5)


def test_windows_are_counted():
    tape, _ = taped(lambda a, v: a.softmax(-1) @ v, random(6, 2, 4, 4), random(6, 2, 4, 3))
    assert [step.windows for step in tape.steps] == [6]
    module = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    tape = AttentionTape(module, nowhere)
    with tape:
        module(random(6, 4, 8), random(6, 4, 8), random(6, 4, 8))
    assert [step.windows for step in tape.steps] == [6]


def test_a_second_forward_begins_anew_and_an_error_leaves_nothing():
    model = ViT()
    tape = AttentionTape(model, nowhere)
    for _ in range(2):
        with tape:
            model(torch.zeros(1, 3, 32, 48))
        assert [step.layer for step in tape.steps] == ['blocks.0.attn', 'blocks.1.attn']
    model.blocks[1].attn.fail = True
    with pytest.raises(RuntimeError, match='out of paper'), tape:
        model(torch.zeros(1, 3, 32, 48))
    assert hooks(model) == 0
    assert torch.overrides._get_current_function_mode() is None or not isinstance(
        torch.overrides._get_current_function_mode(), AttentionTape
    )


def test_keys_know_where_they_stand():
    model = ViT()
    placement = Placement(model)
    inputs = torch.zeros(1, 3, 32, 48)
    tape = AttentionTape(model, keys_by(placement, model, (32, 48)))
    for _ in range(2):  # the second forward is not traced
        with torch.no_grad(), placement.watched(inputs, lambda target: 1), tape:
            model(inputs)
        (item,) = tape.steps[1].keys.maps
        assert (item.numbers.shape, item.cells.stride, item.cells.known) == ((4, 6), (8, 8), True)
        assert item.numbers.flatten().tolist() == list(range(1, 25))
        torch.testing.assert_close(tape.steps[1].heads_of(tape.steps[1].joined)[1, 9], share(9, 1, 25))


def test_a_signature_of_pytorch_that_is_relied_on():
    assert {'need_weights', 'average_attn_weights'} <= set(inspect.signature(F.multi_head_attention_forward).parameters)
