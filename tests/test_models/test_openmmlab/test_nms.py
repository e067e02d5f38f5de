"""Non-maximum suppression against its definition, written out as loops over numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featmap.errors import MissingPackageError
from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.models.openmmlab.ops import nms as nms_module_function
from featmap.models.openmmlab.ops.nms import nms

STAND_IN = ensure_ops()


def reference(boxes, scores, threshold, offset=0):
    """Indices that greedy suppression keeps, in single precision as the compiled op has it."""
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    threshold, offset, zero = np.float32(threshold), np.float32(offset), np.float32(0)
    order = sorted(range(len(boxes)), key=lambda i: -float(scores[i]))
    kept: list[int] = []
    with np.errstate(invalid='ignore', divide='ignore'):
        for j in order:
            bx1, by1, bx2, by2 = boxes[j]
            for i in kept:
                ax1, ay1, ax2, ay2 = boxes[i]
                w = max(zero, min(ax2, bx2) - max(ax1, bx1) + offset)
                h = max(zero, min(ay2, by2) - max(ay1, by1) + offset)
                area_a = (ax2 - ax1 + offset) * (ay2 - ay1 + offset)
                area_b = (bx2 - bx1 + offset) * (by2 - by1 + offset)
                if w * h / (area_a + area_b - w * h) > threshold:
                    break
            else:
                kept.append(j)
    return kept


def run(boxes, scores, threshold, offset=0):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    kept = nms(boxes, torch.as_tensor(scores, dtype=torch.float32), threshold, offset)
    assert kept.dtype == torch.int64
    return kept.tolist()


def random_boxes(count, seed=0, extent=100.0, largest=40.0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-10, extent, (count, 2))
    size = rng.uniform(0, largest, (count, 2))
    return np.concatenate([corner, corner + size], 1).astype(np.float32)


@pytest.fixture(params=[(512, 32), (8, 3), (1, 1)], ids='block{0[0]}'.format)
def block(request, monkeypatch):
    """Run with blocks so small that a few dozen boxes go through every path."""
    monkeypatch.setitem(nms.__globals__, 'BLOCK', request.param[0])
    monkeypatch.setitem(nms.__globals__, 'GROUP', request.param[1])


def test_no_boxes():
    kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5, 0)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


@pytest.mark.parametrize(
    ('boxes', 'scores', 'threshold', 'offset', 'expected'),
    [
        pytest.param([[0, 0, 4, 4]], [0.0], 0.5, 0, [0], id='score-zero-is-kept'),
        pytest.param([[3, 3, 3, 3]] * 2, [0.1, 0.2], 0.5, 0, [1, 0], id='no-area-no-overlap'),
        pytest.param([[3, 3, 3, 3]] * 2, [0.1, 0.2], 0.5, 1, [1], id='a-pixel-with-offset'),
        pytest.param([[0, 0, 4, 4]] * 3, [0.2, 0.9, 0.5], 0.5, 0, [1], id='identical'),
        pytest.param([[0, 0, 4, 4]] * 3, [0.2, 0.9, 0.5], 1.0, 0, [1, 2, 0], id='identical-at-1'),
        pytest.param([[0, 0, 4, 4], [9, 9, 12, 12]], [1, 1], 0.5, 0, [0, 1], id='tie-apart'),
        pytest.param([[0, 0, 4, 4], [0, 0, 4, 5]], [1, 1], 0.5, 0, [0], id='tie-first-wins'),
        pytest.param([[0, 0, 4, 4], [0, 0, 4, 2]], [2, 1], 0.5, 0, [0, 1], id='equal-is-not-above'),
        pytest.param([[0, 0, 4, 4], [0, 0, 4, 2]], [2, 1], 0.49, 0, [0], id='above'),
        pytest.param([[0, 0, 3, 3], [0, 2, 3, 3]], [2, 1], 0.49, 1, [0], id='offset-counts-pixels'),
        pytest.param([[0, 0, 4, 4], [4, 0, 8, 4]], [2, 1], 0.0, 0, [0, 1], id='touching-at-zero'),
        pytest.param([[0, 0, 4, 4], [3, 3, 8, 8]], [2, 1], 0.0, 0, [0], id='overlapping-at-zero'),
        pytest.param([[0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4]], [3, 2, 1], 0.3, 0, [0, 2], id='chain'),
        pytest.param([[4, 4, 0, 0], [0, 0, 4, 4]], [2, 1], 0.1, 0, [0, 1], id='inverted-corners'),
        pytest.param([[0, 0, 4, 4], [50, 0, 54, 4]], [2, 1], -0.5, 0, [0], id='threshold-below-zero'),
        pytest.param([[-9, -9, -5, -5], [-9, -9, -5, -4]], [1, 2], 0.5, 0, [1], id='left-of-the-image'),
        pytest.param([[0, 0, 4, 4], [float('nan')] * 4], [1, 2], 0.5, 0, [1, 0], id='not-a-number'),
    ],
)
def test_literal_cases(boxes, scores, threshold, offset, expected, block):
    assert run(boxes, scores, threshold, offset) == expected


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.0, 0.1, 0.45, 0.7, 0.95, -0.1])
def test_random_boxes(threshold, offset, block):
    boxes = random_boxes(90, seed=int(threshold * 100) + offset + 20)
    scores = np.random.default_rng(1).random(90).astype(np.float32)
    assert run(boxes, scores, threshold, offset) == reference(boxes, scores, threshold, offset)


@pytest.mark.parametrize('swap', [False, True])
def test_sizes_from_flat_to_huge(swap, block):
    rng = np.random.default_rng(4)
    center = rng.uniform(0, 300, (80, 2))
    size = 10 ** rng.uniform(-2, 3, (80, 2)) * [1, 0.01]
    size[:5, 0], size[5:10, 1] = 0, 0
    boxes = np.concatenate([center - size / 2, center + size / 2], 1).astype(np.float32)
    boxes[10:40] = boxes[40:70] * np.float32(1.01)
    if swap:
        boxes = boxes[:, [1, 0, 3, 2]]
    scores = rng.random(80).astype(np.float32)
    for threshold in (0.05, 0.5, 0.8):
        assert run(boxes, scores, threshold) == reference(boxes, scores, threshold)


def test_tied_scores_keep_the_input_order(block):
    boxes = random_boxes(60, seed=3, largest=60)
    scores = np.random.default_rng(3).integers(0, 3, 60) / 2
    assert run(boxes, scores, 0.4) == reference(boxes, scores, 0.4)


def test_several_full_blocks():
    grid = np.random.default_rng(5).integers(0, 60, (1300, 2))
    size = np.random.default_rng(6).integers(4, 12, (1300, 2))
    boxes = np.concatenate([grid, grid + size], 1)
    scores = np.random.default_rng(7).permutation(1300) / 1300
    assert run(boxes, scores, 0.5) == reference(boxes, scores, 0.5)


def test_chain_in_which_each_box_overlaps_the_next(block):
    left = np.arange(70, dtype=np.float32)
    boxes = np.stack([left, left * 0, left + 4, left * 0 + 4], 1)
    assert run(boxes, -left, 0.5) == list(range(0, 70, 2))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_other_number_types_are_computed_in_full_precision(dtype):
    boxes = torch.tensor([[0, 0, 200, 200], [0, 0, 200, 100], [0, 0, 200, 99]]).to(dtype)
    # The areas overflow half precision; with them an IoU would not be a number.
    assert nms(boxes, torch.tensor([3.0, 2.0, 1.0]), 0.6, 0).tolist() == [0, 1]


def test_needs_no_gradient():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]], requires_grad=True)
    assert nms(boxes, torch.tensor([1.0, 2.0]), 0.5, 0).tolist() == [1]


def test_mmcv_nms_with_its_own_filters():
    from mmcv.ops import nms as mmcv_nms

    boxes = random_boxes(50, seed=8)
    scores = np.random.default_rng(8).random(50).astype(np.float32)
    kept = [i for i in reference(boxes, scores, 0.3) if scores[i] > 0.4][:5]
    detections, indices = mmcv_nms(boxes, scores, 0.3, score_threshold=0.4, max_num=5)
    assert indices.tolist() == kept
    assert np.array_equal(detections, np.concatenate([boxes, scores[:, None]], 1)[kept])


@pytest.mark.parametrize('split_thr', [10000, 10])
def test_mmcv_batched_nms_keeps_classes_apart(split_thr):
    from mmcv.ops import batched_nms

    boxes = np.round(random_boxes(40, seed=9, largest=60)).clip(0)
    scores = np.random.default_rng(9).permutation(40).astype(np.float32) / 40
    classes = np.random.default_rng(10).integers(0, 3, 40)
    expected = []
    for one in range(3):
        members = np.flatnonzero(classes == one)
        expected += members[reference(boxes[members], scores[members], 0.5)].tolist()
    config = {'type': 'nms', 'iou_threshold': 0.5, 'split_thr': split_thr}
    detections, kept = batched_nms(*map(torch.from_numpy, (boxes, scores, classes)), config)
    assert kept.tolist() == sorted(expected, key=lambda i: -scores[i])
    assert np.array_equal(detections[:, 4].numpy(), scores[kept.numpy()])


@pytest.mark.skipif(not STAND_IN, reason='mmcv has its compiled ops here; runs with mmcv-lite')
def test_soft_nms_is_named_as_missing():
    from mmcv.ops import soft_nms

    with pytest.raises(MissingPackageError, match="'softnms'"):
        soft_nms(torch.zeros(1, 4), torch.ones(1))


def test_the_package_exports_it():
    assert nms_module_function is nms
