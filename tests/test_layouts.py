from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch

from featmap.errors import LayerError
from featmap.layouts import Grid, Layout, flatten, maps_of, token_grid
from featmap.tokens import Tokens

INPUT = (64, 96)


def grid(channels: int, rows: int, columns: int, batch: int = 1) -> torch.Tensor:
    """Features that tell where they stand: the value is 10000 * image + 1000 * channel + 100 * row + column."""
    image = torch.arange(batch).view(-1, 1, 1, 1) * 10000
    channel = torch.arange(channels).view(1, -1, 1, 1) * 1000
    row = torch.arange(rows).view(1, 1, -1, 1) * 100
    return (image + channel + row + torch.arange(columns)).float()


def tokens(channels: int, rows: int, columns: int, batch: int = 1) -> torch.Tensor:
    """The same features as rows of cells: (N, L, C), one image row after the other."""
    features = grid(channels, rows, columns, batch)
    return torch.stack([features[:, :, row, column] for row in range(rows) for column in range(columns)], dim=1)


def check(output, expected: dict[str, torch.Tensor], **options) -> None:
    found = maps_of(output, options.pop('input_shape', INPUT), **options)
    assert [item.path for item in found] == list(expected)
    for item, features in zip(found, expected.values()):
        assert torch.equal(item.features, features), item.path


P3, P4, P5 = grid(2, 8, 12), grid(3, 4, 6), grid(4, 2, 3)


class Pair(NamedTuple):
    cls: torch.Tensor
    reg: torch.Tensor


@pytest.mark.parametrize(
    ('output', 'expected'),
    [
        pytest.param(P3, {'': P3}, id='tensor'),
        pytest.param((P3,), {'[0]': P3}, id='tuple of one'),
        pytest.param((P3, P4, P5), {'[0]': P3, '[1]': P4, '[2]': P5}, id='tuple'),
        pytest.param([P5, P4], {'[0]': P5, '[1]': P4}, id='list, coarse to fine'),
        pytest.param(([P3, P4], [P4, P5]), {'[0][0]': P3, '[0][1]': P4, '[1][0]': P4, '[1][1]': P5}, id='nested'),
        pytest.param(((P3, P4), P5), {'[0][0]': P3, '[0][1]': P4, '[1]': P5}, id='uneven'),
        pytest.param({'a': P3, 'b': {'c': (P4,)}}, {'[a]': P3, '[b][c][0]': P4}, id='nested dict'),
        pytest.param(Pair(P3, P4), {'[0]': P3, '[1]': P4}, id='named tuple'),
        pytest.param(
            (P3, None, 3, 'x', torch.tensor(1.0), P4), {'[0]': P3, '[5]': P4}, id='what is no map is left out'
        ),
        pytest.param(grid(16, 64, 96), {'': grid(16, 64, 96)}, id='at input resolution'),
        pytest.param(grid(2, 128, 192), {'': grid(2, 128, 192)}, id='upsampled'),
        pytest.param(grid(5, 1, 1), {'': grid(5, 1, 1)}, id='one cell'),
        pytest.param(P3.half(), {'': P3.half()}, id='half precision'),
    ],
)
def test_nested_outputs_are_flattened_with_their_path(output, expected):
    check(output, expected)


def test_flatten_goes_depth_first_and_keeps_grids_beside_their_tokens():
    sequence = tokens(3, 8, 12)
    leaves = list(flatten({'x': (sequence, (8, 12), P3, [1, 2]), 'y': 4}))
    assert [(leaf.label, leaf.sizes) for leaf in leaves] == [
        ('[x][0]', ((8, 12), (1, 2))),
        ('[x][2]', ((1, 2),)),
        ('[y]', ()),
    ]


@pytest.mark.parametrize(
    ('output', 'expected'),
    [
        pytest.param((tokens(3, 8, 12), (8, 12)), {'[0]': grid(3, 8, 12)}, id='tokens and grid'),
        pytest.param(
            (tokens(3, 12, 8), torch.Size([12, 8])), {'[0]': grid(3, 12, 8)}, id='the grid that was handed out wins'
        ),
        pytest.param(
            (tokens(4, 4, 6), (4, 6), tokens(2, 8, 12), (8, 12)),
            {'[0]': grid(4, 4, 6), '[2]': grid(2, 8, 12)},
            id='down, grid, before, grid',
        ),
        pytest.param(
            (None, None, tokens(2, 8, 12), (8, 12)), {'[2]': grid(2, 8, 12)}, id='last stage does not downsample'
        ),
        pytest.param((tokens(3, 8, 12), (9, 9)), {'[0]': grid(3, 8, 12)}, id='a grid that does not fit is not used'),
        pytest.param(tokens(3, 8, 12), {'': grid(3, 8, 12)}, id='stride 8'),
        pytest.param(tokens(3, 4, 6), {'': grid(3, 4, 6)}, id='stride 16'),
        pytest.param(
            torch.cat([torch.full((1, 1, 3), -1.0), tokens(3, 4, 6)], 1), {'': grid(3, 4, 6)}, id='class token first'
        ),
        pytest.param(
            torch.cat([torch.full((1, 2, 3), -1.0), tokens(3, 4, 6)], 1), {'': grid(3, 4, 6)}, id='and distillation'
        ),
        pytest.param(
            torch.cat([torch.full((1, 5, 3), -1.0), tokens(3, 4, 6)], 1), {'': grid(3, 4, 6)}, id='and 4 registers'
        ),
        pytest.param(
            torch.cat([torch.full((1, 4, 3), -1.0), tokens(3, 4, 6)], 1), {'': grid(3, 4, 6)}, id='registers only'
        ),
        pytest.param(tokens(3, 8, 12).transpose(0, 1), {'': grid(3, 8, 12)}, id='sequence first'),
        pytest.param(
            torch.cat([tokens(3, 8, 12), tokens(3, 4, 6), tokens(3, 2, 3), tokens(3, 1, 2)], 1),
            {
                '[level 0]': grid(3, 8, 12),
                '[level 1]': grid(3, 4, 6),
                '[level 2]': grid(3, 2, 3),
                '[level 3]': grid(3, 1, 2),
            },
            id='levels one after another',
        ),
        pytest.param(
            torch.cat([tokens(3, 2, 3), tokens(3, 1, 2)], 1),
            {'[level 0]': grid(3, 2, 3), '[level 1]': grid(3, 1, 2)},
            id='levels rather than two extra tokens',
        ),
    ],
)
def test_tokens_are_laid_out_on_the_input(output, expected):
    check(output, expected)


@dataclass
class Output:
    """As models return that are not of transformers: a plain dataclass."""

    maps: Any
    loss: Any = None


class ModelOutput(OrderedDict):
    """As transformers return: a mapping with entries that are attributes too."""


def test_dataclasses_and_model_outputs_have_readable_labels():
    check(Output([P3, P4]), {'[maps][0]': P3, '[maps][1]': P4})
    states = (tokens(3, 8, 12), tokens(3, 4, 6))
    output = ModelOutput(last_hidden_state=states[1], hidden_states=states, pooler_output=torch.zeros(1, 3), loss=None)
    check(
        output,
        {
            '[last_hidden_state]': grid(3, 4, 6),
            '[hidden_states][0]': grid(3, 8, 12),
            '[hidden_states][1]': grid(3, 4, 6),
        },
    )
    check(output, {'[hidden_states][0]': grid(3, 8, 12)}, path=('hidden_states', '0'))


@pytest.mark.parametrize(
    ('output', 'expected'),
    [
        pytest.param((tokens(3, 9, 7), 9, 7), {'[0]': grid(3, 9, 7)}, id='height and width as two numbers'),
        pytest.param(
            (tokens(3, 5, 4), tokens(2, 10, 8), (10, 8, 5, 4)),
            {'[0]': grid(3, 5, 4), '[1]': grid(2, 10, 8)},
            id='before and after in one tuple',
        ),
        pytest.param(
            (torch.cat([torch.full((1, 1, 3), -1.0), tokens(3, 9, 7)], 1), (9, 7)),
            {'[0]': grid(3, 9, 7)},
            id='a class token before the grid that was handed out',
        ),
        pytest.param((tokens(3, 8, 12), (True, False)), {'[0]': grid(3, 8, 12)}, id='flags are no sizes'),
    ],
)
def test_sizes_handed_out_beside_tokens(output, expected):
    check(output, expected)


def test_layouts_that_are_known_come_before_numbers():
    def known(layout):
        return lambda path, value: layout

    # As many channels as rows and columns: all three ways would be regular.
    cube = grid(8, 8, 8)
    check(cube.permute(0, 2, 3, 1), {'': cube}, input_shape=(64, 64), layout_of=known(Layout((1, 2))))
    check(cube, {'': cube}, input_shape=(64, 64), layout_of=known(Layout((2, 3))))
    check(cube, {'': cube}, input_shape=(64, 64))
    # 96 tokens fit 8x12, but are 4x6 cells and others on both sides.
    mixed = torch.cat([torch.zeros(1, 30, 3), tokens(3, 4, 6), torch.zeros(1, 42, 3)], 1)
    check(mixed, {'': grid(3, 4, 6)}, layout_of=known(Layout((1,), (Grid((4, 6), 30),))))
    check(mixed.transpose(0, 1), {'': grid(3, 4, 6)}, layout_of=known(Layout((0,), (Grid((4, 6), 30),))))
    check(mixed.transpose(1, 2), {'': grid(3, 4, 6)}, layout_of=known(Layout((2,), (Grid((4, 6), 30),))))
    # And in a decoder they are cells, where operations that ran say so.
    check(mixed, {'': grid(3, 4, 6)}, layer='decoder', layout_of=known(Layout((1,), (Grid((4, 6), 30),))))


def test_what_is_made_of_tokens_says_so():
    said = [item.tokens for item in maps_of([tokens(3, 8, 12), torch.zeros(1, 101, 3)[:, :97], P4], INPUT)]
    assert said == [Tokens(96, 0, known=False), Tokens(97, 1, known=False), None]
    assert str(Tokens(97, 1)) == '97, 1 left out'
    assert [each.describe((8, 12)) for each in said[:2]] == ['tokens ≈ 8×12 of 96', 'tokens ≈ 8×12 of 97, 1 left out']


LEVELS = torch.cat([tokens(3, 8, 12), tokens(3, 4, 6), tokens(3, 2, 3)], 1)


@pytest.mark.parametrize(
    ('output', 'layer', 'expected'),
    [
        (LEVELS, 'encoder', [(8, 12), (4, 6), (2, 3)]),
        (LEVELS, 'bbox_head.cls_branches.6', [(8, 12), (4, 6), (2, 3)]),  # the proposals of two-stage DETRs
        (tokens(3, 2, 3), 'panoptic_head.pixel_decoder.encoder', [(2, 3)]),
    ],
)
def test_tokens_of_cells_are_drawn_from_encoders_and_on_several_levels(output, layer, expected):
    found = maps_of(output, INPUT, layer=layer)
    assert len(found) == len(expected)
    assert all(torch.equal(item.features, grid(3, *shape)) for item, shape in zip(found, expected))


def test_the_levels_of_a_pixel_decoder_go_from_coarse_to_fine():
    output = torch.cat([tokens(3, 2, 3), tokens(3, 4, 6), tokens(3, 8, 12)], 1)
    expected = {'[level 0]': grid(3, 2, 3), '[level 1]': grid(3, 4, 6), '[level 2]': grid(3, 8, 12)}
    check(output, expected, layer='panoptic_head.pixel_decoder.encoder')


def test_a_map_pooled_to_a_fixed_size_stays_as_it_is():
    check(grid(2, 7, 7), {'': grid(2, 7, 7)}, input_shape=(640, 960))
    check(grid(2, 13, 13), {'': grid(2, 13, 13)}, input_shape=(640, 640))


@pytest.mark.parametrize(
    ('rows', 'columns', 'input_shape'),
    [
        (16, 16, (224, 224)),
        (34, 45, (480, 640)),  # patches of 14, cut off
        (20, 34, (320, 544)),
        (38, 57, (600, 900)),  # stride 16, rounded up
        (5, 20, (160, 640)),
        (20, 5, (640, 160)),
    ],
)
def test_token_grids_are_not_taken_for_squares(rows, columns, input_shape):
    check(tokens(3, rows, columns), {'': grid(3, rows, columns)}, input_shape=input_shape)
    assert token_grid(rows * columns, input_shape) == ((rows, columns), 0)


@pytest.mark.parametrize('count', [50, 95, 300])
def test_tokens_that_fit_no_grid_are_refused(count):
    assert token_grid(count, INPUT) is None
    with pytest.raises(LayerError, match=f'{count} tokens fit no grid over an input of 64x96'):
        maps_of(torch.zeros(1, count, 3), INPUT)


def test_channels_last_is_told_from_the_input_shape():
    check(grid(5, 8, 12).permute(0, 2, 3, 1), {'': grid(5, 8, 12)})
    check(grid(256, 20, 20).permute(0, 2, 3, 1), {'': grid(256, 20, 20)}, input_shape=(640, 640))
    check(grid(12, 8, 12), {'': grid(12, 8, 12)})


def test_the_maps_are_views_of_the_output():
    features = grid(2, 8, 12)
    (item,) = maps_of((features,), INPUT)
    assert item.features.data_ptr() == features.data_ptr()
    sequence = tokens(3, 8, 12)
    (item,) = maps_of(sequence, INPUT)
    assert item.features.data_ptr() == sequence.data_ptr()


@pytest.mark.parametrize(
    'output',
    [
        grid(2, 8, 12, batch=2),
        grid(2, 8, 12, batch=2).permute(0, 2, 3, 1),
        tokens(2, 8, 12, batch=2),
        tokens(2, 8, 12, batch=2).transpose(0, 1),
    ],
    ids=['channels first', 'channels last', 'tokens', 'sequence first'],
)
def test_a_batch_of_two_keeps_its_images_apart(output):
    check(output, {'': grid(2, 8, 12, batch=2)}, batch=2)


@pytest.mark.parametrize(
    ('output', 'layer', 'reason'),
    [
        (torch.zeros(1, 8, 96, 96), 'backbone.attn', r'\(1, 8, 96, 96\): attention between 96 tokens'),
        (torch.zeros(1, 8, 97, 97), 'backbone.attn', 'attention between 97 tokens'),
        (
            torch.zeros(24, 49, 32),
            'backbone.w_msa',
            r'\(24, 49, 32\): its first axis is not the batch of 1 but regions',
        ),
        (torch.zeros(24, 3, 49, 49), 'backbone.w_msa', 'regions, windows or queries, so it has no place in the image'),
        (torch.zeros(1000, 256, 7, 7), 'roi_head.bbox_roi_extractor', 'one per box and not one per image; take neck'),
        (torch.zeros(1, 256, 7, 7), 'roi_head.mask_roi_extractor', 'features of regions'),
        (torch.zeros(1000, 256, 7, 7), 'extractor', 'its first axis is not the batch of 1'),
        (torch.zeros(6, 1, 96, 4), 'decoder', 'its first axis is not the batch of 1'),
        (torch.zeros(1, 96, 4), 'decoder.layers.0', 'one row per object query, which has no place in the image'),
        (torch.zeros(96, 1, 4), 'decoder.layers.0', 'one row per object query'),
        (torch.zeros(1, 96, 4), 'bbox_head.reg_branches.0', 'one row per object query'),
        (torch.zeros(1, 100, 4), 'panoptic_head.transformer_decoder.layers.0', 'one row per object query'),
        (torch.zeros(1, 2, 8, 12, dtype=torch.int64), 'x', 'of torch.int64, expected floating-point features'),
        (torch.zeros(1, 2, 8, 12, dtype=torch.bool), 'x', 'of torch.bool'),
        (torch.zeros(3, 8, 12, 2, 2), 'x', r'expected \(N, C, H, W\) or tokens \(N, L, C\)'),
        (torch.zeros(1, 256), 'x', r'a tensor of shape \(1, 256\), expected'),
        (torch.tensor(0.5), 'x', r'a tensor of shape \(\), expected'),
        (torch.zeros(1, 0, 8, 12), 'x', r'\(1, 0, 8, 12\), expected'),
        (torch.zeros(1, 3, 0, 12), 'x', 'expected'),
        (None, 'x', 'its output is a NoneType, expected a tensor'),
        ('text', 'x', 'its output is a str'),
        ((8, 12), 'x', 'its output is a tuple'),
        ([None, torch.zeros(3)], 'x', r'feature map: \[1\] is a tensor of shape \(3,\)'),
    ],
)
def test_what_has_no_place_in_the_image_is_refused_with_the_reason(output, layer, reason):
    with pytest.raises(LayerError, match=reason) as caught:
        maps_of(output, INPUT, layer=layer)
    assert str(caught.value).startswith(f'{layer} puts out no feature map: ')


def test_attention_is_told_from_a_map_on_a_square_input_too():
    with pytest.raises(LayerError, match='attention between 400 tokens'):
        maps_of(torch.zeros(1, 2, 400, 400), (640, 640))
    check(grid(2, 80, 80), {'': grid(2, 80, 80)}, input_shape=(640, 640))


def test_nothing_put_out_is_refused():
    with pytest.raises(LayerError, match='x has no output'):
        maps_of((), INPUT, layer='x')


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        (('0',), {'[0][0]': P3, '[0][1]': P4}),
        (('0', '1'), {'[0][1]': P4}),
        (('cls',), {'[cls]': P5}),
    ],
)
def test_a_path_picks_a_part(path, expected):
    check({'0': [P3, P4], 'cls': P5}, expected, path=path)


@pytest.mark.parametrize(
    ('output', 'path', 'message'),
    [
        ((P3, P4), ('7',), r'neck has no output \[7\]: it puts out \[0\], \[1\]'),
        ((P3, P4), ('-1',), r'neck has no output \[-1\]'),
        (([P3], P4), ('0', '3'), r'neck has no output \[0\]\[3\]: it puts out \[0\]\[0\], \[1\]'),
        (P3, ('0',), r'neck has no output \[0\]: it puts out one plain value'),
        ([P3] * 20, ('20',), r'\[6\], \[7\]$'),
    ],
)
def test_a_path_that_leads_nowhere_is_answered_with_those_that_lead_somewhere(output, path, message):
    with pytest.raises(LayerError, match=message):
        maps_of(output, INPUT, path=path, layer='neck')


def test_a_picked_part_that_is_no_map_is_refused():
    with pytest.raises(LayerError, match=r'neck puts out no feature map: \[1\] is a NoneType'):
        maps_of((P3, None), INPUT, path=('1',), layer='neck')


def test_averaged_attention_is_no_map():
    weights = torch.rand(1, 300, 300).softmax(dim=-1)  # a grid of 15x20 at stride 32 has 300 tokens too
    with pytest.raises(LayerError, match='attention'):
        maps_of(weights, (480, 640))
    assert maps_of(torch.randn(1, 300, 300), (480, 640))[0].features.shape == (1, 300, 15, 20)
