"""The covariance of values with random masks."""

from __future__ import annotations

import pytest
import torch

from featmap.perturbing import Frame, RandomMasks, influence
from tests.test_perturbing.test_masks import b_spline

FRAME = Frame(0, 0, 32, 32, (32, 32))


def test_the_mean_of_a_patch_gives_the_map_of_theory():
    masks = RandomMasks(FRAME, 6000, cells=4, seed=0)
    found = influence(lambda part: masks[part][:, 8:12, 20:24].mean(dim=(1, 2))[None], masks, (32, 32))
    places = torch.arange(32) + 0.5
    rows = b_spline((places[:, None] - places[8:12]) / 8).mean(dim=1)
    columns = b_spline((places[:, None] - places[20:24]) / 8).mean(dim=1)
    expected = 0.25 * rows[:, None] * columns
    assert found.masks == 6000
    torch.testing.assert_close(found.values[0], expected, atol=0.01, rtol=0)  # of at most 0.106
    assert found.agreement[0] > 0.97


def test_a_covariance_by_hand():
    # All hidden or all shown: values 2 and 6 at equal shares would be 4 · 0.25; the seed gives shares of its own.
    masks = RandomMasks(FRAME, 300, cells=1, seed=5)
    value = 2 + 4 * masks.coarse(slice(None), (1, 1)).flatten()
    found = influence(lambda part: value[None, part], masks, (1, 1))
    seen = masks.coarse(slice(None), (1, 1)).flatten()
    torch.testing.assert_close(found.values.flatten()[0], torch.cov(torch.stack([value, seen]), correction=0)[0, 1])


def test_a_value_that_does_not_change_has_no_influence_and_no_agreement():
    masks = RandomMasks(FRAME, 300)
    found = influence(lambda part: torch.full((1, part.stop - part.start), 0.5), masks, (8, 8))
    assert found.values.abs().max() < 1e-6
    assert abs(found.agreement[0]) < 1
    found = influence(lambda part: torch.zeros(1, part.stop - part.start), masks, (8, 8))
    assert found.values.eq(0).all()
    assert found.agreement == (0.0,)


def test_it_ends_when_the_least_certain_target_has_converged():
    masks = RandomMasks(FRAME, 4000, cells=4, seed=0)
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(1))

    def values(part: slice) -> torch.Tensor:
        patch = masks[part][:, 8:12, 20:24].mean(dim=(1, 2))
        return torch.stack([patch, patch + noise[part]])

    easy = influence(lambda part: values(part)[:1], masks, (8, 8), until=0.95)
    both = influence(values, masks, (8, 8), until=0.95)
    assert easy.masks < both.masks <= 4000
    assert easy.masks % 256 == 0
    assert min(easy.agreement) >= 0.95
    assert both.agreement[0] > both.agreement[1]
    # What it is called by then holds: a correlation of 0.987 with a map of many more masks.
    limit = influence(lambda part: values(part)[:1], masks, (8, 8)).values
    assert torch.corrcoef(torch.stack([easy.values.flatten(), limit.flatten()]))[0, 1] > 0.97


@pytest.mark.parametrize('count', [2, 3, 257])
def test_any_number_of_masks_from_two_on(count):
    masks = RandomMasks(FRAME, count)
    found = influence(lambda part: masks[part].mean(dim=(1, 2))[None], masks, (4, 4))
    assert found.masks == count
    assert found.values.isfinite().all()
