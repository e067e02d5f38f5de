"""Maps that the model itself transposes, mirrors or turns: drawn as the image stands, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from featmap import visualize
from featmap.errors import LayerError

DOT = (12, 36)  # row and column of a bright dot


class Turned(nn.Module):
    """A convolution between two functions, and one behind them."""

    def __init__(self, before, after=None):
        super().__init__()
        self.before, self.after = before, after
        self.inside, self.behind = (self._mean(channels) for channels in (3, 1))

    @staticmethod
    def _mean(channels):
        layer = nn.Conv2d(channels, 1, 3, 2, 1, bias=False)
        nn.init.constant_(layer.weight, 1)
        return layer

    def forward(self, x):
        x = self.inside(self.before(x))
        return self.behind(x if self.after is None else self.after(x))


def peak(model, layer, size):
    image = np.zeros((*size, 3), np.uint8)
    image[DOT[0] - 2 : DOT[0] + 2, DOT[1] - 2 : DOT[1] + 2] = 255
    result = visualize(
        model,
        image,
        layer,
        preprocess=lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255,
        device='cpu',
        channel_reduction='squeeze_mean',
    )
    (found,) = result.maps
    assert found.stride_known
    at = np.argwhere(found.values[0] == found.values[0].max()).mean(axis=0) + 0.5
    return tuple((at + found.offset) * found.stride)


SIZES = pytest.mark.parametrize('size', [(48, 48), (32, 64)])


@SIZES
@pytest.mark.parametrize('layer', ['inside', 'behind'])
@pytest.mark.parametrize('back', [False, True])
def test_columns_before_rows(size, layer, back):
    def across(x):
        return x.transpose(2, 3)

    assert peak(Turned(across, across if back else None), layer, size) == pytest.approx(DOT, abs=2)


@SIZES
@pytest.mark.parametrize(
    ('there', 'back', 'reason'),
    [
        (lambda x: x.flip(-1), lambda x: x.flip(-1), 'mirrored'),
        (lambda x: x.roll(8, -1), lambda x: x.roll(-4, -1), 'rolled round its edges'),
        (lambda x: x.roll((8, -6), dims=(2, 3)), lambda x: torch.roll(x, (-4, 3), (2, 3)), 'rolled round its edges'),
        (lambda x: x.flip(2, 3), lambda x: torch.flip(x, dims=[-2, -1]), 'mirrored'),
        (lambda x: torch.flip(x, (2,)), lambda x: x.flip([2]), 'mirrored'),
        (lambda x: x.permute(0, 2, 3, 1).flip(2).permute(0, 3, 1, 2), lambda x: x.flip(3), 'mirrored'),
        (lambda x: x.rot90(2, (2, 3)), lambda x: torch.rot90(x, 2, [3, 2]), 'turned'),
    ],
)
def test_a_mirrored_map_is_refused_and_drawn_where_it_is_put_back(size, there, back, reason):
    with pytest.raises(LayerError, match=f'{reason} against the image by the model itself'):
        peak(Turned(there), 'inside', size)
    with pytest.raises(LayerError, match=f'{reason} against the image'):
        peak(Turned(there), 'behind', size)
    assert peak(Turned(there, back), 'behind', size) == pytest.approx(DOT, abs=2)


def snake(x):
    x = x.clone()
    x[:, :, 1::2] = x[:, :, 1::2].flip(-1)
    return x


@SIZES
@pytest.mark.parametrize(
    'order',
    [
        lambda x: x.index_select(3, torch.arange(x.shape[3] - 1, -1, -1)),
        lambda x: x[..., torch.arange(x.shape[3] - 1, -1, -1)],
        lambda x: x[:, :, torch.arange(x.shape[2]).roll(3)],
        snake,
    ],
)
def test_rows_or_columns_in_another_order(size, order):
    for back in (None, order):
        with pytest.raises(LayerError, match='put its rows or columns in another order'):
            peak(Turned(order, back), 'inside', size)


def test_rows_that_are_picked_in_their_order_are_no_other_order():
    assert peak(Turned(lambda x: x[:, :, torch.arange(x.shape[2])]), 'inside', (32, 64)) == pytest.approx(DOT, abs=2)


def test_channels_in_another_order():
    assert peak(Turned(lambda x: x[:, [2, 1, 0]]), 'inside', (32, 64)) == pytest.approx(DOT, abs=2)
    assert peak(Turned(lambda x: x.index_select(1, torch.tensor([2, 0, 1]))), 'inside', (32, 64)) == pytest.approx(
        DOT, abs=2
    )


class ByColumns(nn.Module):
    """A transformer's tokens, one column after the other, maybe with a class token before them."""

    def __init__(self, before):
        super().__init__()
        self.before = before
        self.patches, self.block = nn.Conv2d(3, 2, 8, 8), nn.Identity()
        nn.init.constant_(self.patches.weight, 1)

    def forward(self, x):
        tokens = self.patches(x).permute(0, 3, 2, 1).flatten(1, 2)
        return self.block(torch.cat([tokens.new_zeros(1, 1, 2), tokens], 1) if self.before else tokens)


@SIZES
def test_tokens_one_column_after_the_other(size):
    assert peak(ByColumns(False), 'block', size) == pytest.approx(DOT, abs=4.1)
    with pytest.raises(LayerError, match='in an unknown order'):
        peak(ByColumns(True), 'block', size)


def test_a_quarter_turn():
    with pytest.raises(LayerError, match='turned against the image'):
        peak(Turned(lambda x: x.rot90(1, (2, 3))), 'inside', (48, 48))


def test_channels_that_are_flipped_turn_nothing():
    assert peak(Turned(lambda x: x.flip(1)), 'inside', (32, 64)) == pytest.approx(DOT, abs=2)


def test_what_a_window_over_channels_puts_out_is_no_map():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Conv2d(3, 48, 1)
            self.over = nn.Conv2d(48, 48, 3, padding=1)

        def forward(self, x):
            return self.over(self.wide(x).permute(0, 2, 3, 1))  # its windows move over columns and channels

    with pytest.raises(LayerError, match='no cells'):
        peak(Mixing(), 'over', (48, 48))
