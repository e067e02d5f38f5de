"""Detections against ground truth, matched as COCO's evaluation matches them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featmap.structures import Detections, GroundTruth

LEAST_IOU = 0.5
"""Intersection over union from which a detection has found an object."""


@dataclass(frozen=True)
class Match:
    """Which object each detection has found.

    Attributes:
        truth: What the image is labelled with.
        detections: What the model found.
        of_detection: (D,) the box of the ground truth that a detection is matched with, or -1.
    """

    truth: GroundTruth
    detections: Detections
    of_detection: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """Detections that have found an object, best first; those that fell on an ignored box are not among them."""
        return self._best_first((self.of_detection >= 0) & ~self._on_ignored)

    @property
    def false(self) -> np.ndarray:
        """Detections of nothing, best first."""
        return self._best_first(self.of_detection < 0)

    @property
    def missed(self) -> np.ndarray:
        """Boxes of the ground truth that no detection has found; ignored ones are not among them."""
        hit = np.zeros(len(self.truth), bool)
        hit[self.of_detection[self.of_detection >= 0]] = True
        return np.flatnonzero(~hit & ~_uncounted(self.truth))

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many were found, missed, and are false."""
        return len(self.found), len(self.missed), len(self.false)

    @property
    def count(self) -> str:
        """How many of each, for a label."""
        parts = [f'{number} {what}' for number, what in zip(self.counts, ('found', 'missed', 'false'))]
        return ' · '.join([*parts, *self.rest])

    @property
    def rest(self) -> tuple[str, ...]:
        """How many boxes of the ground truth are out of the count, and why."""
        ignored, left_out = int(_uncounted(self.truth).sum()), self.truth.left_out
        return (
            *([f'{ignored} ignored'] if ignored else []),
            *([f'{left_out} of classes unknown to the model'] if left_out else []),
        )

    @property
    def _on_ignored(self) -> np.ndarray:
        flags = np.append(_uncounted(self.truth), False)
        return flags[self.of_detection]

    def _best_first(self, chosen: np.ndarray) -> np.ndarray:
        numbers = np.flatnonzero(chosen)
        return numbers[np.argsort(-self.detections.scores[numbers], kind='stable')]


def match(detections: Detections, truth: GroundTruth, least: float = LEAST_IOU) -> Match:
    """Match greedily: the best detection first chooses, within its class, the free object that it overlaps most.

    A detection that overlaps no free object by ``least`` may fall on an ignored one, and then counts as nothing. A
    crowd takes any number of detections; what counts for it is the share of the detection that lies in it. The rules
    are those of COCO's evaluation (https://cocodataset.org/#detection-eval), without its limit of 100 detections.
    """
    of_detection = np.full(len(detections), -1, np.int64)
    uncounted = _uncounted(truth)
    for label in np.unique(detections.labels):
        theirs = np.flatnonzero(truth.labels == label)
        theirs = theirs[np.argsort(uncounted[theirs], kind='stable')]
        ours = np.flatnonzero(detections.labels == label)
        ours = ours[np.argsort(-detections.scores[ours], kind='stable')]
        overlaps = overlap(detections.boxes[ours], truth.boxes[theirs], truth.crowd[theirs])
        taken = np.zeros(len(theirs), bool)
        for row, detection in zip(overlaps, ours):
            best, chosen = min(least, 1 - 1e-10), -1
            for place, box in enumerate(theirs):
                if taken[place] and not truth.crowd[box]:
                    continue
                if chosen >= 0 and not uncounted[theirs[chosen]] and uncounted[box]:
                    break  # an object was found: ignored boxes, which come last, are none of its business
                if row[place] >= best:
                    best, chosen = row[place], place
            if chosen >= 0:
                taken[chosen] = True
                of_detection[detection] = theirs[chosen]
    return Match(truth, detections, of_detection)


def overlap(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4); over the first box alone where ``crowd`` (M,)."""
    boxes, others = boxes.astype(np.float64), others.astype(np.float64)
    start = np.maximum(boxes[:, None, :2], others[None, :, :2])
    end = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.maximum(end - start, 0).prod(axis=-1)
    areas, other_areas = _area(boxes)[:, None], _area(others)[None]
    whole = np.where(crowd[None], areas, areas + other_areas - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _uncounted(truth: GroundTruth) -> np.ndarray:
    return truth.ignored | truth.crowd
