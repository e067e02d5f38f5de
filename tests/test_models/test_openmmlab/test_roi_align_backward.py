"""Gradients of RoIAlign: against differences of the forward, and against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.models.openmmlab.ops import roi_align_forward
from tests.test_models.test_openmmlab.test_roi_align import MODES, ROIS, features_of

ensure_ops()


def rois_of(dtype=torch.float64):
    return torch.tensor(ROIS, dtype=dtype)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('bins', [(2, 3), (1, 1)], ids=str)
def test_all_modes(mode, ratio, aligned, bins):
    from mmcv.ops import roi_align

    features = features_of(2, 3, 7, 9).requires_grad_()
    assert gradcheck(
        lambda given: roi_align(given, rois_of(), bins, 0.25, ratio, mode, aligned), features, fast_mode=True
    )


def test_the_mean_of_four_samples():
    from mmcv.ops import roi_align

    features = torch.zeros(1, 1, 3, 4, requires_grad=True)
    # One bin of two cells by one, sampled at x = 0.5, 1.5 and y = 0.25, 0.75 in cells.
    pooled = roi_align(features, torch.tensor([[0, 0.5, 0.5, 2.5, 1.5]]), (1, 1), 1.0, 2, 'avg', True)
    found = torch.autograd.grad(pooled.sum(), features)[0][0, 0]
    assert found.tolist() == [[0.125, 0.25, 0.125, 0], [0.125, 0.25, 0.125, 0], [0, 0, 0, 0]]


def test_the_maximum_of_four_samples():
    from mmcv.ops import roi_align

    features = torch.tensor([[0.0, 0, 0, 0], [0, 0, 8, 0], [0, 0, 0, 0]]).view(1, 1, 3, 4).requires_grad_()
    pooled = roi_align(features, torch.tensor([[0, 0.5, 0.5, 2.5, 1.5]]), (1, 1), 1.0, 2, 'max', True)
    assert pooled.item() == 3
    found = torch.autograd.grad(pooled.sum(), features)[0][0, 0]
    assert found.tolist() == [[0, 0.125, 0.125, 0], [0, 0.375, 0.375, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize('mode', MODES)
def test_chunks_do_not_change_the_gradient(mode, monkeypatch):
    from mmcv.ops import roi_align

    features = features_of(2, 5, 7, 9).requires_grad_()
    pooled = roi_align(features, rois_of(), (4, 4), 0.25, 2, mode, True)
    whole = torch.autograd.grad(pooled.sum(), features, retain_graph=True)[0]
    monkeypatch.setitem(roi_align_forward.__globals__, 'CHUNK', 1)
    torch.testing.assert_close(torch.autograd.grad(pooled.sum(), features)[0], whole)


@pytest.mark.parametrize('mode', MODES)
def test_regions_without_samples_have_none(mode):
    from mmcv.ops import roi_align

    features = torch.ones(1, 2, 4, 4, requires_grad=True)
    empty = torch.tensor([[0, 1.0, 1, 1, 3], [0, 3, 3, 1, 1]])
    for rois in (empty, empty[:0]):
        pooled = roi_align(features, rois, (2, 2), 1.0, 0, mode, True)
        assert not torch.autograd.grad(pooled.sum(), features)[0].any()


@pytest.mark.parametrize('mode', MODES)
def test_half_precision_and_other_strides(mode):
    from mmcv.ops import roi_align

    low = features_of(2, 3, 7, 9).half().contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = low.detach().double().requires_grad_()
    # A power of two: the places of maxima are then exact in half precision as well.
    rois = rois_of()[[0, 1, 4]]
    found = roi_align(low, rois.half(), (2, 2), 0.25, 2, mode, True)
    wanted = roi_align(exact, rois, (2, 2), 0.25, 2, mode, True)
    gradient = torch.autograd.grad(found.sum(), low)[0]
    assert gradient.dtype == torch.float16
    torch.testing.assert_close(gradient.double(), torch.autograd.grad(wanted.sum(), exact)[0], rtol=2e-3, atol=2e-3)
