"""Hooks never outlive the block that set them."""

from __future__ import annotations

import pytest

from featmap.errors import LayerError
from featmap.recorder import ActivationRecorder
from tests.conftest import hooks
from tests.recorder_helpers import ONE, Net, numbers


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
