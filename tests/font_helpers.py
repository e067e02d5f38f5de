"""The fonts that the tests bring, and a system that has these alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featmap.rendering import fonts, text

FOLDER = Path(__file__).parent / 'fonts'
CJK, EMOJI = FOLDER / 'NotoSansCJKsc-subset.otf', FOLDER / 'NotoColorEmoji-subset.ttf'


def forget() -> None:
    """Empty every cache of what fonts the system has."""
    for cached in (fonts.system_faces, fonts._face_for, fonts._draws, text._runs, text._text_width):
        cached.cache_clear()
    fonts._WARNED.clear()


@pytest.fixture
def system_fonts(tmp_path, monkeypatch):
    """A function that makes these files the only fonts of the system; without files there are none."""

    def only(*files: Path, fontconfig: bool = True) -> None:
        forget()
        monkeypatch.setattr(fonts.shutil, 'which', lambda name: name if fontconfig else None)

        def sorted_faces(command, **_):
            assert command[:2] == ['fc-match', '--sort']
            rows = ''.join(f'{file}\t0\n' for file in files)
            return fonts.subprocess.CompletedProcess(command, 0, stdout=f'/fonts/old.pfb\t0\n{rows}', stderr='')

        monkeypatch.setattr(fonts.subprocess, 'run', sorted_faces)
        monkeypatch.setattr('matplotlib.font_manager.findSystemFonts', lambda: [*map(str, files), '/fonts/damaged.ttf'])

    yield only
    forget()


def ink(strip: np.ndarray) -> np.ndarray:
    """Where a strip of dark text on white has any: (H, W) bool."""
    return (strip < 128).any(axis=-1)
