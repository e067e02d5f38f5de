"""Modules hand out weights that they keep to themselves, for one forward, and are left as they were."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from featmap.attention import handed_out, hint
from featmap.layers import resolve
from featmap.recorder import ActivationRecorder
from tests.attention_helpers import Plain, ViT
from tests.conftest import hooks

IMAGE = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def record(model: nn.Module, name: str, asked: bool = True):
    """What a layer puts out in one forward, and the model."""
    model.eval()
    targets = resolve(model, [name])
    with (
        torch.no_grad(),
        ActivationRecorder(model, targets, strict=False) as recorder,
        handed_out(model, targets, asked),
    ):
        model(IMAGE)
    return [each.value for each in recorder.records]


def test_attention_of_pytorch_hands_out_the_weights_of_each_head():
    model = Plain()
    ((before, nothing),) = record(model, 'self_attention', asked=False)
    assert nothing is None
    ((after, weights),) = record(model, 'self_attention')
    torch.testing.assert_close(after, before)
    assert weights.shape == (1, 2, 24, 24)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(1, 2, 24))
    assert hooks(model) == 0
    assert len(model.self_attention._forward_pre_hooks) == 0
    record(model, 'self_attention', asked=False)
    assert model.handed == [False, True, False]


def test_what_names_the_weights_asks_for_them():
    ((_, weights),) = record(Plain(), 'self_attention[1]', asked=False)
    assert weights.shape == (1, 2, 24, 24)


@pytest.mark.parametrize('given', [(None, False), (None, True), ()])
def test_arguments_in_any_place_are_found(given):
    module = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    holder = nn.Sequential(module)
    x = torch.rand(1, 6, 8)
    with torch.no_grad(), handed_out(holder, resolve(holder, ['0']), True):
        _, weights = module(x, x, x, *given)
    assert weights.shape == (1, 2, 6, 6)


def test_a_fused_kernel_is_taken_apart_for_what_it_hides():
    model = ViT()
    assert record(model, 'blocks.1.attn', asked=False)[0].shape == (1, 25, 8)
    (weights,) = record(model, 'blocks.1.attn.attn_drop', asked=False)
    assert weights.shape == (1, 2, 25, 25)
    assert [block.attn.fused_attn for block in model.blocks] == [True, True]
    assert 'fused_attn' in vars(model.blocks[1].attn)


def test_it_is_undone_where_the_forward_fails():
    model = ViT()
    model.blocks[1].attn.fail = True
    with pytest.raises(RuntimeError, match='out of paper'):
        record(model, 'blocks.1.attn.attn_drop')
    assert model.blocks[1].attn.fused_attn is True
    plain = Plain().eval()
    with pytest.raises(RuntimeError), handed_out(plain, resolve(plain, ['self_attention']), True):
        plain(torch.rand(1, 4, 32, 48))
    assert len(plain.self_attention._forward_pre_hooks) == 0


class TinyAttention(nn.Module):
    """As those of transformers: a function is chosen by the config that all modules share."""

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.ran: list[str] = []

    def forward(self, x):
        self.ran.append(self.config._attn_implementation)
        x = x[0] if isinstance(x, tuple) else x
        return x, (x.softmax(dim=-1) if self.config._attn_implementation == 'eager' else None)


def test_a_module_of_transformers_runs_eagerly_and_so_do_those_that_share_its_config():
    config = SimpleNamespace(_attn_implementation='sdpa')
    model = nn.Sequential(TinyAttention(config), TinyAttention(config)).eval()
    ((_, weights),) = record(model, '1')
    assert weights is not None
    assert (model[0].ran, model[1].ran) == (['eager'], ['eager'])  # what masks are made for has to be what runs
    assert model[1].config is config
    assert config._attn_implementation == 'sdpa'
    ((_, nothing),) = record(model, '1', asked=False)
    assert nothing is None


class Config:
    """As those of transformers are: what is chosen is chosen for its parts too."""

    def __init__(self, part: Config | None = None) -> None:
        self.part = part
        self._attn_implementation = 'sdpa'

    @property
    def _attn_implementation(self):
        return self._attn_implementation_internal

    @_attn_implementation.setter
    def _attn_implementation(self, value):
        self._attn_implementation_internal = value
        if self.part is not None:
            self.part._attn_implementation = value


def test_the_config_of_a_part_of_the_model_is_left_alone():
    part = Config()
    config = Config(part)
    model = nn.Sequential(TinyAttention(config), TinyAttention(part)).eval()
    ((_, weights),) = record(model, '0')
    assert weights is not None
    assert (model[0].ran, model[1].ran) == (['eager'], ['sdpa'])
    assert (config._attn_implementation, part._attn_implementation) == ('sdpa', 'sdpa')


def test_a_refusal_names_the_way_to_weights_where_there_is_one():
    model = Plain()
    layer, patches = resolve(model, ['self_attention', 'patch_embed'])
    assert hint(layer, 'no map') == '; query X,Y draws its attention weights'
    assert hint(layer, 'attention between object queries') == ''
    assert hint(patches, 'no map') == ''
