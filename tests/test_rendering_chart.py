"""The best classes as a panel: bars of the right length, names that fit, and never a class that could be another."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.classification import Classification
from featmap.rendering import text
from featmap.rendering.chart import BAR, TRACK, chart_cell, draw_chart, elided
from featmap.structures import Detections
from featmap.visualizer import FeatMapVisualizer
from tests.font_helpers import CJK, ink, system_fonts
from tests.visualizer_helpers import feature_map, photo

__all__ = ['system_fonts']

NAMES = ('tench, Tinca tinca', 'crane', 'great white shark, white shark', 'crane', 'coonhound')


def found(*scores: float, names: tuple[str, ...] = NAMES, **fields) -> Detections:
    best = Classification.of_all(np.array(scores, np.float32), **fields)
    return Detections(classes=names, kind='', classification=best)


FIVE = found(0.5, 0.25, 0.15, 0.1, 0)


def bars(picture: np.ndarray) -> list[float]:
    """How much of the width each bar takes, by its last row, which is below the text."""
    plates = (picture == TRACK).all(axis=-1) | (picture == BAR).all(axis=-1)
    rows = np.flatnonzero(plates[:, -1])  # in the margin right of the text
    return [float((picture[row] == BAR).all(axis=-1).mean()) for row in rows if row + 1 not in rows]


@pytest.mark.parametrize('shape', [(200, 200), (640, 1024), (300, 100), (100, 1000), (30, 30), (12, 9)])
def test_bars_are_as_long_as_classes_are_probable(shape):
    picture = draw_chart(shape, FIVE)
    assert (picture.shape, picture.dtype) == ((*shape, 3), np.uint8)
    np.testing.assert_allclose(bars(picture), [0.5, 0.25, 0.15, 0.1, 0], atol=0.5 / shape[1] + 1e-9)


@pytest.mark.parametrize('shape', [(1, 1), (4, 40), (5, 5), (40, 3)])
def test_the_tiniest_panel(shape):
    assert draw_chart(shape, FIVE).shape == (*shape, 3)


def test_fewer_than_five():
    assert bars(draw_chart((200, 200), found(0.75, 0.25))) == [0.75, 0.25]
    assert bars(draw_chart((200, 200), found(1.0))) == [1.0]


def test_the_text_grows_with_the_panel_and_stays_within_its_plate():
    heights = []
    for shape in ((78, 160), (224, 224), (640, 1024)):
        picture = draw_chart(shape, FIVE)
        first = picture[: round(shape[0] / 5 * 0.87)]
        dark = np.flatnonzero(ink(first).any(axis=1))
        assert dark[0] > 0
        assert dark[-1] < len(first) - 1
        heights.append(len(dark))
    assert heights == sorted(set(heights))
    assert heights[0] >= 8


def test_a_small_panel_has_the_names_in_its_label():
    large, small = chart_cell((224, 224), FIVE), chart_cell((32, 32), FIVE)
    assert large.label == 'top 5'
    assert (
        small.label
        == 'top 5 · tench 50.0% · crane #1 25.0% · great white shark 15.0% · crane #3 10.0% · coonhound 0.0%'
    )
    assert not ink(small.image).any()
    long = chart_cell((32, 32), found(1.0, names=('x' * 500,)))
    assert long.label == f'top 1 · {"x" * 20}… #0 100.0%'


@pytest.mark.parametrize(
    ('name', 'room', 'expected'),
    [
        ('cat', 3, 'cat'),
        ('', 0, ''),
        ('wildcat', 7, 'wildcat'),
        ('wildcats', 7, 'wil… #7'),
        ('wild cats', 9, 'wild cats'),
        ('wild cats', 8, 'wild… #7'),
        ('wildcats', 5, 'w… #7'),
        ('wildcats', 4, '#7'),
        ('wildcats', 0, '#7'),
        ('two\nlines', 9, 'two lines'),
        ('e\u0301e\u0301e\u0301e\u0301', 6, 'e\u0301… #7'),  # an accent stays with its letter
        ('z' * 100_000, 10, 'zzzzzz… #7'),
    ],
)
def test_what_is_cut_is_told_by_its_number(name, room, expected):
    assert elided(name, 7, lambda part: len(part) <= room) == expected


def test_names_in_any_script(system_fonts):
    system_fonts(CJK)
    chinese = found(0.9, 0.1, names=('猫', '狗'))
    missing = text.text_width('\ufffd', 20)
    with_font = draw_chart((224, 224), chinese)
    assert ink(with_font[:, :60]).any()
    assert text.text_width('猫', 20) != missing
    system_fonts()
    with pytest.warns(UserWarning, match='no font on this machine'):
        without = draw_chart((224, 224), chinese)
    assert (with_font[:, :60] != without[:, :60]).any()
    assert (with_font[:, 120:] == without[:, 120:]).all()


def test_it_stands_beside_the_original():
    maps = [feature_map(np.eye(5), layer=f'layer{number}') for number in range(2)]
    image = photo(40, 40)
    drawn, plain = (FeatMapVisualizer().draw_maps(image, maps, each) for each in (FIVE, None))
    assert [panel.label.split(' · ')[0] for panel in drawn.panels] == ['image', 'top 5', 'layer0', 'layer1']
    assert drawn.panels[0].label == 'image · 40×40 · tench 50.0%'
    assert len(plain.panels) == 3
    for number in (0, 2, 3):  # a classification draws nothing over them
        one, other = drawn.panels[number], plain.panels[max(number - 1, 0)]
        np.testing.assert_array_equal(
            drawn.image[one.y : one.y + 40, one.x : one.x + 40],
            plain.image[other.y : other.y + 40, other.x : other.x + 40],
        )


def test_of_sheets_the_first_page_has_it():
    image = photo(80, 80)
    many = feature_map(np.random.default_rng(0).random((70, 10, 10)), layer='many')
    pages = FeatMapVisualizer().draw_sheets(image, [many], FIVE)
    assert [sum(panel.label.startswith('top 5') for panel in page.panels) for page in pages] == [1, 0]
    assert [len(page.panels) for page in pages] == [66, 7]
    few = feature_map(np.ones((1, 10, 10)), layer='few')
    pages = FeatMapVisualizer().draw_sheets(image, [few, many], FIVE)
    assert [sum(panel.label.startswith('top 5') for panel in page.panels) for page in pages] == [1, 0, 0]
