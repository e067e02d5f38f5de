"""Text of labels: its size, its lines and its font."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from featmap.rendering import text
from featmap.rendering.text import SEPARATOR, draw_lines, font_size, line_height, text_width, wrap


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
