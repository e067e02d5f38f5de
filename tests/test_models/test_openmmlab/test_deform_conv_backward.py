"""Gradients of deformable convolution: against differences of the forward, and against plain convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from featmap.models.openmmlab.mmcv_ops import ensure_ops
from tests.test_models.test_openmmlab.test_deform_conv import CASES, Case, tensors

ensure_ops()


def settings(case):
    return case.stride, case.padding, case.dilation, case.groups, case.offset_groups


def with_gradients(*given):
    return [tensor.clone().requires_grad_() for tensor in given]


@pytest.mark.parametrize('name', CASES)
def test_deform_conv(name):
    from mmcv.ops import deform_conv2d

    case = CASES[name]
    features, weight, offset, *_ = tensors(case)
    given = with_gradients(features, offset, weight)
    assert gradcheck(lambda *tensors: deform_conv2d(*tensors, *settings(case)), given, fast_mode=True)


@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('name', CASES)
def test_modulated_deform_conv(name, with_bias):
    from mmcv.ops import modulated_deform_conv2d

    case = CASES[name]
    features, weight, offset, mask, bias = tensors(case)
    given = with_gradients(features, offset, mask, weight, *([bias] if with_bias else []))
    rest = () if with_bias else (None,)
    assert gradcheck(lambda *tensors: modulated_deform_conv2d(*tensors, *rest, *settings(case)), given, fast_mode=True)


def test_every_element_of_a_small_one():
    from mmcv.ops import modulated_deform_conv2d

    case = Case(kernel=(2, 2), padding=(1, 1), stride=(2, 2), groups=2, offset_groups=2)
    features, weight, offset, mask, bias = tensors(case, batch=1, size=(3, 3))
    given = with_gradients(features, offset, mask, weight, bias)
    assert gradcheck(lambda *tensors: modulated_deform_conv2d(*tensors, *settings(case)), given)


@pytest.mark.parametrize('name', CASES)
def test_without_offsets_they_are_those_of_a_convolution(name):
    from mmcv.ops import deform_conv2d

    case = CASES[name]
    features, weight, offset, *_ = tensors(case, batch=3, size=(9, 8))
    given = with_gradients(features, weight)
    out = deform_conv2d(given[0], torch.zeros_like(offset), given[1], *settings(case))
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    plain = with_gradients(features, weight)
    expected = torch.autograd.grad(F.conv2d(plain[0], plain[1], None, *settings(case)[:4]), plain, gradient)
    for found, wanted in zip(torch.autograd.grad(out, given, gradient), expected):
        torch.testing.assert_close(found, wanted)


def test_an_offset_of_zero_has_the_slope_towards_the_next_cell():
    from mmcv.ops import deform_conv2d

    features = torch.tensor([[1.0, 3.0, 7.0], [10.0, 20.0, 40.0]]).view(1, 1, 2, 3)
    offset = torch.zeros(1, 2, 2, 3, requires_grad=True)
    out = deform_conv2d(features, offset, torch.ones(1, 1, 1, 1))
    down, right = torch.autograd.grad(out.sum(), offset)[0][0].tolist()
    # Beyond the map there are zeros.
    assert down == [[9, 17, 33], [-10, -20, -40]]
    assert right == [[2, 4, -7], [10, 20, -40]]


def test_of_offsets_that_are_larger_the_rest_has_none():
    from mmcv.ops import modulated_deform_conv2d

    # DyHead hands the offsets of a finer level to a convolution of stride 2.
    case = Case(stride=(2, 2))
    features, weight, *_ = tensors(case)
    _, _, offset, mask, _ = tensors(Case())
    given = with_gradients(offset, mask)
    out = modulated_deform_conv2d(features, *given, weight, None, *settings(case))
    to_offset, to_mask = torch.autograd.grad(out.sum(), given)
    places = out.shape[2] * out.shape[3]
    assert not to_offset.flatten(1)[:, 18 * places :].any()
    assert not to_mask.flatten(1)[:, 9 * places :].any()
    small = with_gradients(
        *(tensor.flatten(1)[:, : taps * places].view(2, taps, *out.shape[2:]) for tensor, taps in zip(given, (18, 9)))
    )
    again = modulated_deform_conv2d(features, *small, weight, None, *settings(case))
    for found, wanted, taps in zip((to_offset, to_mask), torch.autograd.grad(again.sum(), small), (18, 9)):
        torch.testing.assert_close(found.flatten(1)[:, : taps * places], wanted.flatten(1))


def test_half_precision_and_other_strides():
    from mmcv.ops import deform_conv2d

    case = CASES['offset-groups']
    low = [tensor.half() for tensor in tensors(case)[:3]]
    found = with_gradients(low[0].contiguous(memory_format=torch.channels_last), low[2], low[1])
    exact = with_gradients(*(tensor.detach().double() for tensor in found))
    found_gradients = torch.autograd.grad(deform_conv2d(*found, *settings(case)).sum(), found)
    exact_gradients = torch.autograd.grad(deform_conv2d(*exact, *settings(case)).sum(), exact)
    for gradient, wanted in zip(found_gradients, exact_gradients):
        assert gradient.dtype == torch.float16
        torch.testing.assert_close(gradient.double(), wanted, rtol=2e-3, atol=2e-3 * wanted.abs().max().item())
