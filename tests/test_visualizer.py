from __future__ import annotations

import inspect
import warnings

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.visualization import Visualizer
from PIL import Image

from featmap.errors import DrawError, OptionError
from featmap.geometry import ImageGeometry
from featmap.registry import VISUALIZERS
from featmap.structures import Detections, FeatureMap
from featmap.visualizer import FeatMapVisualizer

NAN, INF = float('nan'), float('inf')
BLUE, RED = (0, 0, 128), (128, 0, 0)  # the lowest and the highest colour of jet

draw = FeatMapVisualizer.draw_featmap


@pytest.fixture(autouse=True)
def _without_mmengine_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Since the spatial dimensions of')
        yield


def features(channels: int, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(channels, rows, columns, generator=torch.Generator().manual_seed(seed))


def photo(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The largest difference over RGB, for each pixel."""
    assert one.shape == other.shape
    assert one.dtype == other.dtype == np.uint8
    return np.abs(one.astype(int) - other).max(axis=-1)


# --- draw_featmap takes the place of MMEngine's

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
    height, width = 72, 90
    maps = features(channels, 24, 30) if overlay else features(channels, height, width)
    image = None if overlay is None else photo(*overlay)
    ours = draw(maps, image, None, topk, arrangement)
    theirs = Visualizer.draw_featmap(maps, image, None, topk, arrangement)
    assert ours.shape == theirs.shape == (height * arrangement[0], width * arrangement[1], 3)
    found = difference(ours, theirs)
    for index in range(arrangement[0] * arrangement[1]):
        row, column = divmod(index, arrangement[1])
        panel = (slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
        if index < min(topk, channels):
            # Below the channel's number, which each writes its own way. Matplotlib rounds once more.
            assert found[panel][20:].max() <= 5
            assert (found[panel][20:] > 2).mean() < 1e-3
            assert (ours[panel][2:14, 2:40] > 200).mean() > 0.3
            assert (ours[panel][2:14, 2:40] < 100).any()
        else:
            assert (ours[panel] == 255).all()
            assert (theirs[panel] == 255).all()


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


# --- draw_maps


def feature_map(values, geometry: ImageGeometry | None = None, **fields) -> FeatureMap:
    """A map of (h, w) or (K, h, w) values, by default over an image of 8 pixels a cell."""
    planes = np.asarray(values, np.float32)
    planes = planes[None] if planes.ndim == 2 else planes
    rows, columns = planes.shape[1:]
    geometry = geometry or ImageGeometry.whole((rows * 8, columns * 8))
    given = {
        'layer': 'neck',
        'shape': (64, rows, columns),
        'stride': geometry.stride((rows, columns)),
        'reducer': 'squeeze_mean',
        'channels': (None,) * len(planes),
    }
    return FeatureMap(planes, geometry=geometry, **{**given, **fields})


def drawn(image: np.ndarray, *maps: FeatureMap, detections=None, **options):
    """The panels of the maps, cut out of the picture, and their labels."""
    rendering = FeatMapVisualizer(**options).draw_maps(image, maps, detections)
    parts = [
        rendering.image[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width] for panel in rendering.panels
    ]
    return parts, [panel.label for panel in rendering.panels]


GREY = np.full((32, 32, 3), 100, np.uint8)
RAMP = [[0, 1, 2, 3]] * 4


def test_the_original_comes_first_then_a_panel_for_each_map():
    parts, labels = drawn(GREY, feature_map(RAMP), feature_map(RAMP, layer='backbone'))
    assert len(parts) == 3
    np.testing.assert_array_equal(parts[0], GREY)
    assert labels[0] == 'image · 32×32'
    assert [label.split(' · ')[0] for label in labels[1:]] == ['neck', 'backbone']


def test_without_maps_there_is_the_original():
    parts, labels = drawn(GREY)
    assert len(parts) == len(labels) == 1


def test_heat_is_red_where_the_values_are_high_and_blue_where_they_are_low():
    parts, _ = drawn(GREY, feature_map(RAMP), alpha=1.0)
    assert (parts[1][:, 28:] == RED).all()
    assert (parts[1][:, :4] == BLUE).all()
    middle = parts[1][16, 16].astype(int)
    assert middle[1] == 255  # jet is green in the middle


@pytest.mark.parametrize(('alpha', 'pixel'), [(0.0, (100, 100, 100)), (0.5, (114, 50, 50)), (1.0, RED)])
def test_alpha(alpha, pixel):
    parts, _ = drawn(GREY, feature_map(RAMP), alpha=alpha)
    assert tuple(parts[1][0, 31]) == pixel


def test_heat_lies_over_its_place_in_a_letterboxed_image():
    # 192 x 108 in 64 x 64: a third the size, 36 rows from row 14 on. Cells of 8 pixels.
    geometry = ImageGeometry((108, 192), (64, 64), (1 / 3, 1 / 3), (0, 14))
    values = np.zeros((8, 8))
    values[3, 6] = 1
    values[0] = values[7] = 50  # on padding
    parts, labels = drawn(np.zeros((108, 192, 3), np.uint8), feature_map(values, geometry), alpha=1.0, colormap='bone')
    assert labels[1].endswith(' · 0 … 1')
    rows, columns = np.nonzero(parts[1].sum(axis=-1) >= parts[1].sum(axis=-1).max() - 6)
    # The cell's middle: x = 6.5 * 8 * 3 = 156, y = (3.5 * 8 - 14) * 3 = 42
    assert abs(columns.mean() + 0.5 - 156) <= 0.5
    assert abs(rows.mean() + 0.5 - 42) <= 0.5
    assert (parts[1][0] == 0).all()


def test_cells_on_padding_have_no_part_in_the_range():
    geometry = ImageGeometry((16, 32), (32, 32), offset=(0, 8))
    values = [[90, 90, 90, 90], [0, 1, 2, 3], [0, 1, 2, 3], [-90, NAN, INF, 0]]
    _, labels = drawn(np.zeros((16, 32, 3), np.uint8), feature_map(values, geometry))
    assert labels[1].endswith(' · stride 8 · 0 … 3')


@pytest.mark.parametrize('value', [0.0, 0.5, -7.0])
def test_a_constant_map_is_flat_and_says_so(value):
    parts, labels = drawn(GREY, feature_map(np.full((4, 4), value)))
    assert (parts[1] == (50, 50, 114)).all()
    assert labels[1].endswith(f' · constant {value:g}')


def test_noise_shows_its_range():
    noise = np.zeros((4, 4))
    noise[0, 0] = 1e-7
    assert drawn(GREY, feature_map(noise))[1][1].endswith(' · 0 … 1e-07')
    assert drawn(GREY, feature_map(noise * 10 + 0.5))[1][1].endswith(' · 0.5 … 0.500001')


@pytest.mark.parametrize('bad', [NAN, INF, -INF])
def test_a_cell_that_is_not_finite_shows_the_image_and_is_counted(bad):
    values = np.array(RAMP, float)
    values[1, 2] = bad
    image = photo(32, 32)
    parts, labels = drawn(image, feature_map(values), alpha=1.0)
    assert labels[1].endswith(' · 0 … 3, 1 non-finite')
    # The cell covers rows 8 to 16 and columns 16 to 24.
    np.testing.assert_array_equal(parts[1][10:14, 18:22], image[10:14, 18:22])
    assert (parts[1][:, 28:] == RED).all()
    assert (parts[1][:, :4] == BLUE).all()
    assert (difference(parts[1], image)[24:] > 0).all()


def test_a_map_without_any_finite_value_on_the_image_is_refused():
    with pytest.raises(DrawError, match=r'neck\[0\] holds no finite value: all 16 cells on the image are NaN'):
        drawn(GREY, feature_map(np.full((4, 4), NAN), path='[0]'))
    geometry = ImageGeometry((16, 32), (32, 32), offset=(0, 8))
    with pytest.raises(DrawError, match='all 8 cells on the image'):
        drawn(np.zeros((16, 32, 3), np.uint8), feature_map([[1] * 4, [NAN] * 4, [INF] * 4, [1] * 4], geometry))


def test_a_map_of_another_image_is_refused():
    with pytest.raises(DrawError, match=r'neck belongs to an image of \(32, 32\), got one of \(32, 40\)'):
        drawn(np.zeros((32, 40, 3), np.uint8), feature_map(RAMP))


@pytest.mark.parametrize(
    ('fields', 'label'),
    [
        ({}, 'neck · squeeze_mean · 64×4×4 · stride 8 · 0 … 3'),
        ({'path': '[1]'}, 'neck[1] · squeeze_mean · 64×4×4 · stride 8 · 0 … 3'),
        ({'channels': (7,), 'reducer': 'select_max'}, 'neck · channel 7 · 64×4×4 · stride 8 · 0 … 3'),
        ({'channels': (0,)}, 'neck · channel 0 · 64×4×4 · stride 8 · 0 … 3'),
        ({'call': 2, 'calls': 5}, 'neck#2 · squeeze_mean · 64×4×4 · stride 8 · 0 … 3'),
        ({'call': 0, 'calls': 2, 'path': '[0]'}, 'neck#0[0] · squeeze_mean · 64×4×4 · stride 8 · 0 … 3'),
    ],
)
def test_the_label_says_what_is_seen(fields, label):
    assert drawn(GREY, feature_map(RAMP, **fields))[1][1] == label


def test_the_label_gives_both_strides_where_they_differ():
    geometry = ImageGeometry((32, 64), (32, 64))
    item = feature_map(RAMP, geometry)
    assert item.stride == (8, 16)
    assert drawn(np.zeros((32, 64, 3), np.uint8), item)[1][1] == 'neck · squeeze_mean · 64×4×4 · stride 8×16 · 0 … 3'


def test_without_labels_there_is_no_strip():
    rendering = FeatMapVisualizer(labels=False).draw_maps(GREY, [feature_map(RAMP)])
    assert rendering.image.shape == (32 + 2 * 2, 2 * 32 + 3 * 2, 3)
    assert rendering.panels[1].label.startswith('neck · ')
    assert FeatMapVisualizer().draw_maps(GREY, [feature_map(RAMP)]).image.shape[0] > 32 + 2 * 2 + 11


@pytest.mark.parametrize('count', range(1, 11))
@pytest.mark.parametrize('named', [True, False])
def test_n_planes_give_n_panels(count, named):
    planes = np.zeros((count, 4, 4))
    for number in range(count):
        planes[number, number % 4, number // 4] = 1
    channels = tuple(range(100, 100 + count)) if named else ()
    parts, labels = drawn(GREY, feature_map(planes, channels=channels), alpha=1.0)
    assert len(parts) == 1 + count
    for number, (part, label) in enumerate(zip(parts[1:], labels[1:])):
        row, column = number % 4, number // 4
        assert part[row * 8 + 4, column * 8 + 4, 0] > 100
        assert part[row * 8 + 4, column * 8 + 4, 2] < 30
        assert (part[(row + 2) % 4 * 8 + 4, (column + 2) % 4 * 8 + 4] == BLUE).all()
        assert (f'channel {100 + number}' in label) is named


def test_every_panel_has_its_own_range():
    _, labels = drawn(GREY, feature_map(np.array([RAMP, np.array(RAMP) * 10])))
    assert [label.rpartition(' · ')[2] for label in labels[1:]] == ['0 … 3', '0 … 30']


@pytest.mark.parametrize(('arrangement', 'rows', 'columns'), [(None, 2, 3), ((3, 2), 3, 2), ((1, 6), 1, 6)])
def test_the_arrangement_of_planes(arrangement, rows, columns):
    visualizer = FeatMapVisualizer(arrangement=arrangement)
    panels = visualizer.draw_maps(GREY, [feature_map(np.random.default_rng(0).random((6, 4, 4)))]).panels[1:]
    assert (len({panel.y for panel in panels}), len({panel.x for panel in panels})) == (rows, columns)


def test_three_planes_as_an_image_are_red_green_and_blue_on_one_range():
    planes = np.zeros((3, 4, 4))
    planes[0, 0] = 1.0
    planes[1, 3] = 0.5
    parts, labels = drawn(GREY, feature_map(planes, kind='image', channels=(0, 1, 2), reducer='as it is'), alpha=1.0)
    assert len(parts) == 2
    assert (parts[1][:4] == (255, 0, 0)).all()
    assert (parts[1][28:] == (0, 127, 0)).all()
    assert labels[1] == 'neck · as it is · 64×4×4 · stride 8 · 0 … 1'


def test_one_plane_as_an_image_is_grey():
    parts, _ = drawn(GREY, feature_map(RAMP, kind='image', channels=(0,)), alpha=1.0)
    assert (parts[1][:, 28:] == 255).all()
    assert (parts[1][:, :4] == 0).all()
    assert (np.ptp(parts[1], axis=2) == 0).all()


def boxes(count: int) -> Detections:
    return Detections(
        np.array([[40, 40, 80, 90]] * count, np.float32).reshape(-1, 4),
        np.full(count, 0.9, np.float32),
        np.zeros(count, np.int64),
        ('cat',),
    )


@pytest.mark.parametrize(('count', 'said'), [(0, '0 detections'), (1, '1 detection'), (2, '2 detections')])
def test_detections_are_drawn_on_every_panel_and_counted(count, said):
    image = np.full((128, 128, 3), 100, np.uint8)
    item = feature_map(np.zeros((16, 16)))
    parts, labels = drawn(image, item, detections=boxes(count), alpha=0.0)
    assert labels[0] == f'image · 128×128 · {said}'
    assert (parts[0] == image).all() == (count == 0)
    assert (parts[1] == image).all() == (count == 0)
    if count:
        for part in parts:
            assert np.abs(part[60, 40].astype(int) - (242, 196, 36)).max() <= 25
        tag = (slice(20, 36), slice(40, 80))
        assert (parts[0][tag] != 100).any()
        assert (parts[1][tag] == 100).all()
    assert (image == 100).all()


def test_without_detections_nothing_is_said_about_them():
    assert drawn(GREY, feature_map(RAMP), detections=None)[1][0] == 'image · 32×32'


def test_inputs_are_left_alone():
    image, item = photo(32, 32), feature_map(np.array(RAMP, np.float32))
    before, values = image.copy(), item.values.copy()
    drawn(image, item, detections=boxes(1))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(item.values, values)


# --- the visualizer itself


@pytest.mark.parametrize(
    ('options', 'message'),
    [({'alpha': 1.5}, 'from 0 to 1'), ({'alpha': -0.1}, 'from 0 to 1'), ({'colormap': 'jett'}, 'jet')],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        FeatMapVisualizer(**options)


def test_two_visualizers_do_not_share_their_settings():
    item = feature_map(RAMP)
    first = FeatMapVisualizer(alpha=1.0, colormap='jet')
    before = first.draw_maps(GREY, [item]).image
    second = FeatMapVisualizer(alpha=0.25, colormap='bone', labels=False, arrangement=(1, 1))
    assert (second.alpha, second.labels, second.arrangement) == (0.25, False, (1, 1))
    assert second.draw_maps(GREY, [item]).image.shape != before.shape
    np.testing.assert_array_equal(first.draw_maps(GREY, [item]).image, before)


def test_the_registry_builds_one_visualizer_a_name():
    config = {'type': 'FeatMapVisualizer', 'name': 'test-one', 'alpha': 0.1}
    first = VISUALIZERS.build(config)
    second = VISUALIZERS.build({**config, 'name': 'test-two', 'alpha': 0.9})
    assert isinstance(first, FeatMapVisualizer)
    assert (first.alpha, second.alpha) == (0.1, 0.9)
    assert config == {'type': 'FeatMapVisualizer', 'name': 'test-one', 'alpha': 0.1}


def png(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


def test_a_picture_is_written_by_the_local_backend(tmp_path):
    visualizer = FeatMapVisualizer(vis_backends=[{'type': 'LocalVisBackend'}], save_dir=str(tmp_path))
    rendering = visualizer.add_maps('street', GREY, [feature_map(RAMP)], step=3)
    (path,) = tmp_path.rglob('*.png')
    assert path.name == 'street_3.png'
    np.testing.assert_array_equal(png(path), rendering.image)
    assert rendering.panels[0].label == 'street · 32×32'


def test_backends_given_twice_write_to_their_own_folders(tmp_path):
    backends = [{'type': 'LocalVisBackend'}]
    for folder in ('one', 'two'):
        visualizer = FeatMapVisualizer(vis_backends=backends, save_dir=str(tmp_path / folder))
        visualizer.add_maps(folder, GREY, [feature_map(RAMP)])
    assert backends == [{'type': 'LocalVisBackend'}]
    assert sorted(path.name for path in (tmp_path / 'one').rglob('*.png')) == ['one_0.png']
    assert sorted(path.name for path in (tmp_path / 'two').rglob('*.png')) == ['two_0.png']


@pytest.mark.parametrize('backends', [None, [], {'type': 'LocalVisBackend'}])
def test_backends_as_mmengine_takes_them(backends, tmp_path):
    visualizer = FeatMapVisualizer('name', None, backends, str(tmp_path))
    visualizer.add_maps('x', GREY, [feature_map(RAMP)])
    assert len(list(tmp_path.rglob('*.png'))) == (1 if backends else 0)


def test_a_picture_is_written_by_the_tensorboard_backend(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    visualizer = FeatMapVisualizer(vis_backends=[{'type': 'TensorboardVisBackend'}], save_dir=str(tmp_path))
    renderings = {
        step: visualizer.add_maps('street', photo(32, 32, seed=step), [feature_map(RAMP)], step=step) for step in (0, 7)
    }
    visualizer.close()
    (events,) = tmp_path.rglob('events.out*')
    accumulator = EventAccumulator(str(events.parent))
    accumulator.Reload()
    assert accumulator.Tags()['images'] == ['street']
    written = accumulator.Images('street')
    assert [event.step for event in written] == [0, 7]
    for event in written:
        bgr = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(bgr[..., ::-1], renderings[event.step].image)
