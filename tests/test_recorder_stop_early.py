"""The forward stops where all that is wanted was recorded."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from featmap.recorder import ActivationRecorder
from tests.conftest import hooks
from tests.recorder_helpers import ONE, Net, Scale, numbers


def runs(net: Net) -> dict[str, int]:
    return {
        'first': net.backbone.first.runs,
        'second': net.backbone.second.runs,
        'last': net.backbone.last.runs,
        'head': net.head.shared.runs,
    }


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


@pytest.mark.parametrize('eager', ['outer', 'inner'])
def test_a_recorder_ends_its_own_block_only(eager):
    net = Net()
    outer = ActivationRecorder(net, 'backbone.first', stop_early=eager == 'outer')
    inner = ActivationRecorder(net, 'backbone.second', stop_early=eager == 'inner')
    after = []
    with outer:
        with inner:
            net(ONE)
        after.append('inner')
    after.append('outer')
    assert after == (['outer'] if eager == 'outer' else ['inner', 'outer'])
    assert (outer.stopped, inner.stopped) == (eager == 'outer', eager == 'inner')
    assert hooks(net) == 0


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
