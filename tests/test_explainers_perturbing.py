"""D-RISE and occlusion, of models that are linear in a patch of the image: their maps can be worked out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featmap.errors import LayerError, OptionError
from featmap.explainers import AblationCAM, DRise, Occlusion, ScoreCAM
from featmap.geometry import Cells
from featmap.layers import resolve
from featmap.perturbing import Masked
from tests.explainer_helpers import asked_of, output
from tests.test_perturbing.test_masks import b_spline

WHITE = np.full((32, 32, 3), 255, np.uint8)


class Patches(nn.Module):
    """The mean levels of two patches of 4 × 4 pixels; the second counts by its square root."""

    def forward(self, x: Tensor) -> Tensor:
        first = x[:, :, -24:-20, 20:24].mean(dim=(1, 2, 3))
        second = x[:, :, -8:-4, 4:8].mean(dim=(1, 2, 3))
        return torch.stack([first, second.sqrt()], dim=1)


def drise(masks: int = 3000, until: float = 1.0, **options) -> DRise:
    return DRise(masks=masks, cells=4, until=until, baseline='black', **options)


def test_drise_gives_a_linear_target_the_map_of_theory():
    (heat,), (other,) = drise(8000).explain(asked_of(Patches(), WHITE, batch_size=250), [output(0), output(1)])
    assert heat.values.shape == (32, 32)
    assert heat.cells == Cells((1.0, 1.0), (0.0, 0.0), known=True)
    places = (torch.arange(32) + 0.5)[:, None]
    rows, columns = (b_spline((places - torch.arange(n, n + 4) - 0.5) / 8).mean(dim=1) for n in (8, 20))
    torch.testing.assert_close(heat.values, 0.25 * rows[:, None] * columns, atol=0.008, rtol=0)  # of at most 0.106
    assert divmod(int(other.values.argmax()), 32) in [(row, column) for row in range(24, 28) for column in range(4, 8)]


def test_drise_lies_on_the_image_and_not_on_its_padding():
    (heat,) = drise().explain(asked_of(Patches(), WHITE, padding=16, batch_size=250), [output(0)])[0]
    # (i + 0.5 + offset) · stride: cells begin below 16 rows of padding.
    assert heat.cells == Cells((1.0, 1.0), (16.0, 0.0), known=True)
    row, column = divmod(int(heat.values.argmax()), 32)
    assert 7 <= row <= 12
    assert 19 <= column <= 24


@pytest.mark.parametrize('batch_size', [1, 7, 64])
def test_drise_is_the_same_in_batches_of_any_size_and_by_its_seed(batch_size):
    targets = [output(0), output(1)]
    whole = drise(300).explain(asked_of(Patches(), WHITE, batch_size=300, seed=2), targets)
    parts = drise(300).explain(asked_of(Patches(), WHITE, batch_size=batch_size, seed=2), targets)
    for one, other in zip(whole, parts):
        torch.testing.assert_close(one[0].values, other[0].values, atol=1e-6, rtol=1e-4)
        assert one[0].note == other[0].note
    another = drise(300).explain(asked_of(Patches(), WHITE, batch_size=batch_size, seed=3), targets)
    assert not torch.allclose(another[0][0].values, parts[0][0].values, atol=1e-3)


def test_all_targets_share_the_forwards():
    alone, together = asked_of(Patches(), WHITE), asked_of(Patches(), WHITE)
    (first,) = drise(300).explain(alone, [output(0)])
    both = drise(300).explain(together, [output(0), output(1)])
    assert sum(alone.network.sizes) == sum(together.network.sizes) == 300
    torch.testing.assert_close(first[0].values, both[0][0].values)


def test_drise_ends_when_it_has_converged_and_says_how_far_it_is():
    asked = asked_of(Patches(), WHITE, batch_size=100)
    (heat,) = drise(5000, until=0.95).explain(asked, [output(0)])[0]
    used = sum(asked.network.sizes)
    assert used < 5000
    masks, agreement = heat.note.split(' masks, whose halves correlate by ')
    assert masks == f'{used:,}'
    assert 0.95 <= float(agreement) <= 1
    (unsure,) = drise(60, until=0.95).explain(asked, [output(0)])[0]
    assert unsure.note.startswith('60 masks, ')
    assert float(unsure.note.split()[-1]) < 0.95


def test_drise_of_a_target_that_never_changes():
    (heat,) = drise(300).explain(asked_of(Patches(), np.zeros_like(WHITE)), [output(0)])[0]
    assert heat.values.eq(0).all()
    assert heat.note == '300 masks, not converged: their halves have nothing in common'


@pytest.mark.parametrize(('box', 'cells'), [(None, 8), (np.array([0.0, 0, 9, 9]), 16)])
def test_masks_are_finer_for_boxes_than_for_whole_images(box, cells):
    target = replace(output(0), box=box)
    (heat,) = DRise(masks=16).explain(asked_of(Patches(), WHITE), [target])[0]
    assert heat.values.shape == (8 * cells, 8 * cells)
    assert heat.cells.stride == (4 / cells, 4 / cells)


@pytest.mark.parametrize('wrong', [{'masks': 1}, {'cells': 0}, {'kept': 0.0}, {'kept': 1.0}, {'until': 0.0}])
def test_arguments_of_drise_that_make_no_sense(wrong):
    with pytest.raises(OptionError, match='expected'):
        DRise(**wrong)


def test_occlusion_by_hand():
    (heat,), (other,) = Occlusion(cells=8, size=2, baseline='black').explain(
        asked_of(Patches(), WHITE), [output(0), output(1)]
    )
    # Four windows hide each cell; all four of the patch's own cell hide the patch, two of its neighbours', one of those
    # at its corners.
    expected = torch.zeros(8, 8)
    expected[1:4, 4:7] = torch.tensor([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    assert torch.equal(heat.values, expected)
    assert heat.cells == Cells((4.0, 4.0), (0.0, 0.0), known=True)
    assert heat.note == '81 windows'
    assert other.values[6, 1] == 1


def test_occlusion_lies_on_the_image_and_not_on_its_padding():
    asked = asked_of(Patches(), WHITE[:24], padding=8, batch_size=5)
    (heat,) = Occlusion(cells=8, size=1, baseline='black').explain(asked, [output(0)])[0]
    assert heat.values.shape == (6, 8)
    assert heat.values.nonzero().tolist() == [[0, 5]]
    assert heat.cells == Cells((4.0, 4.0), (2.0, 0.0), known=True)
    assert max(asked.network.sizes) == 5


def test_where_a_window_helps_there_is_no_heat():
    (heat,) = Occlusion(cells=8, size=1, baseline='mean').explain(asked_of(Negative(), _checked()), [output()])[0]
    assert heat.values[2, 5] == 0
    assert heat.values.eq(0).all()


class Negative(nn.Module):
    """Less for what is bright in a patch."""

    def forward(self, x: Tensor) -> Tensor:
        return 1 - x[:, :, 8:12, 20:24].mean(dim=(1, 2, 3))


def _checked() -> np.ndarray:
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:12, 20:24] = 255
    return image


@pytest.mark.parametrize('wrong', [{'cells': 0}, {'size': 0}])
def test_arguments_of_occlusion_that_make_no_sense(wrong):
    with pytest.raises(OptionError, match='expected 1 or more'):
        Occlusion(**wrong)


class Tokens(nn.Module):
    """A class token, and a token for each patch."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 2, 8, 8)
        self.begin = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        cells = self.patches(x).flatten(2).transpose(1, 2)
        return self.begin(torch.cat([cells[:, :1] * 0, cells], dim=1)).sum(dim=(1, 2))


@pytest.mark.parametrize('method', [AblationCAM(), ScoreCAM()])
def test_how_many_tokens_stand_before_the_cells_reaches_what_asks_about_channels(method):
    module = Tokens()
    asked, layers = asked_of(module, WHITE), resolve(module, ['begin'])
    (heat,) = method.explain(replace(asked, extra_tokens=1), [output()], layers)[0]
    assert heat.values.shape == (4, 4)
    with pytest.raises(LayerError, match='extra_tokens'):
        method.explain(replace(asked, extra_tokens=2), [output()], layers)


def test_values_are_where_the_masks_are():
    class Host(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x))

    asked = asked_of(Host(), WHITE)
    asked = replace(asked, batch=replace(asked.batch, inputs=asked.batch.inputs.to('meta')))  # in the place of a GPU
    values = Masked(asked, [output()], 'black')(torch.ones(3, 32, 32, device='meta'))
    assert (values.device.type, values.shape) == ('meta', (1, 3))
