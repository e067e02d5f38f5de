from __future__ import annotations

import weakref
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from featmap.errors import LayerError
from featmap.layers import resolve
from featmap.recorder import ActivationRecorder, clone_output


class Scale(nn.Module):
    """Multiplies by a literal and counts its calls."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return x * self.factor


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Scale(2.0)
        self.second = Scale(3.0)
        self.last = Scale(1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.first(x)
        high = self.second(low)
        self.last(high)
        return low, high


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = Scale(10.0)
        self.branches = nn.ModuleList([Scale(1.0)])

    def forward(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        return [self.shared(feature) for feature in (*features, features[0] + 100)]


class Net(nn.Module):
    """Backbone, then head; ``unused`` never runs and ``wrapper`` is only taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = Head()
        self.unused = Scale(1.0)
        self.wrapper = nn.Sequential(Scale(4.0))
        self.error: BaseException | None = None

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.backbone(x)
        if self.error:
            raise self.error
        self.wrapper[0](x)
        return self.head(features)


ONE = torch.ones(1)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def runs(net: Net) -> dict[str, int]:
    return {
        'first': net.backbone.first.runs,
        'second': net.backbone.second.runs,
        'last': net.backbone.last.runs,
        'head': net.head.shared.runs,
    }


def numbers(recorder: ActivationRecorder) -> list[tuple[str, int, object]]:
    """Label, call and value of every record, tensors as numbers."""

    def plain(value):
        if isinstance(value, Tensor):
            return value.tolist()
        if isinstance(value, (tuple, list)):
            return type(value)(plain(item) for item in value)
        return value

    return [(record.target.label, record.call, plain(record.value)) for record in recorder.records]


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
    with ActivationRecorder(net, ['head.shared', 'head.shared[0]', 'backbone.first']) as recorder:
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


# --- hooks never outlive the block


@pytest.mark.parametrize('error', [ValueError('broken'), KeyboardInterrupt(), SystemExit(3)], ids=repr)
@pytest.mark.parametrize('stop_early', [False, True])
def test_no_hook_is_left_after_a_failure_in_the_model(error, stop_early):
    net = Net()
    net.error = error
    recorder = ActivationRecorder(net, ['backbone.first', 'head.shared'], stop_early=stop_early)
    with pytest.raises(type(error)) as caught, recorder:
        net(ONE)
    assert caught.value is error
    assert hooks(net) == 0
    assert recorder.stopped is False

    net.error = None
    with recorder:
        net(ONE)
    assert [value for _, _, value in numbers(recorder)] == [[2.0], [20.0], [60.0], [1020.0]]
    assert hooks(net) == 0


def test_no_hook_is_left_after_success():
    net = Net()
    with ActivationRecorder(net, ['backbone', 'head.shared', 'head']):
        assert hooks(net) == 3
        net(ONE)
    assert hooks(net) == 0


def test_no_hook_is_left_after_consume_failed():
    net = Net()

    def consume(target, output):
        raise LayerError('no map')

    with pytest.raises(LayerError, match='no map'), ActivationRecorder(net, 'backbone', consume=consume):
        net(ONE)
    assert hooks(net) == 0
    assert net.head.shared.runs == 0


def test_no_hook_is_left_after_attaching_failed(monkeypatch):
    net = Net()
    recorder = ActivationRecorder(net, ['backbone', 'head'])

    def fail(hook):
        raise RuntimeError('cannot be hooked')

    monkeypatch.setattr(net.head, 'register_forward_hook', fail)
    with pytest.raises(RuntimeError, match='cannot be hooked'), recorder:
        pass
    assert hooks(net) == 0


def test_hooks_of_others_stay():
    net, seen = Net(), []
    net.backbone.register_forward_hook(lambda *_: seen.append(1))
    with ActivationRecorder(net, 'backbone'):
        net(ONE)
    assert (seen, hooks(net)) == ([1], 1)


def test_a_recorder_that_is_recording_cannot_be_entered_again():
    net = Net()
    recorder = ActivationRecorder(net, 'backbone.first')
    with recorder:
        with pytest.raises(RuntimeError, match='already recording'), recorder:
            pass
        net(ONE)
    assert numbers(recorder) == [('backbone.first', 0, [2.0])]
    assert hooks(net) == 0


def test_two_recorders_may_be_nested():
    net = Net()
    with ActivationRecorder(net, 'backbone.first') as outer, ActivationRecorder(net, 'backbone.first') as inner:
        net(ONE)
    assert numbers(outer) == numbers(inner) == [('backbone.first', 0, [2.0])]
    assert hooks(net) == 0


# --- stopping early


def test_the_first_forward_stops_where_the_top_level_part_returns_and_the_next_after_the_last_call():
    net = Net()
    recorder = ActivationRecorder(net, 'backbone.first', stop_early=True)
    with recorder:
        net(ONE)
        pytest.fail('the forward went on')  # pragma: no cover
    assert recorder.stopped is True
    assert runs(net) == {'first': 1, 'second': 1, 'last': 1, 'head': 0}
    assert numbers(recorder) == [('backbone.first', 0, [2.0])]
    with recorder:
        net(ONE * 5)
    assert recorder.stopped is True
    assert runs(net) == {'first': 2, 'second': 1, 'last': 1, 'head': 0}
    assert numbers(recorder) == [('backbone.first', 0, [10.0])]
    assert hooks(net) == 0


def test_the_forward_goes_on_to_the_last_of_several_parts():
    net = Net()
    recorder = ActivationRecorder(net, ['head.shared', 'backbone.first'], stop_early=True)
    for _ in range(2):
        with recorder:
            net(ONE)
        assert recorder.stopped is True
        assert [value for _, _, value in numbers(recorder)] == [[20.0], [60.0], [1020.0], [2.0]]
    assert runs(net)['head'] == 6


def test_without_stop_early_all_of_the_model_runs():
    net = Net()
    with ActivationRecorder(net, 'backbone.first') as recorder:
        output = net(ONE)
    assert (len(output), recorder.stopped) == (3, False)
    assert runs(net) == {'first': 1, 'second': 1, 'last': 1, 'head': 3}


def test_a_failure_after_a_stop_is_raised_and_the_next_forward_stops_again():
    net = Net()
    recorder = ActivationRecorder(net, 'head.shared', stop_early=True)
    with recorder:
        net(ONE)
    net.error = ValueError('broken')
    with pytest.raises(ValueError, match='broken'), recorder:
        net(ONE)
    assert (hooks(net), recorder.stopped) == (0, False)
    net.error = None
    with recorder:
        net(ONE)
    assert recorder.stopped is True
    assert len(recorder.records) == 3


class Shuffled(nn.Module):
    """Runs the parts named, in that order; an error where a name is none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Scale(1.0), Scale(2.0)

    def forward(self, x: Tensor, *order: str) -> None:
        for name in order:
            getattr(self, name)(x)


def test_what_returned_in_a_forward_that_failed_does_not_count_in_the_next():
    net = Shuffled()
    recorder = ActivationRecorder(net, ['one', 'two'], stop_early=True)
    with pytest.raises(AttributeError), recorder:
        net(ONE, 'one', 'three')
    with recorder:
        net(ONE, 'two', 'one', 'three')
    assert [value for _, _, value in numbers(recorder)] == [[1.0], [2.0]]


def test_an_error_beside_the_model_is_not_swallowed():
    with pytest.raises(ZeroDivisionError), ActivationRecorder(Net(), 'backbone', stop_early=True):
        _ = 1 / 0


class Patient(Net):
    """Goes on whatever its backbone raises."""

    def forward(self, x: Tensor) -> list[Tensor]:
        try:
            features = self.backbone(x)
        except Exception:
            features = (x, x)
        return self.head(features)


def test_a_model_that_catches_exceptions_is_stopped_all_the_same():
    net = Patient()
    with ActivationRecorder(net, 'backbone.second', stop_early=True) as recorder:
        net(ONE)
    assert runs(net)['head'] == 0
    assert numbers(recorder) == [('backbone.second', 0, [6.0])]


# --- layers that never ran


@pytest.mark.parametrize(
    ('target', 'message'),
    [
        ('head.branches', r'head.branches \(ModuleList\) was never run: it only holds layers; .*: head.branches.0$'),
        ('wrapper', r'wrapper \(Sequential\) was never run: its parts are called without it; .*: wrapper.0$'),
        ('unused', r'unused \(Scale\) was never run: the forward does not call it; --preview-model'),
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
