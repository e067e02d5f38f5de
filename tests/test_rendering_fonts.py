"""Which font has the glyphs of a text."""

from __future__ import annotations

import shutil
import warnings

import pytest

from featmap.errors import OptionError
from featmap.rendering import fonts
from featmap.rendering.fonts import (
    chosen_font,
    clusters,
    face_for,
    font_families,
    font_files_for,
    glyphs,
    is_plain,
    language_of,
    load,
    open_font,
)
from tests.font_helpers import CJK, EMOJI, system_fonts  # noqa: F401

DEJAVU = fonts._dejavu()


def test_plain_texts_are_those_that_dejavu_draws_alone():
    for text in ['neck[0] · 64×8×8 · stride ≈ 8', '−1.2 … 3', 'Straßenbahn, Ćma, Ελλάδα, Трамвай', 'p1–p99', '']:
        assert is_plain(text)
    for text in ['汽车', 'سيارة', '🐕', 'e\u0301', 'a\u202eb']:
        assert not is_plain(text)
    block = [chr(number) for number in range(0x3000) if fonts._PLAIN.fullmatch(chr(number))]
    assert len(block) > 1000
    import unicodedata

    known = [char for char in block if unicodedata.category(char) != 'Cn']
    assert [char for char in known if ord(char) not in glyphs(DEJAVU)] == []


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('', []),
        ('ab', ['a', 'b']),
        ('e\u0301x', ['e\u0301', 'x']),
        ('👍🏽!', ['👍🏽', '!']),
        ('👩\u200d🚀', ['👩\u200d🚀']),
        ('❤\ufe0f ', ['❤\ufe0f', ' ']),
    ],
)
def test_clusters(text, parts):
    assert clusters(text) == parts


@pytest.mark.parametrize(
    ('text', 'locale', 'language'),
    [
        ('car', 'zh_TW.UTF-8', ''),
        ('汽车', 'C.UTF-8', 'zh-cn'),
        ('汽車', 'zh_TW.UTF-8', 'zh-tw'),
        ('犬', 'ja_JP.UTF-8', 'ja-jp'),
        ('犬ネコ', 'zh_CN.UTF-8', 'ja'),
        ('고양이', 'en_US.UTF-8', 'ko'),
        ('سيارة', 'en_US.UTF-8', ''),
    ],
)
def test_language_of(text, locale, language, monkeypatch):
    monkeypatch.setenv('LC_ALL', locale)
    assert language_of(text) == language


@pytest.mark.parametrize('fontconfig', [True, False])
def test_the_first_font_that_has_the_glyph_is_taken(system_fonts, fontconfig):  # noqa: F811
    system_fonts(EMOJI, CJK, fontconfig=fontconfig)
    assert face_for('a') == DEJAVU
    assert face_for('س') == DEJAVU
    assert face_for('车').path == str(CJK)
    assert face_for('👍🏽').path == str(EMOJI)
    assert font_files_for(['neck', '汽车 🐕']) == [fonts.Path(DEJAVU.path), CJK, EMOJI]
    assert font_files_for('neck') == [fonts.Path(DEJAVU.path)]


@pytest.mark.parametrize(
    ('text', 'package'), [('汽车', 'fonts-noto-cjk'), ('🐕', 'fonts-noto-color-emoji'), ('हिन्दी', 'fonts-noto-core')]
)
def test_glyphs_that_no_font_has_are_told_once(system_fonts, text, package, monkeypatch):  # noqa: F811
    monkeypatch.setattr(fonts.sys, 'platform', 'linux')
    system_fonts()
    with pytest.warns(
        UserWarning, match=f'no font on this machine draws .* apt install {package}. or choose a file with font'
    ) as told:
        assert font_files_for([text, text[::-1]]) == [fonts.Path(DEJAVU.path)]
    assert len(told) == 1
    assert '\n' not in str(told[0].message)


@pytest.mark.skipif(not shutil.which('fc-match'), reason='no fontconfig here; runs where there is fc-match')
def test_fontconfig_itself_is_asked(tmp_path, monkeypatch):
    from tests.font_helpers import forget

    config = tmp_path / 'fonts.conf'
    config.write_text(
        f'<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>{CJK.parent}</dir>'
        f'<cachedir>{tmp_path}</cachedir></fontconfig>'
    )
    monkeypatch.setenv('FONTCONFIG_FILE', str(config))
    forget()
    try:
        assert face_for('车', 'zh-cn').path == str(CJK)
        assert face_for('🐕').path == str(EMOJI)
    finally:
        forget()


def test_a_chosen_font_is_asked_first(system_fonts):  # noqa: F811
    system_fonts()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with chosen_font(CJK):
            assert fonts.base_face().path == str(CJK)
            assert not is_plain('neck')
            assert face_for('车').path == str(CJK)
            assert face_for('n') == DEJAVU  # which the subset does not have
            assert font_files_for('n车') == [CJK, fonts.Path(DEJAVU.path)]
        with chosen_font(None):
            assert fonts.base_face() == DEJAVU
    assert fonts.base_face() == DEJAVU


def test_a_font_that_is_none_is_refused(tmp_path):
    for name, content in [('missing.ttf', None), ('text.ttf', b'no font')]:
        path = tmp_path / name
        if content:
            path.write_bytes(content)
        with pytest.raises(OptionError, match=f'the font .*{name}.* cannot be read .*: expected a .ttf'):
            open_font(str(path))


def test_a_font_of_pictures_is_loaded_at_a_size_that_it_has():
    assert load(fonts.Face(str(EMOJI)), 20).size == 109
    assert load(fonts.Face(str(CJK)), 20).size == 20


def test_matplotlib_knows_the_families(system_fonts):  # noqa: F811
    from matplotlib import font_manager

    system_fonts(CJK, EMOJI)
    before = list(font_manager.fontManager.ttflist)
    try:
        assert font_families(['neck', '汽车', '🐕']) == ['DejaVu Sans', 'Noto Sans CJK SC']
        found = font_manager.findfont('Noto Sans CJK SC', fallback_to_default=False)
        assert found == str(CJK)
        count = len(font_manager.fontManager.ttflist)
        font_families('汽车')
        assert len(font_manager.fontManager.ttflist) == count
    finally:
        font_manager.fontManager.ttflist[:] = before
