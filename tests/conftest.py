"""What many tests need: the shipped detector, and the command run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from torch import nn

# So that what they assert says as much as in a test.
pytest.register_assert_rewrite('tests.storage_helpers', 'tests.visualizer_helpers')

ROOT = Path(__file__).resolve().parents[1]
IMAGE = ROOT / 'demo' / 'demo.jpg'
CONFIG = ROOT / 'configs' / 'demo' / 'yolov5_n_demo.py'
CHECKPOINT = ROOT / 'demo' / 'yolov5_n_demo.pth'
SCRIPT = ROOT / 'demo' / 'featmap_vis_demo.py'


def pytest_addoption(parser):
    """Options of the search for files that a reader cannot take."""
    parser.addoption('--fuzz-seconds', type=float, default=0, help='how long to look for such files')
    parser.addoption('--fuzz-case', default='', help='READER:SEED:NUMBER, as a failure named it')


@dataclass(frozen=True)
class Outcome:
    """What a run of the command left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong; fails the test where it is not one line."""
        lines = [line for line in self.err.splitlines() if 'error' in line]
        assert len(lines) == 1, self.err
        assert 'Traceback' not in self.err
        return lines[0]


@pytest.fixture(autouse=True, scope='session')
def small_images_as_they_are():
    """Panels of small images have their size here, so that pixels can be worked out by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('featmap.geometry.view.SMALL', 0)
        yield


@pytest.fixture
def run(capfd, monkeypatch, tmp_path):
    """Run the command in this process, in an empty folder: ``run(IMG, CONFIG, CHECKPOINT, *options)``."""
    from featmap.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('COLUMNS', '100')

    def call(*args: object) -> Outcome:
        capfd.readouterr()
        try:
            status = main([str(arg) for arg in args])
        except SystemExit as stop:  # argparse
            status = stop.code
        printed = capfd.readouterr()
        return Outcome(status, printed.out, printed.err)

    return call


@pytest.fixture
def run_script(tmp_path):
    """Run the demo script in a process of its own: ``run_script(*args)``."""

    def call(*args: object) -> Outcome:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def photo(tmp_path) -> Path:
    """A small picture on disk: 96 x 64 pixels, a bright square off the centre."""
    pixels = np.full((64, 96, 3), 40, np.uint8)
    pixels[10:30, 60:80] = 250
    path = tmp_path / 'photo.png'
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def draw(tmp_path):
    """Save a figure, in an empty folder: ``draw(maps, detections)``."""
    from featmap.figure import save_figure
    from tests.figure_helpers import FLAT

    def call(maps, found=None, image=FLAT, suffix='.png', **options):
        options = {'dpi': 50, **options}
        return save_figure(tmp_path / f'figure{suffix}', image, maps, found, **options)

    return call


def hooks(model: nn.Module) -> int:
    """How many forward hooks there are in a model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def files_under(folder: Path) -> list[str]:
    """Every file below a folder, as sorted relative paths."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())
