"""Which panels an explanation has, what is said of them, and where they look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featmap.explained.rows import Shown, drawn, focus, fused_map, label_for, lines_of, marked_of, window_around
from tests.explanation_helpers import FOUND, SHAPE, explanation


def kinds(explanations, zoom=False):
    return [[shown.kind for shown in line.panels] for line in lines_of(explanations, zoom)]


def test_a_row_for_each_target():
    both = [explanation(0), explanation(1)]
    assert kinds(both) == [['crop', 'map'], ['crop', 'map']]
    assert kinds(both, zoom=True) == [['crop', 'map', 'zoom'], ['crop', 'map', 'zoom']]
    assert [line.head for line in lines_of(both, False)] == ['box 0 · cat 0.90', 'box 1 · dog 0.80']


def test_a_single_target_has_a_crop_where_it_is_zoomed():
    assert kinds([explanation(0)]) == [['map']]
    assert kinds([explanation(0)], zoom=True) == [['crop', 'map', 'zoom']]


def test_methods_stand_side_by_side_until_the_row_is_too_long():
    methods = [explanation(0, method=name) for name in ('layercam', 'odam')]
    assert kinds(methods, zoom=True) == [['crop', 'map', 'zoom', 'map', 'zoom']]
    many = [explanation(0, method=name) for name in ('layercam', 'odam', 'gradcam')]
    assert kinds(many, zoom=True) == [['crop', 'map', 'zoom']] * 3


def test_what_has_no_place_of_its_own_is_not_zoomed():
    assert kinds([explanation(None), explanation(None, label='dog · 5 %')], zoom=True) == [['map'], ['map']]


def test_several_layers_are_one_map_on_the_pixels_of_the_image():
    fused = explanation(0, ('backbone', 'neck'))
    item = drawn(fused)[0]
    assert (item.name, item.shape, item.stride) == ('backbone + neck', (1, *SHAPE), (1.0, 1.0))
    np.testing.assert_array_equal(item.values[0], fused.heat)
    assert label_for(Shown('map', fused, item)) == 'layercam · backbone + neck · mean · 0 … 1'
    alone = explanation(0)
    assert drawn(alone) == alone.maps


def test_what_layers_are_parts_of_is_said_once():
    stages = explanation(0, ('backbone.stage1', 'backbone.stage2', 'neck[0]'), fuse='product')
    assert label_for(Shown('map', stages, drawn(stages)[0])) == (
        'layercam · backbone.stage1 + stage2 + neck[0] · product · 0 … 1'
    )


@pytest.mark.parametrize(
    ('names', 'said'),
    [
        (('stages.1', 'stages.2'), 'stages.1 + stages.2'),
        (('backbone.layers.1', 'backbone.layers.2'), 'backbone.layers.1 + layers.2'),
    ],
)
def test_a_number_is_not_left_alone(names, said):
    assert drawn(explanation(0, names))[0].name == said


def test_labels_tell_method_layer_scale_and_what_has_to_be_known():
    one = explanation(0, method='eigen', class_agnostic=True, notes=('IoU 0.5',))
    map_ = Shown('map', one, one.maps[0])
    assert label_for(map_) == 'eigen · class-agnostic · backbone · 16×8×12 · stride 10 · IoU 0.5 · 0 … 1'
    assert label_for(Shown('zoom', one, one.maps[0]), (1, 2, 30, 40)) == 'eigen, zoomed · 1,2 – 30,40 · 0 … 1'
    assert label_for(Shown('crop', one), (1, 2, 30, 40)) == 'crop · 1,2 – 30,40'


def test_the_focus_is_the_box_or_what_is_around_the_region():
    region = np.zeros(SHAPE, bool)
    region[20:31, 40:61] = True
    assert focus(explanation(None, region=region)).tolist() == [40, 20, 61, 31]
    assert focus(explanation(2)).tolist() == [70, 30, 110, 70]
    assert focus(explanation(None)) is None
    assert focus(explanation(None, region=np.zeros(SHAPE, bool))) is None


@pytest.mark.parametrize(
    ('box', 'window'),
    [
        ((50, 30, 60, 50), (16, 14, 94, 66)),  # a margin of 16 pixels: 52 high, and 1.5 times as wide
        ((0, 0, 10, 10), (0, 0, 63, 42)),  # moved into the image
        ((5, 5, 115, 75), (0, 0, 120, 80)),  # no larger than the image
        ((20, 20, 100, 30), (0, 0, 120, 80)),  # a quarter of its length around it
    ],
)
def test_a_zoom_is_of_the_shape_of_the_panel_and_within_the_image(box, window):
    assert window_around(np.array(box), SHAPE, 1.5) == window


def test_what_is_bold():
    marked = marked_of([explanation(1), explanation(2)], FOUND)
    assert (marked.tags, marked.among, marked.labels.tolist()) == (('1 dog 0.80', '2 cat 0.40'), (1, 2), [1, 0])
    np.testing.assert_array_equal(marked.boxes, FOUND.boxes[1:])
    assert marked_of([explanation(1)], FOUND, tags=False).tags == ()
    all_cats = marked_of([explanation(None, label='class cat · 2 detections')], FOUND)
    assert (all_cats.among, all_cats.tags) == ((0, 2), ('0 cat 0.90', '2 cat 0.40'))
    side = marked_of([explanation(1, label='box 1 · left side · dog 0.80')], FOUND)
    assert side.tags == ('1 dog 0.80 left side',)
    missed = marked_of([replace(explanation(0), index=None, label='missed cat · 0.11')], FOUND)
    assert (missed.among, missed.tags) == ((), ('missed cat 0.11',))


def test_a_fused_map_of_a_large_image_is_as_large_as_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    one = explanation(0, layers=('a', 'b'))
    monkeypatch.setattr('featmap.explained.rows.PANEL_SIZE', 40)
    small = fused_map(one)
    assert max(small.shape[1:]) == 40
    height, width = one.heat.shape
    assert small.geometry.image_shape == (height, width)
    drawn_large = small.geometry.warp(small.values, small.stride)[0]
    np.testing.assert_allclose(drawn_large, one.heat, atol=0.15)
