"""Gradients with respect to what layers put out, on nets small enough to differentiate by hand."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from featmap.errors import LayerError
from featmap.gradients import GradientRecorder, replaced
from tests.conftest import hooks


class Net(nn.Module):
    """x → 2x → relu in place → 3x: two layers, the first of which is written into."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.first.weight, 2.0)
        nn.init.constant_(self.second.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.relu(self.first(x)))


X = torch.tensor([[[[1.0, -1.0]]]])


def test_the_kept_output_is_the_one_before_it_was_written_into() -> None:
    net = Net()
    with torch.enable_grad(), GradientRecorder(net, ['first', 'second']) as recorder:
        out = net(X)
    first = recorder.kept[0]
    assert first.tensors[''].tolist() == [[[[2.0, -2.0]]]]
    gradients = recorder.gradients(out.sum())
    assert gradients[0][''].tolist() == [[[[3.0, 0.0]]]]  # through the relu, then 3
    assert gradients[1][''].tolist() == [[[[1.0, 1.0]]]]
    assert first.with_tensors(gradients[0]) is gradients[0]['']
    assert not hooks(net)
    assert net.first.weight.grad is None


def test_the_graph_begins_at_the_first_wanted_layer() -> None:
    net = Net().requires_grad_(False)
    with torch.enable_grad(), GradientRecorder(net, ['second']) as recorder:
        net(X)
    assert recorder.kept[0].tensors[''].is_leaf


def test_the_same_values_and_gradients_twice() -> None:
    net = Net()
    with torch.enable_grad(), GradientRecorder(net, ['first']) as recorder:
        out = net(X)
    twice = [recorder.gradients(out.sum())[0][''] for _ in range(2)]
    assert torch.equal(*twice)


def test_what_a_target_does_not_depend_on_is_left_out() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Identity(), nn.Identity()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(x), self.b(x)

    net = Two()
    with torch.enable_grad(), GradientRecorder(net, ['a', 'b']) as recorder:
        a, _ = net(X)
    assert [list(each) for each in recorder.gradients(a.sum())] == [[''], []]
    assert recorder.gradients(torch.tensor(1.0)) == [{}, {}]


def test_one_element_of_an_output_and_a_layer_that_is_called_twice() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
            return {'maps': [x * 2, x * 3]}

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, x: Tensor) -> Tensor:
            return self.pair(x)['maps'][1] + self.pair(x)['maps'][1] * 4

    net = Outer()
    with torch.enable_grad(), GradientRecorder(net, ['pair[maps][1]']) as recorder:
        out = net(X)
    assert [list(each.tensors) for each in recorder.kept] == [['[maps][1]'], ['[maps][1]']]
    assert [each.call for each in recorder.kept] == [0, 1]
    assert [each['[maps][1]'].unique().item() for each in recorder.gradients(out.sum())] == [1.0, 4.0]


def test_a_part_that_runs_without_gradients_is_named() -> None:
    class Blocked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return self.inner(x)

    net = Blocked()
    wanted = GradientRecorder(net, ['inner'])
    with pytest.raises(LayerError, match='inner runs where gradients are off'), torch.enable_grad(), wanted:
        net(X)
    assert not hooks(net)


def test_nested_outputs_keep_their_types() -> None:
    @dataclass(frozen=True)
    class Data:
        value: Tensor
        name: str

    class Own(OrderedDict):  # type: ignore[type-arg]
        pass

    before = Own(a=(X, [X]), b=Data(X, 'x'), size=torch.Size([1, 2]))
    after = replaced(before, lambda path, value: value + 1)
    assert type(after) is Own
    assert type(after['a']) is tuple
    assert torch.equal(after['a'][1][0], X + 1)
    assert torch.equal(after['b'].value, X + 1)
    assert after['b'].name == 'x'
    assert before['b'].value is X
    assert type(after['size']) is torch.Size


def test_what_is_not_finite_behind_a_raw_layer_counts_as_nothing() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.raw = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            raw = self.raw(x)
            return torch.stack([raw[..., 0].sigmoid(), raw[..., 1].exp()])

    net, given = Head(), torch.tensor([0.0, 1000.0])  # the width overflows
    for finite, expected in (((), True), ((net.raw,), False)):
        with torch.enable_grad(), GradientRecorder(net, ['raw'], finite=finite) as recorder:
            out = net(given)
        gradient = recorder.gradients(out[0])[0]['']
        assert gradient[0] == 0.25
        assert bool(gradient.isnan().any()) == expected
