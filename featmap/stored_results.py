"""A model's results among the arrays of a file, and in the JSON file beside it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from featmap.arrays import to_array
from featmap.classification import Classification
from featmap.masks import Masks, Segments
from featmap.structures import Detections, GroundTruth

_NUMBERS = ('boxes', 'scores', 'labels')
_FAR = 1 << 24  # pixels
_TRUTH = {'boxes': np.float32, 'labels': np.int64, 'crowd': bool, 'ignored': bool}


def results_entry(detections: Detections | None, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """What stands in the JSON file; ``arrays`` is added to.

    The arrays are read back, exact; the numbers in the JSON file are for people.
    """
    if detections is None:
        return None
    entry: dict[str, Any] = {
        name: getattr(detections, name) for name in ('classes', 'palette', 'kind', 'boxed', 'undrawn')
    }
    for name in _NUMBERS:
        arrays[name] = to_array(getattr(detections, name))
        entry[name] = arrays[name].tolist()
    if detections.masks is not None:
        arrays['mask_windows'], arrays['mask_bits'] = detections.masks.windows, detections.masks.bits
    entry['masks'] = detections.masks is not None
    segments = detections.segments
    entry['segments'] = None
    if segments is not None:
        # Whole regions of one number: a hundredth of it is left.
        packed = zlib.compress(np.ascontiguousarray(segments.numbers).tobytes(), 6)
        arrays['segments'] = np.frombuffer(packed, np.uint8)
        entry['segments'] = {
            'kind': segments.kind,
            'labels': segments.labels,
            'type': segments.numbers.dtype.name,
            'coding': 'zlib',
        }
    best = detections.classification
    entry['classification'] = None
    if best is not None:
        # JSON holds float32 exactly.
        numbers = {'labels': best.labels.tolist(), 'scores': best.scores.tolist()}
        entry['classification'] = {**numbers, 'kind': best.kind, 'of': best.of}
    return entry


def results_of(
    entry: dict[str, Any] | None, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]
) -> Detections | None:
    """The results of an image of this height and width, as :func:`results_entry` wrote them.

    Raises:
        ValueError: where they do not go together, or are of another image. KeyError, TypeError for an entry of
            another form.
    """
    if entry is None:
        return None
    boxes, scores, labels = (arrays[name] for name in _NUMBERS)
    count = scores.size
    if boxes.shape != (count, 4) or scores.shape != (count,) or labels.shape != (count,):
        raise ValueError(f'boxes {boxes.shape}, scores {scores.shape} and labels {labels.shape} of one detector')
    if labels.dtype.kind not in 'iu' or boxes.dtype.kind != 'f' or scores.dtype.kind != 'f':
        raise ValueError(f'boxes of {boxes.dtype}, scores of {scores.dtype} and labels of {labels.dtype}')
    if not np.isfinite(scores).all() or not (np.abs(boxes) < _FAR).all() or (labels < 0).any():
        raise ValueError('boxes, scores or labels that no detector puts out')
    masks = None
    if entry.get('masks'):
        masks = Masks(shape, arrays['mask_windows'], arrays['mask_bits'])
        if len(masks) != count:
            raise ValueError(f'{len(masks)} masks for {count} instances')
    return Detections(
        boxes,
        scores,
        labels,
        tuple(str(name) for name in entry['classes']),
        tuple(_color(color) for color in entry.get('palette', ())),
        masks,
        _segments(entry.get('segments'), arrays, shape),
        str(entry.get('kind', 'detection')),
        bool(entry.get('boxed', True)),
        tuple(str(what) for what in entry.get('undrawn', ())),
        _classification(entry.get('classification')),
    )


def _classification(entry: dict[str, Any] | None) -> Classification | None:
    if entry is None:
        return None
    labels, scores = np.array(entry['labels'], np.int64), np.array(entry['scores'], np.float32)
    return Classification(labels, scores, str(entry['kind']), int(entry['of']))


def _segments(
    entry: dict[str, Any] | None, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]
) -> Segments | None:
    if entry is None:
        return None
    kind = {'uint8': np.uint8, 'uint16': np.uint16}[entry['type']]
    size = shape[0] * shape[1] * np.dtype(kind).itemsize
    try:
        # No more than it should be, however small the file is.
        data = zlib.decompressobj().decompress(arrays['segments'].tobytes(), size + 1)
    except zlib.error as error:
        raise ValueError(f'segments that cannot be decompressed: {error}') from error
    if entry['coding'] != 'zlib' or len(data) != size:
        raise ValueError(f'segments of {len(data)} bytes for an image of {shape[0]}x{shape[1]}')
    labels = tuple(int(label) for label in entry['labels'])
    return Segments(np.frombuffer(data, kind).reshape(shape), labels, str(entry['kind']))


def _color(given: Any) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in given)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f'a colour of {given}')
    return red, green, blue


def truth_entry(truth: GroundTruth | None) -> dict[str, Any] | None:
    """Ground truth in the JSON file; boxes are float32, which its numbers hold exactly."""
    if truth is None:
        return None
    return {**{name: getattr(truth, name).tolist() for name in _TRUTH}, 'left_out': truth.left_out}


def truth_of(entry: dict[str, Any] | None) -> GroundTruth | None:
    """Ground truth as :func:`truth_entry` wrote it; None for none.

    Raises:
        ValueError: where it does not go together. KeyError, TypeError for an entry of another form.
    """
    if entry is None:
        return None
    boxes, labels, crowd, ignored = (np.array(entry[name], kind) for name, kind in _TRUTH.items())
    boxes = boxes.reshape(-1, 4)
    if any(column.shape != (len(boxes),) for column in (labels, crowd, ignored)) or not np.isfinite(boxes).all():
        raise ValueError(f'ground truth of {len(boxes)} boxes and {labels.shape} labels')
    return GroundTruth(boxes, labels, crowd, ignored, int(entry['left_out']))
