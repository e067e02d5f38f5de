from __future__ import annotations

import cv2
import matplotlib
import numpy as np
import pytest
from PIL import ImageFont

from featmap.errors import OptionError
from featmap.rendering import text
from featmap.rendering.boxes import class_color, draw_boxes, line_width
from featmap.rendering.colors import blend, color_table, colorize
from featmap.rendering.normalize import Range, to_levels, value_range
from featmap.rendering.text import SEPARATOR, draw_lines, font_size, line_height, text_width, wrap
from featmap.rendering.tile import Cell, check_arrangement, near_square, tile
from featmap.structures import Detections

NAN, INF = float('nan'), float('inf')


# --- values to grey levels


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([], None),
        ([NAN], None),
        ([INF, -INF, NAN], None),
        ([0.5], Range(0.5, 0.5)),
        ([[1, 3], [2, -1]], Range(-1, 3)),
        ([NAN, 1, 2, NAN], Range(1, 2, bad=2)),
        ([INF, 1, 2], Range(1, 2, bad=1)),
        ([-INF, 7, 7], Range(7, 7, bad=1)),
    ],
)
def test_value_range(values, expected):
    assert value_range(np.array(values, np.float32)) == expected


@pytest.mark.parametrize(
    ('scale', 'label'),
    [
        (Range(0, 1), '0 … 1'),
        (Range(-1.23456, 98765), '-1.23 … 9.88e+04'),
        (Range(0, 1e-7), '0 … 1e-07'),
        (Range(0.5, 0.5), 'constant 0.5'),
        (Range(0, 2, bad=3), '0 … 2, 3 non-finite'),
        (Range(1, 1, bad=1), 'constant 1, 1 non-finite'),
        (Range(0.5, 0.5000001), '0.5 … 0.5000001'),
        (Range(1000, 1002), '1000 … 1002'),
    ],
)
def test_a_range_is_told_so_that_its_ends_differ(scale, label):
    assert str(scale) == label
    assert scale.constant is label.startswith('constant')


@pytest.mark.parametrize(
    ('values', 'scale', 'levels'),
    [
        ([0, 0.5, 1], Range(0, 1), [0, 127, 255]),
        ([-1, 0, 1, 3], Range(-1, 3), [0, 63, 127, 255]),
        ([-9, 2, 9], Range(0, 1), [0, 255, 255]),
        ([0, 0.999, 1], Range(0, 255), [0, 0, 1]),
        ([7, 7], Range(7, 7), [0, 0]),
        ([6, 8], Range(7, 7), [0, 0]),
        ([0, 1e-7], Range(0, 1e-7), [0, 255]),
    ],
)
def test_to_levels(values, scale, levels):
    found = to_levels(np.array(values, np.float32), scale)
    assert (found.dtype, found.tolist()) == (np.uint8, levels)


def test_levels_of_values_far_from_zero_are_not_coarser_than_the_values():
    values = np.linspace(100, 101, 256, dtype=np.float32)
    found = to_levels(values, Range(float(values[0]), float(values[-1])))
    assert np.abs(found.astype(int) - np.arange(256)).max() <= 1


def test_to_levels_leaves_the_values_alone():
    values = np.array([0.0, 1.0, 2.0], np.float32)
    to_levels(values, Range(0, 1))
    assert values.tolist() == [0, 1, 2]


# --- colours


def test_jet_is_red_at_the_top():
    table = color_table('jet')
    assert (table.shape, table.dtype) == ((256, 3), np.uint8)
    assert table[0].tolist() == [0, 0, 128]
    assert table[255].tolist() == [128, 0, 0]
    bgr = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)
    np.testing.assert_array_equal(table[None], cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


@pytest.mark.parametrize(
    ('name', 'lowest', 'highest'),
    [
        ('JET', [0, 0, 128], [128, 0, 0]),
        ('bone', [0, 0, 0], [255, 255, 255]),
        ('coolwarm', [59, 76, 192], [180, 4, 38]),  # matplotlib's
        ('Reds', [255, 245, 240], [103, 0, 13]),
    ],
)
def test_colour_maps_of_opencv_and_matplotlib(name, lowest, highest):
    assert (color_table(name)[0].tolist(), color_table(name)[255].tolist()) == (lowest, highest)


def test_a_colour_map_of_matplotlib_is_rounded_to_bytes():
    expected = matplotlib.colormaps['coolwarm'](np.linspace(0, 1, 256))[:, :3] * 255
    assert np.abs(color_table('coolwarm') - expected).max() <= 0.5


@pytest.mark.parametrize(('name', 'nearest'), [('jett', 'jet'), ('virids', 'viridis'), ('', 'nearest')])
def test_an_unknown_colour_map_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(OptionError, match=f'no colour map is called {name!r}.*{nearest}'):
        color_table(name)


def test_a_table_cannot_be_written_to():
    with pytest.raises(ValueError, match='read-only'):
        color_table('jet')[0] = 1


def test_colorize():
    table = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 7)], axis=1).astype(np.uint8)
    levels = np.array([[0, 1], [200, 255]], np.uint8)
    assert colorize(levels, table).tolist() == [[[0, 255, 7], [1, 254, 7]], [[200, 55, 7], [255, 0, 7]]]


@pytest.mark.parametrize(('alpha', 'expected'), [(0, 100), (0.25, 125), (0.5, 150), (1, 200)])
def test_blend(alpha, expected):
    image, heat = np.full((2, 3, 3), 100, np.uint8), np.full((2, 3, 3), 200, np.uint8)
    assert (blend(image, heat, alpha) == expected).all()
    assert (image == 100).all()
    assert (heat == 200).all()


def test_where_nothing_is_visible_the_image_stays():
    image = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    heat = np.full((2, 3, 3), 200, np.uint8)
    visible = np.array([[True, False, False], [False, True, False]])
    mixed = blend(image, heat, 1, visible)
    assert (mixed[visible] == 200).all()
    np.testing.assert_array_equal(mixed[~visible], image[~visible])


# --- tiles


@pytest.mark.parametrize(
    ('count', 'shape'),
    [
        (0, (1, 1)), (1, (1, 1)), (2, (1, 2)), (3, (2, 2)), (4, (2, 2)), (5, (2, 3)), (6, (2, 3)), (7, (3, 3)),
        (8, (3, 3)), (9, (3, 3)), (10, (3, 4)), (11, (3, 4)), (12, (3, 4)), (13, (4, 4)), (17, (4, 5)),
    ],
)  # fmt: skip
def test_near_square(count, shape):
    assert near_square(count) == shape


def test_near_square_holds_all_without_an_empty_row():
    for count in range(1, 200):
        rows, columns = near_square(count)
        assert (rows - 1) * columns < count <= rows * columns
        assert 0 <= columns - rows <= 1


@pytest.mark.parametrize(
    ('arrangement', 'count', 'expected'), [(None, 5, (2, 3)), ((1, 5), 5, (1, 5)), ((5, 2), 5, (5, 2))]
)
def test_check_arrangement(arrangement, count, expected):
    assert check_arrangement(arrangement, count) == expected


def test_too_few_places_are_refused():
    with pytest.raises(OptionError, match='2 x 2 has 4 places for 5 panels: give more rows or columns'):
        check_arrangement((2, 2), 5)
    with pytest.raises(OptionError, match='has 4 places for 5 panels'):
        tile(*numbered([5]), arrangement=(2, 2))


def numbered(sizes: list[int], shape: tuple[int, int] = (30, 40)) -> tuple[Cell, list[list[Cell]]]:
    """An original and groups of panels; panel number n, the original being 0, is filled with (n + 1, 100, 200)."""
    number = iter(range(1, 100))

    def cell() -> Cell:
        value = next(number)
        return Cell(np.full((*shape, 3), (value, 100, 200), np.uint8), f'panel {value}{SEPARATOR}{value}×7×9')

    return cell(), [[cell() for _ in range(size)] for size in sizes]


def check_panels(rendering, count: int, shape: tuple[int, int] = (30, 40)) -> None:
    """Every panel is whole, where it is said to be, and nowhere else."""
    assert len(rendering.panels) == count
    painted = np.zeros(rendering.image.shape[:2], int)
    for number, panel in enumerate(rendering.panels):
        assert (panel.height, panel.width) == shape
        part = rendering.image[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width]
        np.testing.assert_array_equal(part, np.broadcast_to(np.uint8([number + 1, 100, 200]), (*shape, 3)))
        painted[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width] += 1
        assert panel.label.startswith(f'panel {number + 1}{SEPARATOR}')
    assert painted.max() == 1
    coloured = (rendering.image[..., 1] == 100) & (rendering.image[..., 2] == 200)
    np.testing.assert_array_equal(coloured, painted == 1)


@pytest.mark.parametrize('labels', [True, False])
@pytest.mark.parametrize('count', range(1, 11))
def test_n_panels_in_are_n_panels_out(count, labels):
    rendering = tile(*numbered([1] * (count - 1)), labels=labels)
    check_panels(rendering, count)
    rows = len({panel.y for panel in rendering.panels})
    columns = len({panel.x for panel in rendering.panels})
    assert (rows, columns) == near_square(count)
    assert [(panel.y, panel.x) for panel in rendering.panels] == sorted(
        (panel.y, panel.x) for panel in rendering.panels
    )


@pytest.mark.parametrize('sizes', [[2], [4], [5], [9], [3, 3], [4, 4, 4], [1, 3], [5, 2, 1], [2] * 5])
@pytest.mark.parametrize('arrangement', [None, (3, 3), (1, 9), (9, 1)])
def test_no_panel_of_a_block_is_lost(sizes, arrangement):
    rendering = tile(*numbered(sizes), arrangement)
    check_panels(rendering, 1 + sum(sizes))
    assert min(panel.x for panel in rendering.panels[1:]) > rendering.panels[0].x + 40


def test_a_block_has_the_rows_and_columns_asked_for():
    panels = tile(*numbered([6]), (2, 3)).panels[1:]
    assert len({panel.y for panel in panels}) == 2
    assert len({panel.x for panel in panels}) == 3
    assert panels[0].y == panels[1].y == panels[2].y < panels[3].y
    assert panels[0].x < panels[1].x < panels[2].x
    assert panels[0].x == panels[3].x


def test_without_labels_there_are_only_panels_and_gaps():
    image = tile(*numbered([1, 1, 1]), labels=False).image
    gap = 2
    assert image.shape == (2 * 30 + 3 * gap, 2 * 40 + 3 * gap, 3)
    outside = image[..., 1] != 100
    assert (image[outside] == 255).all()


def test_with_labels_a_strip_with_text_stands_above_each_panel():
    rendering = tile(*numbered([1, 1, 1], (60, 200)))
    check_panels(rendering, 4, (60, 200))
    bare = tile(*numbered([1, 1, 1], (60, 200)), labels=False)
    strip = rendering.panels[0].y - bare.panels[0].y
    assert strip >= line_height(11)
    for panel in rendering.panels:
        above = rendering.image[panel.y - strip : panel.y, panel.x : panel.x + panel.width]
        assert (above < 100).any()
        assert (above == 255).all(axis=(1, 2)).any()


def test_labels_wrap_over_narrow_panels():
    wide, narrow = (tile(Cell(np.zeros((60, width, 3), np.uint8), 'neck · 64×8×8'), []) for width in (400, 70))
    assert narrow.panels[0].y - wide.panels[0].y == line_height(11)


@pytest.mark.parametrize('shape', [(14, 20), (1, 1), (3, 200), (200, 3)])
def test_labels_of_tiny_panels_are_whole(shape):
    rendering = tile(*numbered([1, 1, 1, 1], shape))
    check_panels(rendering, 5, shape)
    width = rendering.image.shape[1]
    needed = max(text_width(part, 11) for panel in rendering.panels for part in panel.label.split(SEPARATOR))
    starts = sorted({panel.x for panel in rendering.panels})
    assert min(after - before for before, after in zip(starts, [*starts[1:], width])) >= max(needed, shape[1])
    lines = 1 if shape[1] == 200 else 2
    for panel in rendering.panels:
        strip = rendering.image[panel.y - lines * line_height(11) : panel.y, panel.x : panel.x + needed]
        assert strip.shape[0] == lines * line_height(11)
        for line in range(lines):
            assert (strip[line * line_height(11) : (line + 1) * line_height(11)] < 100).any()


def test_the_labels_of_one_picture_have_one_height():
    rendering = tile(
        Cell(np.zeros((60, 100, 3), np.uint8), 'a'),
        [[Cell(np.zeros((60, 100, 3), np.uint8), SEPARATOR.join(['backbone.stage1', '128×20×20', 'stride 8']))]],
    )
    assert rendering.panels[0].y == rendering.panels[1].y


# --- boxes


def canvas(height: int = 480, width: int = 640) -> np.ndarray:
    return np.full((height, width, 3), 60, np.uint8)


def boxes(*rows, labels=None, scores=None) -> Detections:
    return Detections(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array(scores or [0.9] * len(rows), np.float32),
        np.array(labels or [0] * len(rows), np.int64),
        ('cat', 'dog'),
    )


def is_color(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    """Lines are smoothed, so their colour is not exact."""
    return bool(np.abs(pixel.astype(int) - color).max() <= 25)


def test_class_colours_are_bright_and_differ():
    assert class_color(0) == (242, 196, 36)
    assert len({class_color(label) for label in range(80)}) == 80
    assert all(max(class_color(label)) == 242 for label in range(80))


@pytest.mark.parametrize(('shape', 'width'), [((14, 20), 1), ((480, 640), 2), ((720, 1280, 3), 3), ((2160, 3840), 9)])
def test_line_width(shape, width):
    assert line_width(shape) == width


def test_boxes_are_drawn_in_rgb_where_they_are():
    image = canvas()
    drawn = draw_boxes(image, boxes([100, 200, 300, 400]), tags=False)
    for y, x in [(300, 100), (300, 300), (200, 200), (400, 200)]:
        assert is_color(drawn[y, x], (242, 196, 36))
    assert (drawn[210:390, 110:290] == 60).all()
    assert (drawn[:190] == 60).all()
    assert (drawn[410:] == 60).all()
    assert (drawn[:, :90] == 60).all()
    assert (drawn[:, 310:] == 60).all()
    assert (image == 60).all()


def test_a_tag_stands_above_its_box():
    drawn = draw_boxes(canvas(), boxes([100, 200, 300, 400], labels=[1]))
    plate = (drawn[150:199, 90:310] == class_color(1)).all(-1)
    assert plate.sum() > 200
    assert (drawn[150:199, 90:310] != drawn[150, 90]).any()
    assert (drawn[:150] == 60).all()
    without = draw_boxes(canvas(), boxes([100, 200, 300, 400], labels=[1]), tags=False)
    assert (without[150:190] == 60).all()


def test_the_name_of_a_class_and_its_number_where_it_has_none():
    found = boxes([0, 0, 1, 1], [0, 0, 1, 1], labels=[1, 7])
    assert (found.name(0), found.name(1)) == ('dog', '7')


@pytest.mark.parametrize('tags', [True, False])
def test_no_detections_change_nothing(tags):
    image = canvas(20, 30)
    drawn = draw_boxes(image, Detections(), tags)
    np.testing.assert_array_equal(drawn, image)
    assert drawn is not image
    assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize(
    'box',
    [
        [-50, -40, 60, 70],
        [600, 440, 900, 900],
        [-100, -100, 1000, 1000],
        [-300, 10, -200, 60],
        [700, 500, 800, 600],
        [50, 60, 50, 60],
        [1e6, 1e6, 2e6, 2e6],
    ],
)
def test_boxes_that_reach_out_of_the_image_are_cut(box):
    drawn = draw_boxes(canvas(), boxes(box))
    assert (drawn.shape, drawn.dtype) == ((480, 640, 3), np.uint8)
    left, top, right, bottom = box
    if left <= 60 <= right and top < 0 < bottom < 480:
        assert is_color(drawn[bottom, 30], (242, 196, 36))
        assert is_color(drawn[30, right], (242, 196, 36))


@pytest.mark.parametrize('shape', [(14, 20), (1, 1), (2, 300), (300, 2)])
def test_tags_fit_tiny_images(shape):
    assert draw_boxes(canvas(*shape), boxes([0, 0, *shape[::-1]])).shape == (*shape, 3)


@pytest.mark.parametrize('count', [2, 3])
def test_tags_of_boxes_in_one_place_do_not_cover_each_other(count):
    labels = list(range(count))
    alone = [draw_boxes(canvas(), boxes([100, 200, 400, 400], labels=[label])) for label in labels]
    places = [[100, 200, 400, 400]] * count
    drawn = draw_boxes(canvas(), boxes(*places, labels=labels, scores=[0.9 - label / 10 for label in labels]))
    for label, one in zip(labels, alone):
        plate = (one == class_color(label)).all(-1)[:198].sum()
        above, below = ((drawn == class_color(label)).all(-1)[rows].sum() for rows in (slice(198), slice(402, None)))
        # The upper corners first: left for the best, right for the next.
        assert (above, below) == (
            (pytest.approx(plate, rel=0.1), 0) if label < 2 else (0, pytest.approx(plate, rel=0.3))
        )


def test_the_best_box_lies_on_top():
    place = [100, 200, 300, 400]
    for scores, best in (([0.4, 0.9], 1), ([0.9, 0.4], 0)):
        drawn = draw_boxes(canvas(), boxes(place, place, labels=[0, 1], scores=scores), tags=False)
        assert is_color(drawn[300, 100], class_color(best))


def test_an_image_that_is_not_contiguous():
    image = canvas()[:, ::-1]
    assert is_color(draw_boxes(image, boxes([100, 200, 300, 400]), tags=False)[300, 100], (242, 196, 36))


# --- text


@pytest.mark.parametrize(
    ('shape', 'size'), [((14, 20), 11), ((480, 640), 17), ((640, 480), 17), ((1080, 1920), 38), ((4000, 6000), 64)]
)
def test_font_size(shape, size):
    assert font_size(*shape) == size


@pytest.mark.parametrize(('size', 'height'), [(10, 13), (11, 14), (17, 22), (64, 83)])
def test_line_height(size, height):
    assert line_height(size) == height


def test_text_width_grows_with_the_text_and_its_size():
    assert text_width('', 11) == 0
    assert 0 < text_width('neck', 11) < text_width('neck.out_layers', 11) < text_width('neck.out_layers', 22)


@pytest.mark.parametrize(
    ('fits', 'lines'),
    [
        ('', ['neck[0]', '64×8×8', 'stride 8']),
        ('neck[0]', ['neck[0]', '64×8×8', 'stride 8']),
        ('neck[0] · 64×8×8', ['neck[0] · 64×8×8', 'stride 8']),
        ('neck[0] · 64×8×8 · stride 8', ['neck[0] · 64×8×8 · stride 8']),
    ],
)
def test_wrap(fits, lines):
    label = 'neck[0] · 64×8×8 · stride 8'
    assert wrap(label, 11, text_width(fits, 11)) == lines
    assert SEPARATOR.join(lines) == label


def test_wrap_keeps_a_part_that_is_wider_than_the_panel():
    assert wrap('backbone.stage4.1.main_conv', 11, 5) == ['backbone.stage4.1.main_conv']
    assert wrap('', 11, 5) == ['']


def test_draw_lines():
    strip = draw_lines(['first', 'last'], 11, (40, 80), color=(200, 0, 0), background=(0, 0, 90))
    assert (strip.shape, strip.dtype) == ((40, 80, 3), np.uint8)
    assert tuple(strip[0, 79]) == (0, 0, 90)
    assert strip[..., 0].max() > 150
    assert (strip[..., 1] == 0).all()
    ink = (strip[..., 0] > 100).any(axis=1)
    assert ink[40 - 2 * line_height(11) - 2 : 40 - line_height(11)].any()
    assert ink[40 - line_height(11) - 2 :].any()


def test_without_matplotlib_the_text_is_drawn_in_another_font(monkeypatch):
    monkeypatch.setattr(text, 'find_spec', lambda name: None)
    text.font.cache_clear()
    try:
        assert isinstance(text.font(11), (ImageFont.FreeTypeFont, ImageFont.ImageFont))
        assert text_width('neck', 11) > 0
    finally:
        text.font.cache_clear()
