"""Boxes, masks and object queries to original pixels, with values worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.test_models.test_outputs import CROPPED, FLIPPED, HEIGHT, LETTERBOXED, WHOLE, WIDTH, read

LABELLED = ('__background__', 'cat', 'dog')


def instances(*boxes, scores=None, **more):
    count = len(boxes)
    given = {
        'boxes': torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        'labels': torch.ones(count, dtype=torch.long),
        'scores': torch.full((count,), 0.9) if scores is None else torch.tensor(scores),
    }
    return [{**given, **more}]


def test_no_boxes_are_none_and_not_something_else():
    found = read(instances(), classes=LABELLED)
    assert found.count == '0 detections'
    assert found.boxes.shape == (0, 4)
    masked = read(instances(masks=torch.zeros(0, 1, HEIGHT, WIDTH)))
    assert (masked.count, len(masked.masks)) == ('0 instances', 0)


@pytest.mark.parametrize('labels', [torch.ones(3, dtype=torch.long), ['dot'], None])
def test_labels_that_are_of_other_boxes_are_of_no_known_kind(labels):
    assert read(instances((0, 0, 9, 9), labels=labels)) is None


@pytest.mark.parametrize(
    ('geometry', 'box', 'expected'),
    [
        (WHOLE, (1, 2, 30, 18), (1, 2, 30, 18)),
        (WHOLE, (-5, 2, 99, 18), (0, 2, 40, 18)),
        (LETTERBOXED, (10, 30, 50, 50), (5, 5, 25, 15)),
        (LETTERBOXED, (10, 0, 50, 50), (5, 0, 25, 15)),
        (FLIPPED, (10, 30, 50, 50), (15, 5, 35, 15)),
        (CROPPED, (0, 4, 5, 6), (10, 4, 15, 6)),
    ],
)
def test_boxes_are_those_of_the_original(geometry, box, expected):
    for output in (instances(box), ({'loss': torch.zeros(())}, instances(box))):
        found = read(output, geometry, classes=LABELLED)
        np.testing.assert_allclose(found.boxes, [expected])
        assert (found.name(0), found.count, found.boxed) == ('cat', '1 detection', True)
        assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)


def test_weak_ones_and_those_that_are_nowhere_are_left_out():
    boxes = [(0, 30, 9, 40), (0, 30, 8, 40), (0, 0, 9, 10), (0, np.nan, 9, 40), (0, 30, np.inf, 40)]
    output = instances(*boxes, scores=[0.3, 0.29, 0.9, 0.9, 0.9], keypoints=torch.zeros(5, 17, 3))
    found = read(output, LETTERBOXED, classes=LABELLED)
    np.testing.assert_allclose(found.boxes, [(0, 5, 4.5, 10)])
    assert found.count == '1 detection · keypoints not drawn'
    assert read(output, LETTERBOXED, score_thr=0.0).count.startswith('2 detections')


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    output = [
        {key: value.to(dtype) if key != 'labels' else value for key, value in instances((4, 8, 16, 32))[0].items()}
    ]
    found = read(output, WHOLE)
    assert found.boxes.tolist() == [[4, 8, 16, 20]]
    assert found.scores.dtype == np.float32


def test_masks_go_with_their_boxes():
    masks = torch.zeros(2, 1, 80, 80)
    masks[0, 0, 40:60, 0:20] = 0.5
    masks[0, 0, 20:40, 0:20] = 0.49
    masks[1] = 1
    found = read(instances((0, 40, 20, 60), (0, 20, 80, 60), scores=[0.9, 0.1], masks=masks), LETTERBOXED)
    assert (found.kind, found.count, len(found.masks)) == ('instance', '1 instance', 1)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[10:20, 0:10] = True
    np.testing.assert_array_equal(found.masks.whole(0), expected)
    flipped = read(instances((0, 40, 20, 60), masks=masks[:1, 0]), FLIPPED)
    np.testing.assert_array_equal(flipped.masks.whole(0), expected[:, ::-1])


def test_masks_of_another_size_are_not_drawn():
    found = read(instances((0, 2, 20, 18), masks=torch.ones(1, 1, 28, 28)))
    assert found.count == '1 detection · masks of another size not drawn'


def queries(*classes, boxes):
    logits = torch.tensor(classes, dtype=torch.float32).log()
    return SimpleNamespace(logits=logits[None], pred_boxes=torch.tensor([boxes]))


def test_queries_with_no_object_for_the_last_class():
    """DETR: the chances of cat, dog, fox and nothing."""
    output = queries(
        (0.1, 0.6, 0.1, 0.2), (0.1, 0.2, 0.1, 0.6), (0.5, 0.1, 0.1, 0.3),
        boxes=[(0.5, 0.5, 0.5, 0.25), (0.5, 0.5, 1.0, 1.0), (0.25, 0.5, 0.5, 0.5)],
    )  # fmt: skip
    found = read(output, LETTERBOXED)
    # 80 x 80: x 20 to 60 and y 30 to 50; x 0 to 40 and y 20 to 60.
    np.testing.assert_allclose(found.boxes, [(10, 5, 30, 15), (0, 0, 20, 20)], atol=1e-5)
    np.testing.assert_allclose(found.scores, [0.6, 0.5], rtol=1e-6)
    assert (found.labels.tolist(), found.kind) == ([1, 0], 'detection')
    np.testing.assert_allclose(read(output, FLIPPED).boxes, [(10, 5, 30, 15), (20, 0, 40, 20)], atol=1e-5)
    half = SimpleNamespace(logits=output.logits.half(), pred_boxes=output.pred_boxes.bfloat16())
    np.testing.assert_allclose(read(half, LETTERBOXED).boxes, found.boxes, atol=0.2)
    told = read(output, LETTERBOXED, classes=(), scores='softmax')
    assert told.labels.tolist() == [1, 0]
    assert read(output, LETTERBOXED, classes=()) is None


def test_queries_whose_classes_are_each_by_itself():
    """Deformable DETR and RT-DETR: as many as there are queries, and one may be taken for two classes."""
    chances = torch.tensor([[[0.9, 0.1, 0.8], [0.2, 0.7, 0.1]]])
    output = {'logits': chances.logit(), 'pred_boxes': torch.tensor([[(0.5, 0.5, 1.0, 0.5), (0.25, 0.5, 0.5, 0.5)]])}
    found = read(output, WHOLE)
    np.testing.assert_allclose(found.scores, [0.9, 0.8], rtol=1e-5)
    assert found.labels.tolist() == [0, 2]
    np.testing.assert_allclose(found.boxes, [(0, 5, 40, 15)] * 2, atol=1e-5)
    masked = read({**output, 'pred_masks': torch.zeros(1, 2, 5, 5)}, WHOLE)
    assert masked.count == '2 detections · masks not drawn'
