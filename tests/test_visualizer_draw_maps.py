"""``draw_maps`` sets the image, a panel for each plane and their labels into one picture."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from featmap.errors import DrawError, FeatMapWarning, OptionError
from featmap.geometry import ImageGeometry
from featmap.structures import Detections, FeatureMap
from featmap.visualizer import FeatMapVisualizer
from tests.font_helpers import CJK, EMOJI, forget, system_fonts  # noqa: F401
from tests.visualizer_helpers import BLUE, GREY, RAMP, RED, difference, feature_map, photo

NAN, INF = float('nan'), float('inf')


def drawn(image: np.ndarray, *maps: FeatureMap, detections=None, **options):
    """The panels of the maps, cut out of the picture, and their labels."""
    rendering = FeatMapVisualizer(**options).draw_maps(image, maps, detections)
    parts = [
        rendering.image[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width] for panel in rendering.panels
    ]
    return parts, [panel.label for panel in rendering.panels]


def boxes(count: int) -> Detections:
    return Detections(
        np.array([[40, 40, 80, 90]] * count, np.float32).reshape(-1, 4),
        np.full(count, 0.9, np.float32),
        np.zeros(count, np.int64),
        ('cat',),
    )


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
        ({'channels': (7,), 'reducer': 'select_max'}, 'neck · select_max · channel 7 · 64×4×4 · stride 8 · 0 … 3'),
        ({'channels': (0,), 'reducer': 'channels'}, 'neck · channel 0 · 64×4×4 · stride 8 · 0 … 3'),
        ({'call': 2, 'calls': 5}, 'neck#2 · squeeze_mean · 64×4×4 · stride 8 · 0 … 3'),
        ({'call': 0, 'calls': 2, 'path': '[0]'}, 'neck#0[0] · squeeze_mean · 64×4×4 · stride 8 · 0 … 3'),
        ({'stride_known': False}, 'neck · squeeze_mean · 64×4×4 · stride ≈ 8 · 0 … 3'),
        ({'offset': (1, -2)}, 'neck · squeeze_mean · 64×4×4 · stride 8 · 2 … 3'),
        (
            {'offset': (-0.123, 0.4)},
            'neck · squeeze_mean · 64×4×4 · stride 8 · calibrated →0.40 ↑0.12 cells · 0 … 3',
        ),
    ],
)
def test_the_label_says_what_is_seen(fields, label):
    assert drawn(GREY, feature_map(RAMP, **fields))[1][1] == label


def test_cells_that_begin_where_the_image_does_are_not_called_calibrated():
    geometry = ImageGeometry((20, 32), (32, 32), offset=(0, 6))
    image = np.zeros((20, 32, 3), np.uint8)
    label = drawn(image, feature_map(RAMP, geometry, stride=(5, 8), offset=(6 / 5, 0)))[1][1]
    assert label == 'neck · squeeze_mean · 64×4×4 · stride 5×8 · 0 … 3'
    label = drawn(image, feature_map(RAMP, geometry, stride=(5, 8), offset=(6 / 5, 0.25)))[1][1]
    assert 'calibrated →0.25 cells' in label


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


def test_names_in_any_script_are_drawn_on_boxes_and_labels(system_fonts):  # noqa: F811
    image = np.full((240, 320, 3), 128, np.uint8)
    boxes = Detections(
        np.array([[20, 60, 120, 200], [180, 60, 300, 200]], np.float32), np.array([0.9, 0.8]), np.array([0, 1]),
        ('汽车\n🚗', 'سيارة'),
    )  # fmt: skip
    item = feature_map(RAMP, ImageGeometry.whole((240, 320)))
    system_fonts()
    with pytest.warns(FeatMapWarning, match='no font on this machine draws'):
        bare = FeatMapVisualizer().draw_maps(image, [item], boxes, '猫.jpg')
    forget()
    system_fonts(CJK, EMOJI)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = FeatMapVisualizer().draw_maps(image, [item], boxes, '猫.jpg')
        chosen = FeatMapVisualizer(font=str(CJK)).draw_maps(image, [item], boxes, '猫.jpg')
    assert found.panels[0].label.startswith('猫.jpg')
    for other in (bare, chosen):
        assert other.image.shape != found.image.shape or (other.image != found.image).any()
    with pytest.raises(OptionError, match=r'the font .* cannot be read'):
        FeatMapVisualizer(font=__file__)
