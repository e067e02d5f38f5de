"""What is recorded of the layers of a network, and which of them never ran."""

from __future__ import annotations

import threading
import weakref
from typing import NamedTuple

import pytest
import torch
from torch import nn

from featmap.errors import LayerError
from featmap.layers import resolve
from featmap.recorder import ActivationRecorder, clone_output
from tests.conftest import hooks
from tests.recorder_helpers import ONE, Net, Scale, numbers

# --- what is kept


def test_outputs_are_recorded_in_the_order_of_the_targets():
    net = Net()
    with ActivationRecorder(net, ['backbone.second', 'backbone.first', 'backbone']) as recorder:
        assert hooks(net) == 3
        net(ONE)
    assert numbers(recorder) == [
        ('backbone.second', 0, [6.0]),
        ('backbone.first', 0, [2.0]),
        ('backbone', 0, ([2.0], [6.0])),
    ]
    assert recorder.stopped is False


def test_every_call_is_kept_and_numbered():
    net = Net()
    with ActivationRecorder(net, 'head.shared') as recorder:
        net(ONE)
    assert numbers(recorder) == [
        ('head.shared', 0, [20.0]),
        ('head.shared', 1, [60.0]),
        ('head.shared', 2, [1020.0]),
    ]
    assert recorder.calls(recorder.targets[0]) == 3


def test_calls_of_two_targets_are_not_mixed_up():
    net = Net()
    targets = [*resolve(net, 'head.shared'), *resolve(net, 'head.shared[0]'), *resolve(net, 'backbone.first')]
    with ActivationRecorder(net, targets) as recorder:
        net(ONE)
    assert [(label, call) for label, call, _ in numbers(recorder)] == [
        ('head.shared', 0),
        ('head.shared', 1),
        ('head.shared', 2),
        ('head.shared[0]', 0),
        ('head.shared[0]', 1),
        ('head.shared[0]', 2),
        ('backbone.first', 0),
    ]
    assert [recorder.calls(target) for target in recorder.targets] == [3, 3, 1]


def test_an_activation_in_place_does_not_change_the_record():
    norm = nn.BatchNorm2d(1).eval()
    net = nn.Sequential(norm, nn.ReLU(inplace=True))
    image = torch.tensor([[[[-2.18, 0.5], [1.0, -0.25]]]])
    with torch.no_grad(), ActivationRecorder(net, ['0', '1']) as recorder:
        net(image)
    before, after = (record.value for record in recorder.records)
    assert before.min().item() == pytest.approx(-2.18, abs=1e-4)
    assert after.min().item() == 0


def test_writing_to_a_record_does_not_change_the_output():
    net = Net()
    with ActivationRecorder(net, 'backbone') as recorder:
        net(ONE)
    recorder.records[0].value[0].fill_(7)
    with ActivationRecorder(net, 'backbone') as again:
        net(ONE)
    assert again.records[0].value[0].item() == 2


class Pair(NamedTuple):
    left: object
    right: object


@pytest.mark.parametrize('nest', [lambda t: (t,), lambda t: [t, [t]], lambda t: {'a': {'b': t}}, lambda t: Pair(t, 3)])
def test_clones_keep_the_nesting(nest):
    original = torch.ones(2, requires_grad=True) * 3
    copy = clone_output(None, nest(original))
    assert type(copy) is type(nest(original))
    assert repr(copy) == repr(nest(torch.full((2,), 3.0)))
    original.data.fill_(9)
    assert repr(copy) == repr(nest(torch.full((2,), 3.0)))


def test_consume_is_handed_the_output_inside_the_hook_and_its_value_is_kept():
    net = nn.Sequential(Scale(2.0), nn.ReLU(inplace=True))
    seen = []

    def consume(target, output):
        seen.append((target.label, output.item()))
        return 'kept'

    with ActivationRecorder(net, '0', consume=consume) as recorder:
        net(torch.tensor([-1.5]))
    assert seen == [('0', -3.0)]
    assert numbers(recorder) == [('0', 0, 'kept')]


def test_nothing_else_than_what_consume_returned_is_kept():
    net, alive = Net(), []
    recorder = ActivationRecorder(net, 'backbone.second', consume=lambda target, out: alive.append(weakref.ref(out)))
    with recorder:
        net(ONE)
    assert [reference() for reference in alive] == [None]
    assert len(recorder.records) == 1


@pytest.mark.parametrize('enabled', [True, False])
def test_the_grad_mode_is_left_as_it_is(enabled):
    net, modes = Net(), []
    with torch.set_grad_enabled(enabled):
        with ActivationRecorder(net, 'backbone', consume=lambda *_: modes.append(torch.is_grad_enabled())):
            assert torch.is_grad_enabled() is enabled
            output = net(torch.ones(1, requires_grad=True))
        assert torch.is_grad_enabled() is enabled
    assert modes == [enabled]
    assert output[0].requires_grad is enabled


def test_clones_are_detached():
    net = Net()
    with ActivationRecorder(net, 'backbone.first') as recorder:
        net(torch.ones(1, requires_grad=True))
    assert recorder.records[0].value.requires_grad is False


def test_the_output_of_the_model_is_what_it_would_be_without():
    net = Net()
    with ActivationRecorder(net, ['backbone', 'head']):
        output = net(ONE)
    assert [value.item() for value in output] == [20, 60, 1020]


def test_a_second_block_starts_anew():
    net = Net()
    recorder = ActivationRecorder(net, 'backbone.first')
    with recorder:
        net(ONE)
    with recorder:
        net(ONE * 5)
    assert numbers(recorder) == [('backbone.first', 0, [10.0])]
    with recorder:
        pass
    with pytest.raises(LayerError, match='was never run'):
        _ = recorder.records


def test_resolved_targets_are_taken_too():
    net = Net()
    with ActivationRecorder(net, resolve(net, 'backbone.first')) as recorder:
        net(ONE)
    assert numbers(recorder) == [('backbone.first', 0, [2.0])]


def test_without_targets_there_is_nothing_to_record():
    with pytest.raises(LayerError, match='no target layer was given'):
        ActivationRecorder(Net(), [])


# --- layers that never ran


@pytest.mark.parametrize(
    ('target', 'message'),
    [
        ('head.branches', r'head.branches \(ModuleList\) was never run: it only holds layers; .*: head.branches.0$'),
        ('wrapper', r'wrapper \(Sequential\) was never run: its parts are called without it; .*: wrapper.0$'),
        ('unused', r'unused \(Scale\) was never run: the forward does not call it'),
        (['backbone', 'unused'], 'unused'),
    ],
)
def test_a_layer_that_never_ran_is_an_error_that_says_what_to_name(target, message):
    net = Net()
    with ActivationRecorder(net, target) as recorder:
        net(ONE)
    with pytest.raises(LayerError, match=message):
        _ = recorder.records


def test_it_is_none_where_that_is_asked_for():
    net = Net()
    with ActivationRecorder(net, ['unused', 'backbone.first'], strict=False) as recorder:
        net(ONE)
    assert numbers(recorder) == [('backbone.first', 0, [2.0])]
    assert [recorder.calls(target) for target in recorder.targets] == [0, 1]


def test_a_layer_that_never_runs_lets_the_forward_end_by_itself():
    net = Net()
    with ActivationRecorder(net, ['unused', 'backbone'], stop_early=True, strict=False) as recorder:
        output = net(ONE)
    assert (len(output), recorder.stopped) == (3, False)


@pytest.mark.parametrize('stop_early', [False, True])
def test_a_forward_of_another_thread_is_left_alone(stop_early):
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    recorder = ActivationRecorder(model, ['0'], stop_early=stop_early)
    outputs = []
    with recorder:
        thread = threading.Thread(target=lambda: outputs.append(model(torch.full((1,), 2.0))))
        thread.start()
        thread.join()
        model(torch.ones(1))
    assert [record.value.item() for record in recorder.records] == [1]
    assert outputs == [torch.full((1,), 2.0)]
