"""One image blended with a baseline."""

from __future__ import annotations

import pytest
import torch

from featmap.perturbing import Blend


@pytest.mark.parametrize('last', [False, True])
def test_a_blend_by_hand_in_either_layout(last):
    image, baseline = torch.tensor([[[8.0, 8]], [[4, 4]]]), torch.tensor([[[0.0, 4]], [[4, 0]]])
    blend = Blend(image, baseline, last)
    inputs = blend(torch.tensor([[[1.0, 0.25]], [[0, 0.5]]]))
    assert inputs.tolist() == [[[[8, 5]], [[4, 1]]], [[[0, 6]], [[4, 2]]]]
    layout = torch.channels_last if last else torch.contiguous_format
    assert inputs.is_contiguous(memory_format=layout)


def test_memory_is_used_again_for_batches_that_are_not_larger():
    blend = Blend(torch.ones(3, 2, 2), torch.zeros(3, 2, 2), channels_last=True)
    first = blend(torch.ones(4, 2, 2))
    second = blend(torch.zeros(2, 2, 2))
    assert second.data_ptr() == first.data_ptr()
    assert second.shape == (2, 3, 2, 2)
    assert second.eq(0).all()
    assert blend(torch.ones(5, 2, 2)).eq(1).all()


def test_half_precision_stays():
    assert Blend(torch.ones(1, 2, 2).half(), torch.zeros(1, 2, 2))(torch.ones(1, 2, 2)).dtype == torch.float16
