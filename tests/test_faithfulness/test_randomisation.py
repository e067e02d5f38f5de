import numpy as np
import pytest
import torch
from torch import nn

from featmap.faithfulness.randomisation import Randomisation, cascade, correlation, kept, randomise, stages_of


def make_net():
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1))
    nn.init.normal_(features[1].weight)
    return nn.ModuleDict({'features': features, 'head': nn.Linear(5, 2)}).eval()


def state_of(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_stages_come_from_the_top_down():
    assert stages_of(make_net()) == ['head', 'features.3', 'features.1', 'features.0']


def test_noise_keeps_mean_and_deviation_and_leaves_buffers():
    layer = nn.Linear(200, 100)
    nn.init.normal_(layer.weight, 3, 0.5)
    before = layer.weight.detach().clone()
    randomise(layer, 1)
    assert abs(correlation(before.numpy(), layer.weight.detach().numpy())) < 0.05
    assert layer.weight.mean().item() == pytest.approx(3, abs=0.02)
    assert layer.weight.std().item() == pytest.approx(0.5, rel=0.02)

    norm = nn.BatchNorm2d(4)
    randomise(norm)
    torch.testing.assert_close(norm.running_var, torch.ones(4))


def test_a_map_of_the_weights_passes_and_the_model_is_as_it_was():
    net = make_net()
    before, tensors = state_of(net), [id(value) for value in net.parameters()]
    seen = []

    def explain():
        seen.append(state_of(net))
        # A map that each layer has a say in.
        return (net['head'].weight[:, :4] @ net['features'][3].weight[:4, :, 0, 0]).detach().numpy()

    found = cascade(explain, net)
    assert found.stages == ('head', 'features.3', 'features.1', 'features.0')
    assert found.passed
    assert str(found).startswith('passed: correlation ')
    # Each stage adds to those before, from the top down.
    changed = [{name.rpartition('.')[0] for name in now if not torch.equal(before[name], now[name])} for now in seen]
    assert changed[:3] == [set(), {'head'}, {'head', 'features.3'}]
    assert changed[-1] == {'head', 'features.3', 'features.1', 'features.0'}
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert tensors == [id(value) for value in net.parameters()]


def test_a_map_that_asks_only_the_features_fails_at_the_head():
    net = make_net()
    found = cascade(lambda: net['features'][0].weight[:, :, 1, 1].detach().numpy().copy(), net)
    assert not found.passed
    assert found.similarity[:3] == pytest.approx([1, 1, 1])
    assert found.similarity[3] < 0.9
    assert str(found) == 'failed: correlation 1.00 with random weights in head'


def test_maps_are_compared_where_it_is_said():
    net = make_net()
    heat = np.zeros((4, 4))
    heat[:2] = np.arange(8).reshape(2, 4)

    def explain():
        moved = heat.copy()
        moved[:2] = moved[:2] * float(torch.equal(net['head'].weight, weight))
        moved[3] = 7  # the same whatever happens
        return moved

    weight = net['head'].weight.detach().clone()
    within = np.zeros((4, 4), bool)
    within[:2] = True
    assert cascade(explain, net, within, ['head']).similarity == (0.0,)
    assert cascade(explain, net, None, ['head']).similarity[0] > 0.3


def test_weights_come_back_after_an_error():
    net = make_net()
    before = state_of(net)

    def fail():
        with kept(net):
            randomise(net)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_correlation():
    first = np.array([[0.0, 1], [2, 3]])
    assert correlation(first, 5 * first + 1) == pytest.approx(1)
    assert correlation(first, -first) == pytest.approx(-1)
    assert correlation(first, np.ones((2, 2))) == 0


def test_nothing_compared_is_not_passed():
    assert not Randomisation((), ()).passed
