"""What is read from a detector's data sample, and how what is not drawn is called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from torch import nn

from featmap.geometry import ImageGeometry
from featmap.models.openmmlab.image_place import ImagePlace
from featmap.models.openmmlab.predictions import Reader
from featmap.structures import Detections

HEIGHT, WIDTH = 20, 30
WHOLE = ImageGeometry.whole((HEIGHT, WIDTH))
CLASSES = tuple(f'class {number}' for number in range(10))


def sample(**results: Any) -> Any:
    from mmdet.structures import DetDataSample

    made = DetDataSample()
    for name, value in results.items():
        made.set_field(value, name)
    return made


def mask(top: int, left: int, bottom: int, right: int) -> torch.Tensor:
    made = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    made[top:bottom, left:right] = True
    return made


def read(geometry: ImageGeometry = WHOLE, **results: Any) -> Detections:
    return Reader(CLASSES, score_thr=0.3).read(sample(**results), ImagePlace.as_told(geometry))


def instances(**fields: Any) -> InstanceData:
    given = {
        'bboxes': torch.tensor([[1.0, 2, 10, 12], [5, 5, 9, 9], [0, 0, 3, 3]]),
        'scores': torch.tensor([0.9, 0.2, 0.5]),
        'labels': torch.tensor([3, 4, 5]),
        **fields,
    }
    return InstanceData(**{name: value for name, value in given.items() if value is not None})


MASKS = torch.stack([mask(2, 1, 12, 10), mask(5, 5, 9, 9), mask(0, 0, 3, 3)])


def test_masks_stay_with_their_boxes_and_weak_ones_are_dropped():
    found = read(pred_instances=instances(masks=MASKS))
    assert found.count == '2 instances'
    assert found.boxed
    assert found.labels.tolist() == [3, 5]
    assert len(found.masks) == 2
    np.testing.assert_array_equal(found.masks.whole(0), MASKS[0])
    np.testing.assert_array_equal(found.masks.whole(1), MASKS[2])


@pytest.mark.parametrize('boxes', [None, torch.zeros(3, 4)])
def test_masks_alone_give_the_boxes_around_them(boxes):
    found = read(pred_instances=instances(masks=MASKS, bboxes=boxes))
    assert not found.boxed
    assert found.boxes.tolist() == [[1, 2, 10, 12], [0, 0, 3, 3]]
    assert found.boxes.dtype == np.float32
    assert found.count == '2 instances'


@pytest.mark.parametrize('masks', [None, MASKS[:0]])
def test_no_instances_are_none_and_not_something_else(masks):
    none = instances(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0), masks=masks)
    assert read(pred_instances=none).count == ('0 detections' if masks is None else '0 instances')


@pytest.mark.parametrize(
    ('flip', 'expected'),
    [((True, False), [20, 2, 29, 12]), ((False, True), [1, 8, 10, 18]), ((True, True), [20, 8, 29, 18])],
)
def test_what_was_found_in_a_flipped_input_is_flipped_back(flip, expected):
    geometry = ImageGeometry((HEIGHT, WIDTH), (HEIGHT, WIDTH), flip=flip)
    numbers = torch.where(MASKS[0], 3, 7)[None]
    found = read(geometry, pred_instances=instances(masks=MASKS), pred_sem_seg=PixelData(sem_seg=numbers))
    left, top, right, bottom = expected
    assert found.boxes[0].tolist() == expected
    assert found.masks.windows[0].tolist() == expected
    assert found.masks.whole(0)[top:bottom, left:right].all()
    assert (found.segments.numbers[top:bottom, left:right] == 1).all()
    assert (found.segments.numbers == 1).sum() == 90


def test_what_was_found_where_the_metainfo_is_untrue_is_mapped_back():
    # The image is mirrored, doubled, and begins 20 pixels left of the input; only part of it was let in.
    crop = (5.0, 0.0, WIDTH - 10.0, HEIGHT)
    geometry = ImageGeometry((HEIGHT, WIDTH), (2 * HEIGHT + 8, 2 * WIDTH), (2.0, 2.0), (-20, 3), (True, False), crop)
    place = ImagePlace.as_measured(geometry, {'img_shape': (7, 7, 3), 'scale_factor': (9, 9)})
    # y: 3 + 2 H; x: 2 W - 20 - 2 * 5, where the crop begins.
    assert place.answer_shape == (2 * HEIGHT + 3, 2 * WIDTH - 30)
    entries = place.entries({'pad_param': (1, 2, 3, 4)})
    assert set(entries) == {'ori_shape', 'img_shape', 'scale_factor', 'pad_param'}
    assert entries['ori_shape'] == entries['img_shape'] == place.answer_shape
    assert (entries['scale_factor'], entries['pad_param'].tolist()) == ((1, 1), [0, 0, 0, 0])
    inside = torch.zeros(1, *place.answer_shape, dtype=torch.bool)
    inside[0, 9:15, 2:12] = True
    ids = torch.where(inside, 3, 7)
    found = Reader(CLASSES).read(
        sample(
            pred_instances=InstanceData(
                bboxes=torch.tensor([[2.0, 9, 12, 15]]), scores=torch.tensor([0.9]), labels=torch.tensor([1]),
                masks=inside,
            ),
            pred_sem_seg=PixelData(sem_seg=ids),
        ),
        place,
    )  # fmt: skip
    # y: (9 - 3) / 2; x: (2 W - 20 - u) / 2 = W - 10 - u / 2.
    expected = [WIDTH - 16, 3, WIDTH - 11, 6]
    assert found.boxes.tolist() == [expected]
    assert found.masks.windows.tolist() == [expected]
    assert found.masks.whole(0).sum() == 5 * 3
    numbers = found.segments.numbers
    assert (numbers[3:6, WIDTH - 16 : WIDTH - 11] == numbers[4, WIDTH - 12]).all()
    assert len(np.unique(numbers)) == 3  # the two classes, and nothing where the image was cut off
    assert len({*numbers[:, :5].ravel(), *numbers[:, WIDTH - 10 :].ravel()}) == 1


def test_panoptic_numbers_are_class_and_instance():
    ids = torch.full((1, HEIGHT, WIDTH), 10, dtype=torch.int32)  # one more than the classes: nothing
    ids[0, :5] = 7
    ids[0, 5:9, :10] = 1003
    ids[0, 5:9, 20:] = 2003
    found = read(pred_panoptic_seg=PixelData(sem_seg=ids))
    assert found.segments.labels == (7, 3, 3)
    assert found.count == '3 segments of 2 classes'
    assert found.segments.numbers[:5].tolist() == [[1] * WIDTH] * 5
    assert found.segments.numbers[6].tolist() == [2] * 10 + [0] * 10 + [3] * 10
    assert not found.segments.numbers[9:].any()
    assert len(found) == 0


def test_semantic_numbers_are_classes_and_255_is_nothing():
    ids = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    ids[0, 10:] = 255
    found = read(pred_sem_seg=PixelData(sem_seg=ids))
    assert (found.segments.kind, found.segments.labels, found.count) == ('semantic', (0,), '1 class')


def test_panoptic_and_instances_and_semantic_together():
    ids = torch.full((1, HEIGHT, WIDTH), 1003)
    found = read(
        pred_sem_seg=PixelData(sem_seg=ids % 1000),
        pred_panoptic_seg=PixelData(sem_seg=ids),
        pred_instances=instances(masks=MASKS),
    )
    assert found.segments.kind == 'panoptic'
    assert found.count == '1 segment of 1 class · 2 instances'


@pytest.mark.parametrize(
    ('results', 'said'),
    [
        ({}, 'no result that is drawn'),
        ({'pred_track_instances': InstanceData()}, 'track instances not drawn'),
        ({'pred_instances': instances(bboxes=torch.rand(3, 5))}, 'rotated boxes not drawn'),
        ({'pred_instances': instances(bboxes=torch.rand(3, 8))}, 'boxes of 8 numbers not drawn'),
        ({'pred_instances': instances(scores=None)}, 'boxes without scores not drawn'),
        ({'pred_instances': instances(masks=MASKS[:, :9])}, '2 detections · masks of another size not drawn'),
        ({'pred_instances': instances(keypoints=torch.rand(3, 17, 2))}, '2 detections · keypoints not drawn'),
        ({'pred_sem_seg': PixelData(sem_seg=torch.zeros(1, 5, 5))}, 'semantic result of another size not drawn'),
    ],
)
def test_what_is_not_drawn_is_named(results, said):
    assert read(**results).count == said


def test_proposals_are_called_so_and_have_no_class():
    class RPN(nn.Module):
        pass

    class Own(RPN):
        pass

    reader = Reader.of(Own(), CLASSES, ((1, 2, 3),), 0.3)
    found = reader.read(
        sample(pred_instances=instances(labels=torch.zeros(3, dtype=torch.long))), ImagePlace.as_told(WHOLE)
    )
    assert found.count == '2 proposals'
    assert found.name(0) == 'object'
    assert found.palette == ()
    assert Reader.of(nn.Identity(), CLASSES, (), 0.3).proposals is False
