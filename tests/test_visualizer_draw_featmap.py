"""``draw_featmap`` takes the place of MMEngine's."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.visualization import Visualizer

from featmap.errors import DrawError
from featmap.visualizer import FeatMapVisualizer
from tests.visualizer_helpers import BLUE, RED, difference, photo

NAN, INF = float('nan'), float('inf')
draw = FeatMapVisualizer.draw_featmap


@pytest.fixture(autouse=True)
def _without_mmengine_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Since the spatial dimensions of')
        yield


def features(channels: int, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(channels, rows, columns, generator=torch.Generator().manual_seed(seed))


SHAPES = [(8, 20, 20), (1, 9, 9), (3, 13, 17), (64, 5, 7), (256, 20, 25), (16, 40, 30)]


@pytest.mark.parametrize('reduction', ['squeeze_mean', 'select_max'])
@pytest.mark.parametrize('overlay', [None, (96, 128), (37, 53), (8, 6)])
@pytest.mark.parametrize('resize', [None, (60, 80), (33, 21)])
def test_the_picture_is_that_of_mmengine(reduction, overlay, resize):
    """Both round the scaled values down to whole levels.

    Where a value lies within float32 precision of a whole level, one tool may get the level below: one pixel in some
    10000. A level is at most 4 of 255 in jet, and so 2 at alpha 0.5.
    """
    image = None if overlay is None else photo(*overlay)
    pixels = off = 0
    for seed, shape in enumerate(SHAPES):
        maps = features(*shape, seed=seed)
        maps = maps.relu() if seed % 2 else maps
        for alpha in (0.5, 0.3, 0.0, 1.0) if seed == 0 else (0.5,):
            ours = draw(maps, image, reduction, resize_shape=resize, alpha=alpha)
            theirs = Visualizer.draw_featmap(maps, image, reduction, resize_shape=resize, alpha=alpha)
            found = difference(ours, theirs)
            assert found.max() <= (2 if alpha <= 0.5 and overlay else 4)
            pixels, off = pixels + found.size, off + (found > 0).sum()
    assert off <= max(3, pixels * 1e-3)


@pytest.mark.parametrize('reduction', ['squeeze_mean', 'select_max'])
@pytest.mark.parametrize('shape', [(5, 1, 12), (5, 12, 1)])
def test_maps_of_one_row_or_column_are_drawn_as_mmengine_draws_them(reduction, shape):
    maps, image = features(*shape), photo(96, 128)
    assert difference(draw(maps, image, reduction), Visualizer.draw_featmap(maps, image, reduction)).max() <= 2


@pytest.mark.parametrize('overlay', [None, (48, 64)])
@pytest.mark.parametrize('count', [1, 3])
def test_one_or_three_channels_without_reduction_as_mmengine(count, overlay):
    image = None if overlay is None else photo(*overlay)
    maps = features(count, 12, 16)
    for topk in (-1, 0):
        found = difference(draw(maps, image, None, topk), Visualizer.draw_featmap(maps, image, None, topk))
        assert found.max() <= 4
        assert (found > 2).mean() < 1e-3


def test_a_grey_image_under_the_heat():
    maps, image = features(4, 12, 16), photo(48, 64, channels=1)
    found = difference(draw(maps, image), Visualizer.draw_featmap(maps, image))
    assert (found.shape, found.max() <= 2) == ((48, 64), True)


@pytest.mark.parametrize('overlay', [None, (24, 32)])
@pytest.mark.parametrize('value', [0.0, -3.5])
def test_a_constant_map_is_flat_as_mmengine_draws_it(value, overlay):
    maps, image = torch.full((2, 6, 8), value), None if overlay is None else np.full((*overlay, 3), 100, np.uint8)
    ours = draw(maps, image)
    assert difference(ours, Visualizer.draw_featmap(maps, image)).max() == 0
    assert np.unique(ours.reshape(-1, 3), axis=0).tolist() == [[0, 0, 128] if image is None else [50, 50, 114]]


@pytest.mark.parametrize('size', [(96, 128), (37, 53), (50, 64)])
@pytest.mark.parametrize('value', [0.1, 0.3, 1 / 3, -2.7182, 123.456])
def test_a_constant_map_is_flat_where_interpolation_rounds(value, size):
    """MMEngine draws the rounding errors, from the lowest colour to the highest."""
    for shape in ((3, 7, 9), (2, 1, 1)):
        drawn = draw(torch.full(shape, value), np.full((*size, 3), 100, np.uint8))
        assert (drawn == (50, 50, 114)).all()
    holed = torch.full((1, 7, 9), value)
    holed[0, 3, 4] = NAN
    assert len(np.unique(draw(holed, np.full((*size, 3), 100, np.uint8)).reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize('overlay', [None, (72, 90)])
@pytest.mark.parametrize(
    ('channels', 'topk', 'arrangement'), [(8, 5, (2, 3)), (8, 8, (3, 3)), (3, 6, (2, 3)), (2, 1, (1, 1))]
)
def test_the_grid_of_channels_is_that_of_mmengine(channels, topk, arrangement, overlay):
    """MMEngine puts the panels together with matplotlib, of which some versions displace pixels by up to three.

    So the grid says which channel stands where, and MMEngine's picture of that channel alone what it looks like.
    """
    height, width = 72, 90
    maps = F.interpolate(features(channels, 6, 8)[None], (24, 30) if overlay else (height, width), mode='bicubic')[0]
    image = None if overlay is None else photo(*overlay)
    ours = draw(maps, image, None, topk, arrangement)
    theirs = Visualizer.draw_featmap(maps, image, None, topk, arrangement)
    alone = [Visualizer.draw_featmap(maps[channel : channel + 1], image) for channel in range(channels)]
    assert ours.shape == theirs.shape == (height * arrangement[0], width * arrangement[1], 3)
    seen = set()
    for index in range(arrangement[0] * arrangement[1]):
        row, column = divmod(index, arrangement[1])
        panel = (slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
        if index < min(topk, channels):
            # Below the channel's number, which each writes its own way.
            far = [difference(theirs[panel], one)[20:].mean() for one in alone]
            channel = int(np.argmin(far))
            seen.add(channel)
            assert all(far[channel] < 0.7 * other for each, other in enumerate(far) if each != channel)
            found = difference(ours[panel], alone[channel])[20:]
            assert found.max() <= 4
            assert (found > 2).mean() < 1e-3
            assert (ours[panel][2:14, 2:40] > 200).mean() > 0.3
            assert (ours[panel][2:14, 2:40] < 100).any()
        else:
            assert (ours[panel] == 255).all()
            assert (theirs[panel][3:, 3:] == 255).all()
    assert len(seen) == min(topk, channels)


# Upsampled from 3 to 4 cells an axis, the outer cells are drawn 1.375 times each and the middle one 1.25 times.
# Downsampled from 9 to 4, the middle cell is not drawn at all.
MIDDLE_OR_CORNER = torch.zeros(2, 3, 3)
MIDDLE_OR_CORNER[0, 1, 1], MIDDLE_OR_CORNER[1, 0, 0] = 1.0, 0.9
SEEN_OR_NOT = torch.zeros(2, 9, 9)
SEEN_OR_NOT[0, 4, 4], SEEN_OR_NOT[1, 3, 3] = 10.0, 1.0


@pytest.mark.parametrize('maps', [MIDDLE_OR_CORNER, SEEN_OR_NOT], ids=['upsampled', 'downsampled'])
def test_channels_are_ranked_as_they_are_drawn(maps):
    assert maps.sum((1, 2)).argmax() == 0
    assert F.interpolate(maps[None], (4, 4), mode='bilinear')[0].sum((1, 2)).argmax() == 1
    image = photo(4, 4)
    ours = draw(maps, image, 'select_max')
    assert difference(ours, Visualizer.draw_featmap(maps, image, 'select_max')).max() <= 2
    assert difference(ours, draw(maps[1:], image, 'select_max')).max() == 0
    assert difference(ours, draw(maps[:1], image, 'select_max')).max() > 2
    plain = draw(maps, None, 'select_max')
    assert difference(plain, Visualizer.draw_featmap(maps, None, 'select_max')).max() <= 4
    assert difference(plain, draw(maps[:1], None, 'select_max')).max() == 0


FIVE = torch.ones(5, 4, 4)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ((FIVE.numpy(),), 'should be a torch.Tensor, got ndarray'),
        ((None,), 'should be a torch.Tensor, got NoneType'),
        ((FIVE[None],), r'got the shape \(1, 5, 4, 4\)'),
        ((FIVE[0],), r'got the shape \(4, 4\)'),
        ((FIVE, None, 'mean'), "no reducer is called 'mean'"),
        ((FIVE, None, ''), 'no reducer is called'),
        ((FIVE, None, None, 5, (2, 2)), r'an arrangement of \(2, 2\) has 4 places for topk=5'),
        ((FIVE, None, None, 0), '5 channels cannot be drawn as it is'),
        ((FIVE, None, None, -1), '5 channels cannot be drawn as it is'),
    ],
)
def test_misuse_is_the_assertion_that_it_is_in_mmengine(args, message):
    with pytest.raises(AssertionError):
        Visualizer.draw_featmap(*args)
    with pytest.raises(DrawError, match=message) as caught:
        draw(*args)
    assert isinstance(caught.value, AssertionError)


@pytest.mark.parametrize('shape', [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
@pytest.mark.parametrize('reduction', ['squeeze_mean', 'select_max', None])
def test_an_empty_map_is_refused(shape, reduction):
    with pytest.raises(DrawError, match='featmap is empty'):
        draw(torch.zeros(shape), photo(8, 8), reduction)


def test_the_arguments_are_those_of_mmengine():
    ours, theirs = inspect.signature(draw), inspect.signature(Visualizer.draw_featmap)
    assert list(ours.parameters) == list(theirs.parameters)
    assert [p.default for p in ours.parameters.values()] == [p.default for p in theirs.parameters.values()]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_drawn(dtype):
    maps, image = features(4, 8, 8), photo(16, 16)
    for reduction in ('squeeze_mean', 'select_max', None):
        ours = draw(maps.to(dtype), image, reduction, 4, (2, 2))
        assert difference(ours, draw(maps.to(dtype).float(), image, reduction, 4, (2, 2))).max() <= 2


def test_features_with_a_graph_are_drawn_and_left_alone():
    maps = features(4, 8, 8).requires_grad_()
    image, before, drawn = photo(16, 16), photo(16, 16), maps.detach().clone()
    draw(maps * 1, image)
    draw(maps, image, None, 4, (2, 2))
    np.testing.assert_array_equal(image, before)
    assert torch.equal(maps, drawn)


def test_channels_are_not_upsampled(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('upsampled')

    monkeypatch.setattr(F, 'interpolate', refuse)
    maps = features(512, 20, 20)
    image = photo(480, 640)
    for reduction in ('squeeze_mean', 'select_max'):
        assert draw(maps, image, reduction).shape == (480, 640, 3)


@pytest.mark.parametrize('bad', [NAN, INF, -INF])
def test_cells_that_are_not_finite_leave_the_rest_of_the_picture(bad):
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0] = 1
    maps[0, 3, 3] = bad
    image = np.full((32, 32, 3), 100, np.uint8)
    drawn = draw(maps, image, alpha=1)
    assert tuple(drawn[0, 0]) in (RED, (132, 0, 0))  # the highest level or, by rounding, the one below
    assert tuple(drawn[16, 16]) == BLUE
    assert (drawn[27:, 27:] == 100).all()
    assert tuple(draw(maps, None, resize_shape=(32, 32))[31, 31]) == (0, 0, 0)


def test_a_map_without_any_finite_value_shows_the_bare_image():
    image = photo(16, 16)
    np.testing.assert_array_equal(draw(torch.full((2, 4, 4), NAN), image), image)
    assert (draw(torch.full((2, 4, 4), NAN)) == 0).all()
