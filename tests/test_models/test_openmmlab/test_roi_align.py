"""RoIAlign against its definition, written out as loops over numbers."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.models.openmmlab.ops import roi_align_forward

ensure_ops()

MODES = {'max': 0, 'avg': 1}


def bilinear(plane, y, x):
    """The value of a plane, a list of rows, between its cells."""
    height, width = len(plane), len(plane[0])
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    above = plane[top][left] * (left + 1 - x) + plane[top][right] * (x - left)
    below = plane[bottom][left] * (left + 1 - x) + plane[bottom][right] * (x - left)
    return above * (top + 1 - y) + below * (y - top)


def reference(features, rois, bins, scale, ratio, mode, aligned):
    """(R, C, rows, columns), and for the maximum its y and x, or zeros."""
    rows, columns = bins
    shape = (len(rois), features.shape[1], rows, columns)
    out, at_y, at_x = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    planes = features.tolist()
    for r, (image, *corners) in enumerate(np.asarray(rois).tolist()):
        x1, y1, x2, y2 = (value * scale - (0.5 if aligned else 0.0) for value in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        step_x, step_y = width / columns, height / rows
        across = ratio if ratio > 0 else max(0, math.ceil(step_x))
        down = ratio if ratio > 0 else max(0, math.ceil(step_y))
        for c, i, j in product(range(shape[1]), range(rows), range(columns)):
            best, total = (-10000.0, -1.0, -1.0), 0.0
            for a, b in product(range(down), range(across)):
                y = y1 + i * step_y + (a + 0.5) * step_y / down
                x = x1 + j * step_x + (b + 0.5) * step_x / across
                value = bilinear(planes[int(image)][c], y, x)
                total += value
                if value > best[0]:
                    best = (value, y, x)
            if mode == 'max':
                out[r, c, i, j], at_y[r, c, i, j], at_x[r, c, i, j] = best
            else:
                out[r, c, i, j] = total / max(1, down * across)
    return out, at_y, at_x


def run(features, rois, bins, scale=1.0, ratio=0, mode='avg', aligned=True):
    shape = (len(rois), features.shape[1], *bins)
    out = features.new_full(shape, math.nan)
    at_y, at_x = (features.new_zeros(shape if mode == 'max' else 0) for _ in range(2))
    keywords = {
        'aligned_height': bins[0],
        'aligned_width': bins[1],
        'spatial_scale': scale,
        'sampling_ratio': ratio,
        'pool_mode': MODES[mode],
        'aligned': aligned,
    }
    assert roi_align_forward(features, rois, out, at_y, at_x, **keywords) is None
    return out, at_y, at_x


def features_of(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


# On a map of 7 x 9 cells of 4 pixels each.
ROIS = [
    [0, 4, 4, 24, 20],
    [1, 0, 0, 36, 28],
    [1, 3.25, 5.5, 7.75, 27],
    [0, 1, 2, 1, 2],
    [1, 8, 8, 8, 20],
    [0, -30, -20, 10, 12],
    [0, 30, 20, 70, 60],
    [1, 100, 100, 140, 120],
    [0, -80, -80, -40, -44],
    [1, -50, -50, 90, 80],
    [0, 5.3, 6.1, 6.4, 7.2],
]


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('ratio', [0, 1, 2])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('bins', [(2, 3), (1, 1)], ids=str)
def test_all_modes(mode, ratio, aligned, bins):
    features, rois = features_of(2, 3, 7, 9), torch.tensor(ROIS, dtype=torch.float64)
    out, at_y, at_x = run(features, rois, bins, 0.25, ratio, mode, aligned)
    expected = reference(features, rois, bins, 0.25, ratio, mode, aligned)
    np.testing.assert_allclose(out, expected[0], rtol=0, atol=1e-10)
    if mode == 'max':
        np.testing.assert_allclose(at_y, expected[1], rtol=0, atol=1e-10)
        np.testing.assert_allclose(at_x, expected[2], rtol=0, atol=1e-10)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('scale', [1.0, 0.5, 1 / 16, 2.0])
def test_scales(mode, scale):
    rng = np.random.default_rng(1)
    corner, size = rng.uniform(-2, 10, (6, 2)), rng.uniform(0, 9, (6, 2))
    rois = np.concatenate([np.zeros((6, 1)), np.concatenate([corner, corner + size], 1) / scale], 1)
    features = features_of(1, 2, 8, 11)
    out, *_ = run(features, torch.from_numpy(rois), (3, 3), scale, 0, mode)
    expected, *_ = reference(features, rois, (3, 3), scale, 0, mode, True)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('mode', MODES)
def test_chunks_do_not_change_the_result(mode, monkeypatch):
    features, rois = features_of(2, 5, 7, 9), torch.tensor(ROIS * 2, dtype=torch.float64)
    whole, *_ = run(features, rois, (4, 4), 0.25, 2, mode)
    monkeypatch.setitem(roi_align_forward.__globals__, 'CHUNK', 1)
    torch.testing.assert_close(run(features, rois, (4, 4), 0.25, 2, mode)[0], whole)


def test_no_rois():
    out, *_ = run(features_of(1, 2, 4, 4), torch.zeros(0, 5, dtype=torch.float64), (7, 7))
    assert out.shape == (0, 2, 7, 7)


@pytest.mark.parametrize(('mode', 'expected'), [('avg', 0.0), ('max', -10000.0)])
def test_a_roi_without_area_has_no_samples(mode, expected):
    roi = torch.tensor([[0, 1.0, 1, 1, 3], [0, 3, 3, 1, 1], [0, math.nan, 0, 1, 1]])
    out, at_y, _ = run(torch.ones(1, 2, 4, 4), roi, (2, 2), mode=mode)
    assert torch.equal(out, torch.full((3, 2, 2, 2), expected))
    assert at_y.eq(-1).all()


def test_a_ramp_is_sampled_where_the_bins_lie():
    ramp = torch.arange(8.0).expand(1, 1, 6, 8)
    roi = torch.tensor([[0, 1.0, 1, 5, 5]])
    assert run(ramp, roi, (1, 4))[0].flatten().tolist() == [1, 2, 3, 4]
    assert run(ramp, roi, (1, 4), aligned=False)[0].flatten().tolist() == [1.5, 2.5, 3.5, 4.5]


def test_the_first_of_equal_maxima_is_reported():
    _, at_y, at_x = run(torch.ones(1, 1, 6, 6), torch.tensor([[0, 1.0, 1, 5, 5]]), (1, 1), mode='max')
    assert (at_y.item(), at_x.item()) == (1.0, 1.0)


def test_a_map_of_one_cell():
    out, *_ = run(torch.full((1, 1, 1, 1), 3.0), torch.tensor([[0, 0.0, 0, 1, 1]]), (2, 2))
    assert out.flatten().tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision_is_computed_in_float32(dtype, mode):
    features = features_of(2, 3, 7, 9, dtype=torch.float32).to(dtype)
    rois = torch.tensor(ROIS)
    out, *_ = run(features, rois, (2, 2), 0.25, 0, mode)
    expected, *_ = reference(features.double(), rois, (2, 2), 0.25, 0, mode, True)
    assert out.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    filled = expected > -10000
    np.testing.assert_allclose(out.double().numpy()[filled], expected[filled], rtol=tolerance, atol=tolerance)


def test_strided_features():
    features, rois = features_of(2, 3, 7, 9), torch.tensor(ROIS, dtype=torch.float64)
    same = features.contiguous(memory_format=torch.channels_last)
    assert torch.equal(run(same, rois, (2, 2), 0.25)[0], run(features, rois, (2, 2), 0.25)[0])


@pytest.mark.parametrize('mode', MODES)
def test_mmcv_layer(mode):
    from mmcv.ops import RoIAlign

    features, rois = features_of(2, 3, 7, 9).float(), torch.tensor(ROIS)[[0, 1, 2, 5, 6]]
    layer = RoIAlign((3, 2), 0.25, 0, pool_mode=mode)
    expected, *_ = reference(features, rois, (3, 2), 0.25, 0, mode, True)
    features.requires_grad_()
    np.testing.assert_allclose(layer(features, rois).detach(), expected, rtol=0, atol=1e-5)
