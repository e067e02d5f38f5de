"""Deformable convolution against its definition, written out as loops over numbers."""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.models.openmmlab.ops import deform_conv_forward, modulated_deform_conv_forward

ensure_ops()


class Case(NamedTuple):
    """A convolution; pairs are (y, x)."""

    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    offset_groups: int = 1

    @property
    def per_place(self):
        return self.offset_groups * self.kernel[0] * self.kernel[1]

    def output_size(self, size):
        return tuple(
            (size[d] + 2 * self.padding[d] - self.dilation[d] * (self.kernel[d] - 1) - 1) // self.stride[d] + 1
            for d in (0, 1)
        )


CASES = {
    'plain': Case(),
    'stride': Case(stride=(2, 1)),
    'stride-x': Case(stride=(1, 3), padding=(0, 2)),
    'no-padding': Case(padding=(0, 0)),
    'dilation': Case(dilation=(2, 1), padding=(2, 1)),
    'one-tap': Case(kernel=(1, 1), padding=(0, 0)),
    'flat-kernel': Case(kernel=(1, 3), padding=(0, 1)),
    'tall-kernel': Case(kernel=(2, 1), padding=(1, 0), dilation=(3, 1)),
    'groups': Case(groups=2),
    'depthwise': Case(groups=4),
    'offset-groups': Case(offset_groups=2),
    'both-groups': Case(groups=2, offset_groups=4),
    'groups-inside-offset-groups': Case(groups=4, offset_groups=2, stride=(2, 2)),
}


def sample(plane, y, x):
    """The value of a plane, a list of rows, between its cells; zero outside."""
    height, width = len(plane), len(plane[0])
    top, left, total = math.floor(y), math.floor(x), 0.0
    for i, j in product((top, top + 1), (left, left + 1)):
        if 0 <= i < height and 0 <= j < width:
            total += plane[i][j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return total


def reference(features, weight, offset, case, mask=None, bias=None):
    """(N, C_out, H_out, W_out) as an array."""
    batch, channels, *size = features.shape
    height, width = case.output_size(size)
    kernel_y, kernel_x = case.kernel
    out = np.zeros((batch, len(weight), height, width))
    in_group, out_group = channels // case.groups, len(weight) // case.groups
    planes, filters, moves = features.tolist(), weight.tolist(), offset.tolist()
    for n, y, x, c in product(range(batch), range(height), range(width), range(channels)):
        first = c // (channels // case.offset_groups) * kernel_y * kernel_x
        group = c // in_group
        for i, j in product(range(kernel_y), range(kernel_x)):
            tap = first + i * kernel_x + j
            at_y = y * case.stride[0] - case.padding[0] + i * case.dilation[0]
            at_x = x * case.stride[1] - case.padding[1] + j * case.dilation[1]
            at_y += moves[n][2 * tap][y][x]
            at_x += moves[n][2 * tap + 1][y][x]
            value = sample(planes[n][c], at_y, at_x)
            if mask is not None:
                value *= mask[n, tap, y, x].item()
            for o in range(group * out_group, (group + 1) * out_group):
                out[n, o, y, x] += value * filters[o][c % in_group][i][j]
    if bias is not None:
        out += bias.numpy()[None, :, None, None]
    return out


def tensors(case, batch=2, size=(5, 6), spread=1.5, dtype=torch.float64, seed=0):
    """Features, weight, offset, mask and bias of 4 input and 4 output channels."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    out = case.output_size(size)
    return (
        random(batch, 4, *size),
        random(4, 4 // case.groups, *case.kernel),
        random(batch, 2 * case.per_place, *out) * spread,
        torch.rand(batch, case.per_place, *out, generator=generator).to(dtype),
        random(4),
    )


def run(features, weight, offset, case, output=None):
    size = case.output_size(features.shape[2:])
    if output is None:
        output = features.new_full((len(features), len(weight), *size), math.nan)
    spare = features.new_empty(0)
    keywords = {
        'kW': case.kernel[1],
        'kH': case.kernel[0],
        'dW': case.stride[1],
        'dH': case.stride[0],
        'padW': case.padding[1],
        'padH': case.padding[0],
        'dilationW': case.dilation[1],
        'dilationH': case.dilation[0],
        'group': case.groups,
        'deformable_group': case.offset_groups,
        'im2col_step': 1,
    }
    assert deform_conv_forward(features, weight, offset, output, spare, spare, **keywords) is None
    return output


def run_modulated(features, weight, offset, mask, bias, case):
    size = case.output_size(features.shape[2:])
    output = features.new_full((len(features), len(weight), *size), math.nan)
    spare = features.new_empty(0)
    bias_or_none = spare if bias is None else bias
    keywords = {
        'kernel_h': case.kernel[0],
        'kernel_w': case.kernel[1],
        'stride_h': case.stride[0],
        'stride_w': case.stride[1],
        'pad_h': case.padding[0],
        'pad_w': case.padding[1],
        'dilation_h': case.dilation[0],
        'dilation_w': case.dilation[1],
        'group': case.groups,
        'deformable_group': case.offset_groups,
        'with_bias': bias is not None,
    }
    modulated_deform_conv_forward(features, weight, bias_or_none, spare, offset, mask, output, spare, **keywords)
    return output


@pytest.mark.parametrize('name', CASES)
def test_deform_conv(name):
    case = CASES[name]
    features, weight, offset, *_ = tensors(case)
    expected = reference(features, weight, offset, case)
    np.testing.assert_allclose(run(features, weight, offset, case), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('name', CASES)
def test_modulated_deform_conv(name, with_bias):
    case = CASES[name]
    features, weight, offset, mask, bias = tensors(case)
    bias = bias if with_bias else None
    out = run_modulated(features, weight, offset, mask, bias, case)
    expected = reference(features, weight, offset, case, mask, bias)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('name', CASES)
def test_without_offsets_it_is_a_convolution(name):
    case = CASES[name]
    features, weight, offset, mask, bias = tensors(case, batch=3, size=(9, 8))
    settings = (case.stride, case.padding, case.dilation, case.groups)
    zeros, ones = torch.zeros_like(offset), torch.ones_like(mask)
    torch.testing.assert_close(run(features, weight, zeros, case), F.conv2d(features, weight, None, *settings))
    torch.testing.assert_close(
        run_modulated(features, weight, zeros, ones, bias, case),
        F.conv2d(features, weight, bias, *settings),
    )


def test_the_offset_of_y_comes_first():
    features = torch.arange(12.0).view(1, 1, 3, 4)
    case = Case(kernel=(1, 1), padding=(0, 0))
    down = torch.tensor([1.0, 0]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    out = run(features, torch.ones(1, 1, 1, 1), down, case)
    assert out.flatten().tolist() == [4, 5, 6, 7, 8, 9, 10, 11, 0, 0, 0, 0]
    half_right = torch.tensor([0, 0.5]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    out = run(features, torch.ones(1, 1, 1, 1), half_right, case)
    assert out.flatten().tolist() == [0.5, 1.5, 2.5, 1.5, 4.5, 5.5, 6.5, 3.5, 8.5, 9.5, 10.5, 5.5]


@pytest.mark.parametrize('spread', [6.0, 1e4])
def test_offsets_that_leave_the_map(spread):
    features, weight, offset, mask, bias = tensors(CASES['plain'], spread=spread)
    out = run_modulated(features, weight, offset, mask, bias, CASES['plain'])
    expected = reference(features, weight, offset, CASES['plain'], mask, bias)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize('far', [math.inf, -math.inf, 1e30])
def test_infinitely_far_is_zero(far):
    features, weight, offset, *_ = tensors(CASES['plain'])
    assert run(features, weight, torch.full_like(offset, far), CASES['plain']).eq(0).all()


def test_offsets_onto_the_border():
    case = Case(kernel=(1, 1), padding=(0, 0))
    # Just outside by a whole cell there is nothing; half a cell outside, half of the border.
    for move, expected in ((-1.0, 0.0), (-0.5, 0.5), (0.0, 1.0), (0.5, 0.5), (1.0, 0.0)):
        offset = torch.tensor([move, 0]).view(1, 2, 1, 1)
        out = run(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), offset, case)
        assert out.item() == expected


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision_is_computed_in_float32(dtype):
    case = CASES['offset-groups']
    given = tensors(case, dtype=dtype)
    features, weight, offset, mask, bias = (tensor.double() for tensor in given)
    features_low, weight_low, offset_low, mask_low, bias_low = given
    plain = run(features_low, weight_low, offset_low, case)
    modulated = run_modulated(features_low, weight_low, offset_low, mask_low, bias_low, case)
    assert plain.dtype == modulated.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    for out, expected in (
        (plain, reference(features, weight, offset, case)),
        (modulated, reference(features, weight, offset, case, mask, bias)),
    ):
        np.testing.assert_allclose(out.double(), expected, rtol=tolerance, atol=tolerance)


def test_an_empty_batch():
    features, weight, offset, mask, bias = tensors(CASES['plain'])
    assert run(features[:0], weight, offset[:0], CASES['plain']).shape == (0, 4, 5, 6)
    out = run_modulated(features[:0], weight, offset[:0], mask[:0], bias, CASES['plain'])
    assert out.shape == (0, 4, 5, 6)


def test_any_memory_layout():
    features, weight, offset, *_ = tensors(CASES['both-groups'])
    expected = run(features, weight, offset, CASES['both-groups'])
    features, weight, offset = (
        tensor.contiguous(memory_format=torch.channels_last) for tensor in (features, weight, offset)
    )
    output = torch.empty_like(expected, memory_format=torch.channels_last)
    torch.testing.assert_close(run(features, weight, offset, CASES['both-groups'], output), expected)


@pytest.mark.parametrize('sliced', [False, True])
def test_offsets_of_a_larger_map_are_read_as_they_lie_in_memory(sliced):
    # DyHead samples a coarse level with the offsets of the level above it: a finding of microsoft/GLIP#52.
    case = CASES['offset-groups']
    features, weight, *_, bias = tensors(case)
    _, _, offset, mask, _ = tensors(case, size=(10, 12))
    if sliced:  # one tensor holds both, so that a sample's numbers are in one piece but the samples are apart
        offset, mask = torch.cat([offset, mask], 1).split([36, 18], dim=1)
    moves = torch.stack([torch.tensor(one.flatten().tolist()[: 36 * 30]).view(36, 5, 6) for one in offset])
    scales = torch.stack([torch.tensor(one.flatten().tolist()[: 18 * 30]).view(18, 5, 6) for one in mask])
    expected = reference(features, weight, moves, case, scales, bias)
    np.testing.assert_allclose(run_modulated(features, weight, offset, mask, bias, case), expected, atol=1e-5)


def test_what_does_not_fit_is_named_with_its_shape():
    features, weight, offset, mask, bias = tensors(CASES['plain'])
    with pytest.raises(ValueError, match=r'offset has shape .*expected \(2, 18, 5, 6\)'):
        run(features, weight, offset[:, :9], CASES['plain'])
    with pytest.raises(ValueError, match=r'mask has shape .*expected \(2, 9, 5, 6\)'):
        run_modulated(features, weight, offset, mask[..., 1:], bias, CASES['plain'])
    with pytest.raises(ValueError, match=r'weight has shape .*expected \(4, 4, 3, 3\)'):
        run(features, weight[:, :2], offset, CASES['plain'])


def test_mmcv_deform_conv_layer():
    from mmcv.ops import DeformConv2d

    case = Case(stride=(2, 2), groups=2, offset_groups=2)
    features, weight, offset, *_ = tensors(case, dtype=torch.float32)
    layer = DeformConv2d(4, 4, 3, stride=2, padding=1, groups=2, deform_groups=2)
    layer.weight.data = weight
    expected = reference(features, weight, offset, case)
    np.testing.assert_allclose(layer(features, offset).detach(), expected, rtol=0, atol=1e-4)


def test_mmcv_deform_conv_layer_on_a_map_smaller_than_its_kernel():
    from mmcv.ops import DeformConv2d

    case = Case()
    features, weight, offset, *_ = tensors(case, size=(2, 2), dtype=torch.float32)
    layer = DeformConv2d(4, 4, 3, padding=1)
    layer.weight.data = weight
    expected = reference(features, weight, offset, case)
    np.testing.assert_allclose(layer(features, offset).detach(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize('with_bias', [False, True])
def test_mmcv_modulated_layer(with_bias):
    from mmcv.ops import ModulatedDeformConv2d

    case = Case(dilation=(2, 2), padding=(2, 2), offset_groups=2)
    features, weight, offset, mask, bias = tensors(case, dtype=torch.float32)
    layer = ModulatedDeformConv2d(4, 4, 3, 1, 2, 2, deform_groups=2, bias=with_bias)
    layer.weight.data = weight
    if with_bias:
        layer.bias.data = bias
    expected = reference(features, weight, offset, case, mask, bias if with_bias else None)
    np.testing.assert_allclose(layer(features, offset, mask).detach(), expected, rtol=0, atol=1e-4)


def test_mmcv_layer_in_half_precision():
    from mmcv.ops import ModulatedDeformConv2dPack

    layer = ModulatedDeformConv2dPack(4, 4, 3, padding=1)
    features = tensors(Case(), dtype=torch.float32)[0]
    # As under autocast: the offsets come in half precision, the features in single.
    mask = torch.ones(2, 9, 5, 6)
    offset = torch.zeros(2, 18, 5, 6, dtype=torch.float16)
    out = super(ModulatedDeformConv2dPack, layer).forward(features, offset, mask)
    assert out.dtype == torch.float16
    expected = F.conv2d(features, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(out.float(), expected, rtol=0.01, atol=0.01)
