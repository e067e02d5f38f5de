from __future__ import annotations

import threading
import time

import numpy as np
import torch
from torch import nn

from featmap import FeatMapInferencer
from featmap.models.modes import lock_of, modes_kept


def as_it_is(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def opened(model, layers):
    return FeatMapInferencer(
        model=model, target_layers=layers, preprocess=as_it_is, device='cpu', channel_reduction='squeeze_mean'
    )


def test_a_module_that_is_trained_again_is_drawn_in_eval_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))
    image = np.arange(32 * 48 * 3, dtype=np.uint8).reshape(32, 48, 3)
    vis = opened(model, ['1', '2'])
    before = [item.values for item in vis(image).maps]
    model.train()
    model[3].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    after = [item.values for item in vis(image).maps]
    np.testing.assert_array_equal(after, before)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [part.training for part in model] == [True, True, True, False]
    assert model.training


def test_modes_come_back_by_train_and_exactly():
    class Merging(nn.Linear):
        """Does more than set a flag, as adapters that are merged into weights for inference."""

        merged = False

        def train(self, mode=True):
            self.merged = not mode
            return super().train(mode)

    model = nn.Sequential(Merging(1, 1), nn.Dropout())
    model[1].eval()
    with modes_kept(model):
        model.eval()
        assert model[0].merged
    assert not model[0].merged
    assert [model.training, model[0].training, model[1].training] == [True, True, False]


def test_two_inferencers_of_one_module_at_a_time():
    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 2, 1)

        def forward(self, x):
            x = self.first(x)
            time.sleep(0.002)
            return self.second(x)

    model = Slow()
    images = [np.zeros((16, 24, 3), np.uint8), np.full((16, 24, 3), 200, np.uint8)]
    drawing = [opened(model, ['first', 'second']) for _ in images]
    assert drawing[0]._lock is drawing[1]._lock is lock_of(model)
    assert lock_of(model) is not lock_of(Slow())
    wanted = [[item.values for item in vis(image).maps] for vis, image in zip(drawing, images)]
    found: list[list] = [[], []]

    def draw(number):
        for _ in range(5):
            found[number].append([item.values for item in drawing[number](images[number]).maps])

    threads = [threading.Thread(target=draw, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (0, 1):
        np.testing.assert_array_equal(found[number], [wanted[number]] * 5)
