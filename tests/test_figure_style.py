"""Fonts, sizes and styles of a figure, and what can be asked of its layout."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from dataclasses import replace
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from featmap.errors import OptionError
from featmap.figure import draw_figure
from featmap.figure.style import Type, applied, settings_of, side_by_side
from featmap.geometry import ImageGeometry
from featmap.rendering.fonts import chosen_font
from featmap.structures import Detections
from tests.conftest import ROOT
from tests.figure_helpers import FLAT, axes_of, detections, fmap, outputs, planes, texts
from tests.test_figure_layout import CASES, overlap_nowhere, place


def sizes(figure: Figure) -> list[float]:
    """Of all texts, in points."""
    written = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    written += [each for axes in axes_of(figure, 'bar') for each in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    return [text.get_fontsize() for text in written if text.get_text()]


def test_a_line_of_thousands_of_characters_is_cut_as_one_of_a_few_is():
    type = Type(None, [])
    lines = type.fold(['ab' * 5000], 7, 100)
    assert ''.join(lines) == 'ab' * 5000
    widths = [type.width(line, 7) for line in lines]
    assert max(widths) <= 100
    assert min(widths[:-1]) > 90
    assert type.fold(['backbone.stage_of_names'], 7, 60)[0] in ('backbone.', 'backbone.stage_')
    assert type.fold(['ab'], 7, 0.1) == ['a', 'b']


@pytest.mark.parametrize('case', sorted(CASES))
@pytest.mark.parametrize('width', [3.4, 7.0])
def test_no_text_is_smaller_than_five_points(case, width):
    maps, options = CASES[case]
    assert min(sizes(draw_figure(FLAT, maps, detections(), **{'width': width, **options}))) >= 5


def test_a_range_that_is_too_long_for_its_bar_takes_two_lines():
    values = [[[-1.25e-5, -1e-5 * n]] for n in range(1, 7)]
    figure = draw_figure(FLAT, [fmap(values, channels=tuple(range(6)))], width=3.4, arrangement=(1, 6))
    bars = [[label.get_text() for label in bar.get_xticklabels()] for bar in axes_of(figure, 'bar')]
    assert bars[0] == ['−1.25e−05', '\n−1e−05']
    assert len(bars) == 6
    assert min(sizes(figure)) == 5
    overlap_nowhere(figure)


def test_texts_follow_the_size_that_is_asked_for():
    small, large = (draw_figure(FLAT, outputs(1), font_size=size) for size in (6, 12))
    for figure, size in ((small, 6), (large, 12)):
        assert {text.get_text(): text.get_fontsize() for text in figure.texts}['neck[0]'] == size
        overlap_nowhere(figure)
    assert max(sizes(large)) <= 14


@pytest.mark.parametrize('size', [4.9, 25, float('nan')])
def test_a_size_that_is_not_readable_is_refused(size):
    with pytest.raises(OptionError, match=r'font_size=.*: expected 5 to 24 points'):
        draw_figure(FLAT, outputs(1), font_size=size)


def test_in_a_single_column_the_image_stands_above_the_panels():
    geometry = ImageGeometry((32, 48), (1333, 2000), (41.66, 41.66))
    maps = [replace(item, geometry=geometry, stride=(666.5, 1000.0)) for item in outputs(3)]
    figure = draw_figure(FLAT, maps, detections(), width=3.4)
    (corner,), panels = axes_of(figure, 'image'), axes_of(figure, 'panel')
    assert place(corner)[1] < min(place(axes)[1] for axes in panels)
    assert min(axes.get_position().width * 3.4 for axes in panels) > 1
    assert corner.get_position().width * 3.4 > 2
    assert {text.get_text(): text.get_fontsize() for text in figure.texts}['[0]'] == 7  # not made small for long words
    wide = draw_figure(FLAT, outputs(3), detections(), width=7.0)
    assert place(axes_of(wide, 'image')[0])[1] == place(axes_of(wide, 'panel')[0])[1]


@pytest.mark.parametrize(
    ('count', 'arrangement', 'expected'),
    [(5, (2, 3), [3, 2]), (6, (3, 2), [2, 2, 2]), (4, (1, 4), [4]), (8, (1, 8), [8]), (5, (1, 2), [2, 2, 1])],
)
def test_an_arrangement_says_how_many_planes_stand_side_by_side(count, arrangement, expected):
    maps = [fmap(planes(*range(count)), path=f'[{n}]', channels=tuple(range(count))) for n in range(2)]
    panels = axes_of(draw_figure(FLAT, maps, arrangement=arrangement), 'panel')
    rows = [len(list(group)) for _, group in itertools.groupby(panels, key=lambda axes: place(axes)[1])]
    assert rows == expected * 2


def test_maps_of_one_plane_stand_as_without_an_arrangement():
    one, two = (draw_figure(FLAT, outputs(5), arrangement=asked) for asked in (None, (5, 1)))
    assert [place(axes) for axes in one.axes] == [place(axes) for axes in two.axes]


def test_without_labels_only_the_bars_and_the_title_say_anything():
    maps = [fmap(planes(1, 2), 'head', channels=(5, 7)), *outputs(2)]
    bare = draw_figure(FLAT, maps, name='dog.jpg', labels=False)
    assert texts(bare) == []
    assert len(axes_of(bare, 'bar')) == 3
    assert texts(draw_figure(FLAT, maps, name='dog.jpg', title='A title', labels=False)) == ['A title']
    assert bare.get_size_inches()[1] < draw_figure(FLAT, maps).get_size_inches()[1] - 0.4
    overlap_nowhere(bare)


def test_the_title_stands_above_everything():
    figure = draw_figure(FLAT, outputs(3), name='dog.jpg', title='What a $neck$ sees,\nas long as a title can be ' * 3)
    heights = {text.get_text(): text.get_position()[1] for text in figure.texts}
    title = [text for text in heights if text.startswith(('What', 'long', 'as', 'can'))]
    assert 'What a $neck$ sees, as long' in ' '.join(title)
    assert min(heights[text] for text in title) > heights['dog.jpg']
    overlap_nowhere(figure)


@pytest.mark.parametrize('style', [None, 'default', {}, [], ['default', {}]])
def test_no_style_changes_nothing(style):
    assert settings_of(style) == {}


def test_a_style_chooses_fonts_and_colours_and_not_the_layout(tmp_path):
    path = tmp_path / 'own.mplstyle'
    path.write_text('font.family: serif\nfigure.figsize: 1, 1\naxes.grid: True\nsavefig.bbox: tight\ntext.usetex: True')
    figure = draw_figure(FLAT, outputs(2), detections(), style=['dark_background', path])
    assert {text.get_fontfamily()[0] for text in figure.texts} == {'DejaVu Serif'}
    assert {to_hex(text.get_color()) for text in figure.texts} == {'#ffffff'}
    assert to_hex(figure.get_facecolor()) == '#000000'
    assert figure.get_size_inches()[0] == 7
    assert not any(text.get_usetex() for text in figure.texts)
    assert not any(
        line.get_visible() for axes in figure.axes for line in axes.get_xgridlines() if axes.get_xticks().size
    )
    overlap_nowhere(figure)


def test_a_style_may_choose_the_size():
    assert max(sizes(draw_figure(FLAT, outputs(1), style={'font.size': 14}))) == 14
    assert max(sizes(draw_figure(FLAT, outputs(1), style={'font.size': 14}, font_size=6))) == 6


def test_a_font_that_is_not_installed_gives_way():
    with applied(settings_of({'font.family': ['No Such Font', 'DejaVu Sans Mono']})):
        assert Type(None, []).families == ('DejaVu Sans Mono', 'DejaVu Sans', 'sans-serif')
    with applied(settings_of({'font.family': 'No Such Font'})):
        assert Type(None, []).families == ('DejaVu Sans', 'sans-serif')


@pytest.mark.parametrize(
    ('style', 'message'),
    [
        ('dark_backgroun', "'dark_backgroun' is no style of matplotlib and no file; nearest: dark_background"),
        ('os.path', 'is no style of matplotlib and no file'),
        ('https://example.com/a.mplstyle', 'is no style of matplotlib and no file'),
        ({'font.colour': 1}, 'font.colour'),
        ({'font.size': 'x'}, 'font.size'),
        (3, 'expected the name of a matplotlib style, a file, a dict or a list of them'),
    ],
)
def test_what_is_no_style(style, message):
    with pytest.raises(OptionError, match=message):
        draw_figure(FLAT, outputs(1), style=style)


def test_a_figure_keeps_its_style_whatever_the_users_is(tmp_path):
    figure = draw_figure(FLAT, outputs(2), detections())
    figure.savefig(tmp_path / 'a.svg', metadata={'Date': None})
    with matplotlib.rc_context({'svg.fonttype': 'path', 'font.sans-serif': ['DejaVu Serif'], 'savefig.bbox': 'tight'}):
        figure.savefig(tmp_path / 'b.svg', metadata={'Date': None})
    assert (tmp_path / 'a.svg').read_bytes() == (tmp_path / 'b.svg').read_bytes()
    assert 'squeeze_mean' in (tmp_path / 'a.svg').read_text()


def test_a_figure_shows_itself_in_notebooks():
    data = draw_figure(FLAT, outputs(1), dpi=80)._repr_png_()
    assert data.startswith(b'\x89PNG')
    assert int.from_bytes(data[16:20], 'big') == 560


def test_boxes_of_your_own_are_added_in_pixels_of_the_image():
    figure = draw_figure(np.zeros((64, 96, 3), np.uint8), [fmap(shape=(64, 96))], crop='20,10,80,50')
    for axes in axes_of(figure, 'image') + axes_of(figure, 'panel'):
        axes.plot([5, 95], [30, 30])
        axes.scatter([80], [50])
        assert (axes.get_xlim(), axes.get_ylim()) == ((20, 80), (50, 10))


def test_a_style_imports_nothing():
    code = """
import sys
import warnings
from dataclasses import replace
from io import BytesIO
from featmap.errors import OptionError
from featmap.figure.style import settings_of
settings_of('ggplot')
try:
    settings_of('json.tool')  # matplotlib.style.use would import it
except OptionError:
    print('refused')
print([name for name in ('json.tool', 'matplotlib.pyplot') if name in sys.modules])
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ['refused', '[]']


@pytest.mark.parametrize('shaped', [True, False])
def test_a_score_stays_behind_a_name_that_runs_from_right_to_left(monkeypatch, shaped):
    monkeypatch.setattr(matplotlib, '__version_info__', (3, 11 if shaped else 10, 0))
    assert side_by_side('cat\n1', '0.90') == 'cat 1 0.90'
    name, mark = '\u05e9\u05dc\u05d5\u05dd 2', '\u200e'
    expected = f'{mark}{name}{mark} {mark}0.90{mark}' if shaped else '\u05dd\u05d5\u05dc\u05e9 2 0.90'
    assert side_by_side(name, '0.90').split() == expected.split()


def test_names_are_drawn_in_fonts_that_have_their_glyphs():
    boxes = np.array([[4, 12, 20, 30], [26, 12, 40, 30]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8]), np.array([0, 1]), ('\u6c7d\u8f66', 'boat'))
    with warnings.catch_warnings(), chosen_font(ROOT / 'tests' / 'fonts' / 'NotoSansCJKsc-subset.otf'):
        warnings.simplefilter('error')
        figure = draw_figure(FLAT, outputs(1), found, name='\u6c7d\u8f66.jpg')
        figure.savefig(BytesIO(), format='svg')
    (tag, _) = axes_of(figure, 'image')[0].texts
    assert tag.get_text() == '\u6c7d\u8f66 0.90'
    assert tag.get_fontfamily()[:2] == ['Noto Sans CJK SC', 'DejaVu Sans']
