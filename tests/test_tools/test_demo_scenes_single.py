"""Scenes with one object: where it lies, and that seeds and classes go together."""

import numpy as np
import pytest
from demo_scenes import CLASSES
from demo_scenes.single import LARGEST, SMALLEST, draw_single

SIZES = [(160, 100), (100, 160), (120, 120)]


@pytest.fixture(scope='module')
def scenes():
    return [draw_single(seed, SIZES[seed % 3]) for seed in range(48)]


def test_the_same_seed_gives_the_same_scene_and_another_one_another():
    for first, second in zip(draw_single(3, (96, 64)), draw_single(3, (96, 64))):
        np.testing.assert_array_equal(first, second)
    assert len({draw_single(seed, (96, 64))[0].tobytes() for seed in range(8)}) == 8


def test_picture_box_and_label_have_the_stated_form(scenes):
    for seed, (image, box, label) in enumerate(scenes):
        width, height = SIZES[seed % 3]
        assert image.shape == (height, width, 3)
        assert image.dtype == np.uint8
        assert box.shape == (4,)
        assert box.dtype == np.float32
        assert label == seed % len(CLASSES)


def test_the_object_lies_in_the_middle_square_but_for_a_fifth(scenes):
    for image, box, _ in scenes:
        height, width = image.shape[:2]
        side = min(width, height) * 12 / 13
        middle = np.array([width, height]) / 2
        beyond = np.maximum(middle - side / 2 - box[:2], box[2:] - middle - side / 2)
        assert (beyond <= 0.22 * LARGEST * min(width, height)).all()
        seen = np.minimum(box[2:], middle + side / 2) - np.maximum(box[:2], middle - side / 2)
        assert (seen >= 0.55 * (box[2:] - box[:2])).all()


def test_objects_are_of_all_sizes_and_off_the_centre(scenes):
    relative = np.array([(box[2:] - box[:2]).max() / min(image.shape[:2]) for image, box, _ in scenes])
    assert relative.min() < 1.5 * SMALLEST
    assert relative.max() > 0.8 * LARGEST
    assert relative.max() < 1.1 * LARGEST
    off = [abs(box[0] + box[2] - image.shape[1]) / 2 / min(image.shape[:2]) for image, box, _ in scenes]
    assert max(off) > 0.25
