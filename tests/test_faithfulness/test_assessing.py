from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featmap.faithfulness import Protocol, assess
from featmap.geometry import ImageGeometry

# An image of 4 x 6 in the middle of an input of 6 x 6; on the baseline everything is 0.
GEOMETRY = ImageGeometry((4, 6), (6, 6), offset=(0, 1))


class Model:
    """Answers with the network inputs themselves."""

    def __init__(self):
        self.inputs = torch.zeros(3, 6, 6)
        self.inputs[:, 1:5] = 1
        self.batch = SimpleNamespace(inputs=self.inputs[None])
        self.geometry = GEOMETRY
        self.batch_size = 4
        self.batches = []

    def baseline(self, kind):
        assert kind in ('blur', 'black')
        return torch.zeros(3, 6, 6)

    def answer(self, inputs):
        self.batches.append(len(inputs))
        return tuple(SimpleNamespace(pixels=one[0].clone()) for one in inputs)


@dataclass
class Square:
    """A target whose value is the share of its box that is left."""

    box: np.ndarray
    region: np.ndarray = None
    boxes: np.ndarray = None

    def measure(self, answers):
        x1, y1, x2, y2 = (int(side) for side in self.box)
        return torch.stack([one.pixels[y1 + 1 : y2 + 1, x1:x2].mean() for one in answers])


LEFT, RIGHT = np.array([0, 0, 2, 2], np.float32), np.array([4, 0, 6, 4], np.float32)


def heat_on(box, level=1.0):
    heat = np.zeros((4, 6), np.float32)
    x1, y1, x2, y2 = box.astype(int)
    heat[y1:y2, x1:x2] = level
    return heat


def test_the_figures_of_a_box():
    heat = heat_on(LEFT) + heat_on(RIGHT, 0.5)  # 4 of 8 in the box
    [[found]] = assess(Model(), [Square(LEFT)], [[heat]], np.stack([LEFT, RIGHT]), Protocol(steps=6))
    # The box is the first of six equal areas of 4 pixels.
    np.testing.assert_allclose(found.figures.curves[0].insertion, [0, 1, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(found.figures.curves[0].deletion, [1, 0, 0, 0, 0, 0, 0])
    assert found.figures.energy == 0.5
    assert found.figures.others == 0.5
    assert found.figures.pointing == 1
    box = found.controls['box']
    assert (box.energy, box.others, box.pointing) == (1, 0, 1)
    assert box.curves[0].insertion_area == pytest.approx(5.5 / 6)
    assert set(found.controls) == {'random', 'box', 'gaussian'}
    assert 0.2 < found.controls['random'].curves[0].insertion_area < 0.8


def test_one_array_for_all_targets_is_perturbed_once():
    model, shared = Model(), heat_on(RIGHT)
    chosen = [Square(LEFT), Square(RIGHT)]
    (left, own), (right,) = assess(
        model, chosen, [[shared, heat_on(LEFT)], [shared]], protocol=Protocol(steps=6), with_controls=False
    )
    assert sum(model.batches) == 2 + 2 * (2 * 5)  # the ends, and two maps
    assert max(model.batches) == model.batch_size
    np.testing.assert_allclose(right.figures.curves[0].insertion, [0, 0.5, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(own.figures.curves[0].insertion, [0, 1, 1, 1, 1, 1, 1])
    assert left.figures.curves[0].insertion_area < 0.7
    assert left.figures.energy == 0
    assert np.isnan(left.figures.others)


def test_each_baseline_has_its_curves():
    [[found]] = assess(
        Model(), [Square(LEFT)], [[heat_on(LEFT)]], protocol=Protocol(steps=2, baselines=('blur', 'black'))
    )
    assert [curves.baseline for curves in found.figures.curves] == ['blur', 'black']
    assert set(found.as_dict()) >= {'blur', 'black', 'protocol', 'controls'}


def test_a_class_has_the_boxes_of_all_its_detections():
    heat = heat_on(LEFT) + heat_on(RIGHT, 0.5)
    both = Square(LEFT, boxes=np.stack([LEFT, RIGHT]))
    [[found]] = assess(Model(), [both], [[heat]], both.boxes, Protocol(steps=2))
    assert found.figures.energy == found.controls['gaussian'].energy == 1
    assert np.isnan(found.figures.others)


def test_a_region_is_its_own_control():
    region = heat_on(LEFT) > 0
    [[found]] = assess(Model(), [Square(LEFT, region)], [[heat_on(RIGHT)]], protocol=Protocol(steps=2))
    assert set(found.controls) == {'random', 'region'}
    assert 'mean probability' in found.protocol.name
    assert (found.controls['region'].energy, found.figures.energy) == (1, 0)


def test_a_class_without_a_place_has_curves_alone():
    class Whole:
        box = boxes = region = None
        class_index = 2

        def measure(self, answers):
            return torch.stack([one.pixels[1:5].mean() for one in answers])

    [[found]] = assess(Model(), [Whole()], [[heat_on(LEFT)]], protocol=Protocol(steps=2))
    np.testing.assert_allclose(found.figures.curves[0].insertion, [0, 0.5, 1])
    assert set(found.controls) == {'random'}
    assert found.label.endswith('featmap-1 · probability · 2 equal areas · blur')
    assert np.isnan([found.figures.energy, found.figures.others, found.figures.pointing]).all()
