"""Text of labels: its size, its lines and its font."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features

from featmap.rendering import fonts, shaping, text
from featmap.rendering.text import SEPARATOR, draw_lines, font_size, line_height, printable, text_width, wrap
from tests.font_helpers import CJK, EMOJI, system_fonts  # noqa: F401


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
    monkeypatch.setattr(fonts, '_dejavu', lambda: None)
    assert isinstance(text.font(11), (ImageFont.FreeTypeFont, ImageFont.ImageFont))
    assert text_width('neck', 11) > 0
    assert (draw_lines(['neck'], 11, (20, 60)) < 128).any()


@pytest.mark.parametrize(
    ('given', 'shown'),
    [
        ('neck[0] · 64×8×8', 'neck[0] · 64×8×8'),
        ('two\r\nlines\tand\u2028more', 'two lines and more'),
        ('\x1b[31mred\x00', '\ufffd[31mred\ufffd'),
        ('exe.\u202egnp', 'exe.gnp'),
        ('\udcff.png', '\ufffd.png'),
        ('می\u200cخواهم 👩\u200d🚀', 'می\u200cخواهم 👩\u200d🚀'),
    ],
)
def test_printable(given, shown):
    assert printable(given) == shown


def test_control_characters_do_no_harm():
    for name in ['a\nb', 'a\udcffb', 'a\x00b', '\u202eab', '\n']:
        assert text_width(name, 20) == text_width(printable(name), 20)
        np.testing.assert_array_equal(draw_lines([name], 20, (40, 120)), draw_lines([printable(name)], 20, (40, 120)))


def test_a_mixed_text_takes_a_font_for_each_run(system_fonts):  # noqa: F811
    system_fonts(CJK, EMOJI)
    runs = text._split('car 汽车 0.9🐕')
    assert [(run.text, fonts.Path(run.face.path).name) for run in runs] == [
        ('car ', 'DejaVuSans.ttf'), ('汽车', CJK.name), (' 0.9', 'DejaVuSans.ttf'), ('🐕', EMOJI.name),
    ]  # fmt: skip
    assert text_width('汽车', 20) == 40  # a full-width glyph is as wide as the text is high
    assert text_width('car 汽车', 20) in range(text_width('car ', 20) + 39, text_width('car ', 20) + 42)
    strip = draw_lines(['car 汽车'], 20, (30, text_width('car 汽车', 20)))
    np.testing.assert_array_equal(strip[:, :38], draw_lines(['car '], 20, (30, 38)))
    expected = Image.new('RGB', (40, 30), 'white')
    baseline = 30 - line_height(20) - 4 + text.font(20).getmetrics()[0]
    pen, glyphs = ImageDraw.Draw(expected), ImageFont.truetype(str(CJK), 20)
    pen.text((text._length(runs[0], 20) - 38, baseline), '汽车', fill=(20, 20, 20), font=glyphs, anchor='ls')
    np.testing.assert_array_equal(strip[:, 38 : 38 + 40], np.array(expected)[:, : strip.shape[1] - 38])


def test_emoji_are_drawn_in_colour_at_the_size_of_the_text(system_fonts):  # noqa: F811
    system_fonts(EMOJI)
    strip = draw_lines(['🚗'], 40, (60, 60))
    ink = (strip != 255).any(axis=-1)
    rows, columns = ink.any(axis=1).nonzero()[0], ink.any(axis=0).nonzero()[0]
    assert 30 < np.ptp(columns) < 56
    assert 20 < np.ptp(rows) < 56
    assert (np.ptp(strip.astype(int), axis=-1) > 100).sum() > 100  # red paint
    assert columns[-1] < text_width('🚗', 40)


def test_a_name_from_right_to_left_stays_before_its_score():
    runs = text._split('سيارة حمراء 3 كبيرة 0.97 · שלום')
    assert [(run.text, run.rtl) for run in runs] == [
        ('سيارة حمراء 3 كبيرة', True), (' 0.97 · ', False), ('שלום', True)
    ]  # fmt: skip


@pytest.mark.skipif(not features.check('raqm'), reason='no raqm in this Pillow; runs with its wheels for Linux')
def test_arabic_is_joined_and_from_right_to_left():
    apart = sum(text_width(letter, 40) for letter in 'بيت')
    assert text_width('بيت', 40) < 0.9 * apart
    word, last = draw_lines(['اب'], 40, (60, 90)), draw_lines(['ب'], 40, (60, 90))
    left = text_width('ب', 40) - 2  # the second letter stands left, in the form of a last one
    assert (word[:, : left - 8] == last[:, : left - 8]).mean() > 0.97


def test_without_raqm_letters_are_put_in_order(monkeypatch):
    monkeypatch.setattr(text, '_RAQM', False)
    assert shaping.visual('שלום 12.5 (אב)') == '(בא) 12.5 םולש'
    assert text._ordered(text.Run('אב', None, True)) == 'בא'
    assert text._ordered(text.Run('ab', None)) == 'ab'


def test_without_raqm_arabic_letters_are_joined_by_a_package(monkeypatch):
    class Reshaper:
        @staticmethod
        def reshape(word):
            return {'بيت': 'ﺑﻴﺖ'}[word]

    monkeypatch.setitem(sys.modules, 'arabic_reshaper', Reshaper)
    shaping._reshaper.cache_clear()
    try:
        assert shaping.visual('بيت') == 'ﺖﻴﺑ'
        monkeypatch.setitem(sys.modules, 'arabic_reshaper', None)
        shaping._reshaper.cache_clear()
        with pytest.warns(UserWarning, match='pip install arabic-reshaper'):
            assert shaping.visual('بيت') == 'تيب'
    finally:
        shaping._reshaper.cache_clear()
