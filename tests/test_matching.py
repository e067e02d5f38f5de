"""Detections against ground truth: small cases by hand, many at random against COCO's own evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.matching import Match, match, overlap
from featmap.structures import Detections, GroundTruth

A, B, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (70, 70, 80, 80)
A_HALF, A_LESS = (0, 0, 10, 5), (0, 0, 10, 4.9)  # overlap A by a half, and by less


def truth(*boxes, labels=None, crowd=(), ignored=(), **options) -> GroundTruth:
    count = len(boxes)
    flags = [np.isin(np.arange(count), which) for which in (crowd, ignored)]
    labels = [0] * count if labels is None else labels
    return GroundTruth(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), *flags, **options)


def found(*boxes, scores=None, labels=None) -> Detections:
    count = len(boxes)
    scores = [0.9 - 0.1 * number for number in range(count)] if scores is None else scores
    labels = [0] * count if labels is None else labels
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
    )


def numbers(result: Match) -> tuple[list[int], list[int], list[int]]:
    return result.found.tolist(), result.missed.tolist(), result.false.tolist()


@pytest.mark.parametrize(
    ('detections', 'labelled', 'expected', 'count'),
    [
        (found(), truth(), ([], [], []), '0 found · 0 missed · 0 false'),
        (found(), truth(A), ([], [0], []), '0 found · 1 missed · 0 false'),
        (found(A), truth(), ([], [], [0]), '0 found · 0 missed · 1 false'),
        (found(A, FAR), truth(A, B), ([0], [1], [1]), '1 found · 1 missed · 1 false'),
        (found(A_HALF), truth(A), ([0], [], []), '1 found · 0 missed · 0 false'),
        (found(A_LESS), truth(A), ([], [0], [0]), '0 found · 1 missed · 1 false'),
        # Of another class.
        (found(A, labels=[1]), truth(A), ([], [0], [0]), '0 found · 1 missed · 1 false'),
        # Twice the same: the better one has it, whatever the order.
        (found(A, A_HALF, scores=[0.3, 0.8]), truth(A), ([1], [], [0]), '1 found · 0 missed · 1 false'),
        # The better detection takes the box that it overlaps most, and leaves the other.
        (found(A, A_HALF), truth(A_HALF, A), ([0, 1], [], []), '2 found · 0 missed · 0 false'),
        # An ignored box takes a detection out of the count, once; a crowd as many as there are.
        (found(A, A), truth(A, ignored=[0]), ([], [], [1]), '0 found · 0 missed · 1 false · 1 ignored'),
        (found(A, A, FAR), truth(A, crowd=[0]), ([], [], [2]), '0 found · 0 missed · 1 false · 1 ignored'),
        # A detection in a large crowd overlaps it by its own share.
        (found(A), truth((0, 0, 100, 100), crowd=[0]), ([], [], []), '0 found · 0 missed · 0 false · 1 ignored'),
        # An object goes before an ignored box that is overlapped more.
        (found(A), truth(A, A_HALF, ignored=[0]), ([0], [], []), '1 found · 0 missed · 0 false · 1 ignored'),
        (found(A), truth(A, left_out=3), ([0], [], []),
         '1 found · 0 missed · 0 false · 3 of classes unknown to the model'),
    ],
)  # fmt: skip
def test_by_hand(detections, labelled, expected, count):
    result = match(detections, labelled)
    assert numbers(result) == expected
    assert result.count == count


def test_overlaps():
    boxes, others = np.array([A, FAR], np.float32), np.array([A, A_HALF, (5, 0, 15, 10), (3, 3, 3, 3)], np.float32)
    expected = [[1, 0.5, 50 / 150, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(overlap(boxes, others, np.zeros(4, bool)), expected)
    np.testing.assert_allclose(overlap(boxes, others, np.array([0, 1, 1, 1], bool))[0], [1, 0.5, 0.5, 0])


def coco_counts(detections: Detections, labelled: GroundTruth) -> tuple[int, int, int]:
    """Found, missed and false by pycocotools at an IoU of 0.5."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entries(boxes, labels, **more):
        listed = {name: np.asarray(values).tolist() for name, values in more.items()}
        for number, ((x, y, x2, y2), label) in enumerate(zip(boxes.tolist(), labels.tolist())):
            # fmt: off
            yield {'id': number + 1, 'image_id': 1, 'category_id': label, 'bbox': [x, y, x2 - x, y2 - y],
                   'area': (x2 - x) * (y2 - y), **{name: values[number] for name, values in listed.items()}}
            # fmt: on

    known = COCO()
    known.dataset = {
        'images': [{'id': 1}],
        'categories': [{'id': 0}, {'id': 1}],
        'annotations': list(entries(labelled.boxes, labelled.labels, iscrowd=labelled.crowd.astype(int))),
    }
    known.createIndex()
    results = COCO()
    results.dataset = {**known.dataset, 'annotations': list(
        entries(detections.boxes, detections.labels, score=detections.scores))}  # fmt: skip
    results.createIndex()
    judge = COCOeval(known, results, 'bbox')
    judge._prepare()
    judge.params.iouThrs = np.array([0.5])
    judge.ious = {(1, label): judge.computeIoU(1, label) for label in (0, 1)}
    hit = missed = false = 0
    for label in (0, 1):
        image = judge.evaluateImg(1, label, [0, 1e10], 100)
        if image is not None:
            counted = ~image['dtIgnore'][0].astype(bool)
            hit += int((image['dtMatches'][0][counted] > 0).sum())
            false += int((image['dtMatches'][0][counted] == 0).sum())
            missed += int((image['gtMatches'][0][~np.asarray(image['gtIgnore'], bool)] == 0).sum())
    return hit, missed, false


def test_as_coco_evaluates():
    rng = np.random.default_rng(0)
    seen = np.zeros(3, int)
    for _ in range(150):
        count = int(rng.integers(1, 9))
        corners = rng.uniform(0, 30, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 20, (count, 2))], axis=1).astype(np.float32)
        labelled = truth(
            *boxes, labels=rng.integers(0, 2, count), crowd=np.flatnonzero(rng.random(count) < 0.2).tolist()
        )
        chosen = rng.integers(0, count, int(rng.integers(1, 14)))
        moved = boxes[chosen] + rng.normal(0, 1.5, (len(chosen), 4)).astype(np.float32)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        detections = found(
            *moved,
            labels=np.where(rng.random(len(chosen)) < 0.8, labelled.labels[chosen], 1 - labelled.labels[chosen]),
            scores=rng.permutation(len(chosen)) / 20 + 0.1,
        )
        result = match(detections, labelled)
        ours = len(result.found), len(result.missed), len(result.false)
        assert ours == coco_counts(detections, labelled)
        seen += ours
    assert (seen > 100).all()
