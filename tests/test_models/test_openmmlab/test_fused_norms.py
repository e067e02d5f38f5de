"""Convolution and norm as one operation: the same maps, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook

from featmap.models.openmmlab.fused_norms import FusedNorms


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


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


@pytest.fixture
def norms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each batch norm that is computed on its own."""
    calls: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        return batch_norm(*args, **kwargs)

    batch_norm = F.batch_norm
    monkeypatch.setattr(F, 'batch_norm', counted)
    return calls


X = torch.tensor([[[[2.0, -1.0]]]])
THREEFOLD = [[[[6.0, -3.0]]]]
NORMED = [[[[11.0, -34.0]]]]


def test_the_norm_is_part_of_the_convolution(norms: list[int]) -> None:
    made = block()
    assert made(X).tolist() == NORMED
    assert len(norms) == 1
    with FusedNorms(made).active():
        assert made(X).tolist() == NORMED
    assert len(norms) == 1
    assert made(X).tolist() == NORMED
    assert len(norms) == 2


@pytest.mark.parametrize('part', ['conv', 'norm'])
@pytest.mark.parametrize('kind', ['forward', 'forward_pre', 'full_backward', 'full_backward_pre'])
def test_not_while_somebody_looks_at_either(part: str, kind: str, norms: list[int]) -> None:
    made = block()
    seen: list[Any] = []
    handle = getattr(getattr(made, part), f'register_{kind}_hook')(lambda *call: seen.append(call[-1]))
    with FusedNorms(made).active():
        assert made(X).tolist() == NORMED
    assert len(norms) == 1
    if kind == 'forward':
        assert seen[0].tolist() == (THREEFOLD if part == 'conv' else NORMED)
    handle.remove()
    with FusedNorms(made).active():
        made(X)
    assert len(norms) == 1


def test_not_while_somebody_looks_at_all_modules() -> None:
    made, seen = block(), []
    handle = register_module_forward_hook(lambda module, args, out: seen.append((type(module).__name__, out.tolist())))
    try:
        with FusedNorms(made).active():
            made(X)
    finally:
        handle.remove()
    assert seen == [('Conv2d', THREEFOLD), ('BatchNorm2d', NORMED), ('ConvModule', NORMED)]


def test_not_where_a_gradient_is_wanted(norms: list[int]) -> None:
    made = block()
    with torch.enable_grad(), FusedNorms(made).active():
        out = made(X)
    assert len(norms) == 1
    assert out.requires_grad


def test_a_model_of_another_precision_later(norms: list[int]) -> None:
    made = block()
    fused = FusedNorms(made)
    for precision in (torch.float32, torch.float64, torch.bfloat16):
        made.to(precision)
        with fused.active():
            assert made(X.to(precision)).tolist() == NORMED
    assert norms == []


def test_the_model_stays_what_it_was() -> None:
    made = block()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    attributes = sorted(vars(made)), sorted(vars(made.conv)), sorted(vars(made.norm))
    with pytest.raises(RuntimeError), FusedNorms(made).active():
        made(X.repeat(1, 2, 1, 1))
    assert (sorted(vars(made)), sorted(vars(made.conv)), sorted(vars(made.norm))) == attributes
    assert made.fast_conv_bn_eval_forward is None
    after = made.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_block_that_was_fused_before_stays_so() -> None:
    made = block(fast_conv_bn_eval=True)
    own = made.fast_conv_bn_eval_forward
    assert own is not None
    with FusedNorms(made).active():
        pass
    assert made.fast_conv_bn_eval_forward is own


def test_later_weights_count() -> None:
    made = block()
    fused = FusedNorms(made)
    for weight, expected in ((3, NORMED), (2, [[[[1.0, -29.0]]]])):
        nn.init.constant_(made.conv.weight, weight)
        with fused.active():
            assert made(X).tolist() == expected


def test_a_norm_that_still_learns_is_left_alone() -> None:
    made = ConvModule(1, 1, 1, norm_cfg={'type': 'BN'}).train()
    with FusedNorms(made).active():
        made(X)
    assert made.norm.num_batches_tracked == 1


class Doubled(nn.Conv2d):
    """A convolution that does more than one."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Bent(nn.BatchNorm2d):
    """A norm that does more than one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh()


@pytest.mark.parametrize('part', ['conv', 'norm'])
def test_a_layer_of_the_users_own_does_what_it_does(part: str) -> None:
    made = block()
    fused = FusedNorms(made)
    other = Doubled(1, 1, 1, bias=False) if part == 'conv' else Bent(1)
    setattr(made, 'conv' if part == 'conv' else made.norm_name, other.eval())
    expected = made(X)
    with fused.active():
        assert torch.equal(made(X), expected)


@pytest.mark.parametrize('part', ['conv', 'norm'])
def test_a_forward_of_the_users_own_is_run_and_kept(part: str) -> None:
    made = block()
    layer = getattr(made, part)
    forward = layer.forward
    layer.forward = lambda x: forward(x) + 5
    expected = made(X)
    with FusedNorms(made).active():
        assert torch.equal(made(X), expected)
    assert torch.equal(made(X), expected)


@pytest.mark.parametrize(
    ('options', 'left'),
    [
        ({'bias': True}, 0),
        ({'groups': 2, 'stride': 2, 'padding': 1}, 0),
        ({'norm_cfg': {'type': 'BN', 'affine': False}}, 0),
        ({'padding': 2, 'padding_mode': 'reflect'}, 0),
        ({'padding': 2, 'padding_mode': 'circular'}, 0),
        ({'norm_cfg': {'type': 'SyncBN'}}, 0),
        ({'order': ('conv', 'act', 'norm')}, 1),
        ({'order': ('norm', 'conv', 'act')}, 1),
        ({'norm_cfg': {'type': 'BN', 'track_running_stats': False}}, 1),
        ({'norm_cfg': {'type': 'GN', 'num_groups': 2}}, 0),
        ({'conv_cfg': {'type': 'ConvWS'}}, 1),
        ({'norm_cfg': None}, 0),
    ],
)
@pytest.mark.filterwarnings('ignore:Unnecessary conv bias')
def test_the_same_comes_out_of_every_kind_of_block(options: Any, left: int, norms: list[int]) -> None:
    torch.manual_seed(0)
    made = ConvModule(4, 4, 3, **{'norm_cfg': {'type': 'BN'}, **options}).eval()
    for name, value in made.named_buffers():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + (0.5 if name.endswith('running_var') else 0))
    x = torch.randn(1, 4, 7, 7)
    expected = made(x)
    norms.clear()
    with FusedNorms(made).active():
        torch.testing.assert_close(made(x), expected)
    assert len(norms) == left
