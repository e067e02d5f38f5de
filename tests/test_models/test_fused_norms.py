"""Convolution and norm as one operation: the same maps, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from featmap.models.fused_norms import find_fusable, fused_norms


def block(**options: Any) -> ConvModule:
    """A block whose norm does something: a convolution of weight 3, then (x - 4) / 2 * 10 + 1."""
    made = ConvModule(1, 1, 1, norm_cfg={'type': 'BN', 'eps': 0}, act_cfg=None, **options)
    nn.init.constant_(made.conv.weight, 3)
    for value, to in (
        (4, made.norm.running_mean),
        (4, made.norm.running_var),
        (10, made.norm.weight),
        (1, made.norm.bias),
    ):
        to.data.fill_(value)
    return made.eval()


def watch(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each call of the module, which it meets without a hook."""
    calls: list[int] = []
    forward = module.forward

    def counted(x: Tensor) -> Tensor:
        calls.append(1)
        return forward(x)

    monkeypatch.setattr(module, 'forward', counted)
    return calls


X = torch.tensor([[[[2.0, -1.0]]]])
THREEFOLD = [[[[6.0, -3.0]]]]
NORMED = [[[[11.0, -34.0]]]]


def test_the_norm_is_part_of_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    made = block()
    calls = watch(made.norm, monkeypatch)
    assert made(X).tolist() == NORMED
    assert len(calls) == 1
    with fused_norms(find_fusable(made)):
        assert made(X).tolist() == NORMED
    assert len(calls) == 1
    assert made(X).tolist() == NORMED
    assert len(calls) == 2


@pytest.mark.parametrize(('part', 'expected'), [('conv', THREEFOLD), ('norm', NORMED)])
@pytest.mark.parametrize('kind', ['forward', 'forward_pre', 'full_backward', 'full_backward_pre'])
def test_not_while_somebody_looks_at_either(
    part: str, expected: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = block()
    seen: list[Any] = []
    child = getattr(made, part)
    register = getattr(child, f'register_{kind}_hook')
    calls = watch(made.norm, monkeypatch)
    handle = register(lambda *call: seen.append(call[-1]))
    with fused_norms(find_fusable(made)):
        assert made(X).tolist() == NORMED
    assert len(calls) == 1
    if kind == 'forward':
        assert seen[0].tolist() == expected
    handle.remove()
    with fused_norms(find_fusable(made)):
        made(X)
    assert len(calls) == 1


def test_the_model_stays_what_it_was() -> None:
    made = block()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    attributes = sorted(vars(made)), sorted(vars(made.conv)), sorted(vars(made.norm))
    with pytest.raises(RuntimeError), fused_norms(find_fusable(made)):
        made(X.repeat(1, 2, 1, 1))
    assert (sorted(vars(made)), sorted(vars(made.conv)), sorted(vars(made.norm))) == attributes
    assert made.fast_conv_bn_eval_forward is None
    after = made.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_block_that_was_fused_before_stays_so() -> None:
    made = block(fast_conv_bn_eval=True)
    own = made.fast_conv_bn_eval_forward
    assert own is not None
    with fused_norms(find_fusable(made)):
        pass
    assert made.fast_conv_bn_eval_forward is own


def test_later_weights_count() -> None:
    made = block()
    blocks = find_fusable(made)
    for weight, expected in ((3, NORMED), (2, [[[[1.0, -29.0]]]])):
        nn.init.constant_(made.conv.weight, weight)
        with fused_norms(blocks):
            assert made(X).tolist() == expected


def test_a_norm_that_still_learns_is_left_alone() -> None:
    made = ConvModule(1, 1, 1, norm_cfg={'type': 'BN'}).train()
    with fused_norms(find_fusable(made)):
        made(X)
    assert made.norm.num_batches_tracked == 1


class Doubled(nn.Conv2d):
    """A convolution that does more than one."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_only_plain_convolutions_with_a_norm() -> None:
    odd = block()
    odd.conv = Doubled(1, 1, 1)
    model = nn.Sequential(block(), ConvModule(1, 1, 1), odd, nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    assert find_fusable(model) == [model[0]]


@pytest.mark.parametrize('options', [{'norm_cfg': {'type': 'GN', 'num_groups': 2}}, {'order': ('norm', 'conv', 'act')}])
@torch.no_grad()
def test_other_norms_and_orders_are_right_too(options: Any) -> None:
    torch.manual_seed(0)
    made = ConvModule(4, 4, 3, **{'norm_cfg': {'type': 'BN'}, **options}).eval()
    x = torch.randn(1, 4, 5, 5)
    expected = made(x)
    with fused_norms(find_fusable(made)):
        assert torch.equal(made(x), expected)
