"""Several targets measured in several forwards at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featmap.answers import Answers
from featmap.targets import Chosen, measure_all
from featmap.targets.chosen import OfBoxes


def predicted(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Answers:
    return Answers('boxes', torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels))


def chosen(*boxes: list[float], label: int | None = 0) -> Chosen:
    return Chosen(torch.zeros(()), 'it', measured=OfBoxes(np.array(boxes, np.float32), label))


def test_the_best_iou_times_score_of_the_class_by_hand():
    # IoU with 0,0,10,10: 1 of another class, 0.5, 0.25.
    some = predicted([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 5, 5]], [0.9, 0.4, 1.0], [1, 0, 0])
    nobody = predicted([], [], [])
    alone = predicted([[0, 0, 10, 10]], [0.8], [0])
    found = measure_all([chosen([0, 0, 10, 10]), chosen([0, 0, 10, 10], label=None)], [some, nobody, alone])
    torch.testing.assert_close(found, torch.tensor([[0.25, 0, 0.8], [0.9, 0, 0.8]]))
    assert measure_all([chosen([0, 0, 1, 1])], [nobody, nobody]).tolist() == [[0, 0]]


def test_several_boxes_of_a_class_are_added_up():
    found = predicted([[0, 0, 10, 10], [20, 0, 30, 10]], [0.5, 0.25], [2, 2])
    both = chosen([0, 0, 10, 10], [20, 0, 30, 10], label=2)
    assert measure_all([both], [found]).tolist() == [[0.75]]


def test_other_targets_stand_beside_them():
    other = Chosen(torch.zeros(()), 'count', measured=lambda answers: torch.tensor(float(len(answers.boxes))))
    some, nobody = predicted([[0, 0, 1, 1]], [0.5], [0]), predicted([], [], [])
    found = measure_all([other, chosen([0, 0, 1, 1]), other], [some, nobody])
    assert found.tolist() == [[1, 0], [0.5, 0], [1, 0]]


@pytest.mark.parametrize('targets', [1, 7])
def test_the_same_as_one_by_one(targets):
    draw = torch.Generator().manual_seed(targets)

    def boxes(count: int) -> torch.Tensor:
        low = torch.rand(count, 2, generator=draw) * 50
        return torch.cat([low, low + 1 + torch.rand(count, 2, generator=draw) * 30], dim=1)

    answers = [
        Answers('boxes', boxes(n), torch.rand(n, generator=draw), torch.randint(3, (n,), generator=draw))
        for n in (40, 0, 1, 90)
    ]
    wanted = [chosen(*boxes(1 + n % 3).tolist(), label=(None, 0, 1, 2)[n % 4]) for n in range(targets)]
    expected = torch.stack([each.measure(answers) for each in wanted])
    torch.testing.assert_close(measure_all(wanted, answers), expected)
