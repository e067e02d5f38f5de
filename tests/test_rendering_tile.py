"""Panels and their labels set into one picture, of which none is lost."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.errors import OptionError
from featmap.rendering.rows import tile_lines, tile_rows
from featmap.rendering.text import SEPARATOR, font_size, line_height, text_width
from featmap.rendering.tile import Cell, check_arrangement, near_square, tile


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


@pytest.mark.parametrize(
    ('sizes', 'rows', 'columns'),
    [
        ([4], 2, 3),
        ([4, 4], 4, 3),
        ([3, 3], 2, 4),
        ([4, 4, 4], 3, 5),
        ([3, 3, 3, 3], 4, 4),
        ([9, 9, 9], 6, 6),
        ([4, 2, 1], 3, 5),
        ([3] * 9, 6, 7),
    ],
)
def test_several_blocks_make_a_picture_that_is_near_square(sizes, rows, columns):
    panels = tile(*numbered(sizes)).panels
    assert len({panel.y for panel in panels}) == rows
    assert len({panel.x for panel in panels}) == columns


def test_blocks_of_wide_panels_stand_below_the_original_and_make_a_near_square_picture():
    for sizes in ([4], [4, 4, 4]):
        rendering = tile(*numbered(sizes, (40, 500)), labels=False)
        first, *others = rendering.panels
        check_panels(rendering, 1 + sum(sizes), (40, 500))
        assert min(panel.y for panel in others) >= first.y + 40
        assert min(panel.x for panel in others) == first.x
        height, width = rendering.image.shape[:2]
        assert max(height, width) < 2.5 * min(height, width)


def test_blocks_of_high_panels_stand_side_by_side():
    rendering = tile(*numbered([4, 4, 4], (500, 50)), labels=False)
    check_panels(rendering, 13, (500, 50))
    assert len({panel.y for panel in rendering.panels}) == 1


def test_texts_side_by_side_are_told_apart():
    rendering = tile(*numbered([1, 1, 1], (30, 90)))
    first, second = sorted({panel.x for panel in rendering.panels})
    assert second - first >= 90 + 6


@pytest.mark.parametrize('labels', [False, True])
def test_a_frame_stands_around_its_panel(labels):
    original, groups = numbered([2], (30, 40))
    framed = Cell(groups[0][0].image, 'a', frame=(255, 0, 0))
    rendering = tile(original, [[framed, groups[0][1]]], labels=labels)
    panel = rendering.panels[1]
    red = (rendering.image == (255, 0, 0)).all(-1)
    assert red.any()
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    edge = panel.y - rows[0]
    assert edge >= 1
    assert (rows[0], rows[-1]) == (panel.y - edge, panel.y + 30 + edge - 1)
    assert (columns[0], columns[-1]) == (panel.x - edge, panel.x + 40 + edge - 1)
    assert red.sum() == (30 + 2 * edge) * (40 + 2 * edge) - 30 * 40


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


def test_panels_beside_the_original():
    original, groups = numbered([1, 1, 1])
    more = Cell(np.full_like(original.image, 7), 'more')
    made = tile(original, groups, labels=False, beside=[more])
    assert [panel.label for panel in made.panels][:2] == [original.label, 'more']
    assert made.panels[1].y == made.panels[0].y
    assert made.panels[1].x > made.panels[0].x
    assert len(made.panels) == 5
    original, groups = numbered([4, 4])
    plain, made = tile(original, groups, labels=False), tile(original, groups, labels=False, beside=[more])
    assert made.panels[1].x == made.panels[0].x
    assert made.panels[1].y > made.panels[0].y
    assert made.panels[2:] == plain.panels[1:]
    panel = made.panels[1]
    assert (made.image[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width] == 7).all()


def test_a_head_over_several_panels_stands_above_the_longest_of_their_labels():
    plain = np.full((40, 60, 3), 90, np.uint8)
    long = SEPARATOR.join(['a label that fills its line'] * 3)
    original = Cell(plain, 'original')

    def drawn(label):
        row = {0: Cell(plain, 'short', head='the head of the row', span=2), 1: Cell(plain, label)}
        return tile_rows(original, [row], 2)

    high, low = drawn(long), drawn('short')
    size = font_size(40, 60)
    line, first = line_height(size), high.panels[1]
    assert first.y - low.panels[1].y == 2 * line
    # Above the first panel there is the head, two empty lines, and its own label.
    ink = (high.image[: first.y, first.x : first.x + 60] < 128).any(axis=(1, 2))
    label, head = ink[-line - size :], ink[: -3 * line - size // 2]
    assert label.any()
    assert head.any()
    assert not ink[len(head) + size // 2 : -line - size].any()


def test_lines_stand_below_the_original_in_blocks_that_make_a_square():
    def corners(count, columns):
        plain = np.full((40, 40, 3), 90, np.uint8)
        lines = [{column: Cell(plain, '') for column in range(columns)} for _ in range(count)]
        made = tile_lines(Cell(plain, ''), lines, columns, labels=False).panels
        across = sorted({panel.x for panel in made})
        down = sorted({panel.y for panel in made})
        return [(down.index(panel.y), across.index(panel.x)) for panel in made]

    assert corners(2, 3) == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    # Seven lines and the original: two blocks of four, the second beside the original.
    places = corners(7, 2)
    assert places[:3] == [(0, 0), (1, 0), (1, 1)]
    assert places[7:11] == [(0, 2), (0, 3), (1, 2), (1, 3)]


def test_what_stands_beside_the_original_has_a_column_of_its_own():
    plain = np.full((40, 60, 3), 90, np.uint8)
    made = tile_lines(Cell(plain, ''), [{0: Cell(plain, '')}], 1, beside=[Cell(plain, 'chart')])
    original, chart, below = made.panels
    assert chart.y == original.y < below.y
    assert original.x == below.x < chart.x
