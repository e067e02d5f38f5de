"""The segmentation network whose explanations are measured."""

import torch
from explained_segmentor import evaluate, sample, segmentor, train

from tests.conftest import ROOT


def test_labels_lie_on_the_object():
    inputs, labels = sample(4)
    assert inputs.shape == (3, 192, 192)
    assert labels.shape == (48, 48)
    assert labels.unique().tolist() == [0, 1 + 4]
    assert 0.02 < (labels > 0).float().mean() < 0.7


def test_its_logits_lie_over_the_whole_input():
    model = segmentor().eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 192, 192)).shape == (2, 9, 48, 48)
    assert len(model.classes) == 9


def test_it_trains_its_decoder_alone():
    model = train(4, 2)
    state, fresh = model.state_dict(), segmentor().state_dict()
    trunk = torch.load(ROOT / 'demo' / 'classifier.pth', weights_only=True)['state_dict']
    for name, value in trunk.items():
        if not name.startswith('head.'):
            torch.testing.assert_close(state[name], value.to(state[name].dtype))
    assert state.keys() == fresh.keys()
    assert not model.training
    assert 0 <= evaluate(model, 2) <= 1
