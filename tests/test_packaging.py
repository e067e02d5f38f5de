"""What the built package asks for, on whatever machine it is built."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    shutil.copytree(ROOT / 'featmap', source / 'featmap', ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    # Without isolation, which would download what builds it.
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', str(folder)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob('*.whl')
    return built


def asked_for(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith('.dist-info/METADATA'))
        return email.message_from_bytes(archive.read(name)).get_all('Requires-Dist') or []


def test_plain_featmap_asks_for_no_mmcv(wheel):
    always = {re.split(r'[<>=!~ ;\[]', each)[0] for each in asked_for(wheel) if 'extra ==' not in each}
    assert {'torch', 'mmengine', 'numpy', 'opencv-python', 'pillow', 'matplotlib'} <= always
    assert not {'mmcv', 'mmcv-lite', 'mmdet', 'mmyolo'} & always


def test_the_extra_brings_the_detectors_and_the_mmcv_that_needs_no_compiler(wheel):
    extra = [each.partition(';')[0].strip() for each in asked_for(wheel) if re.search(r'extra == .mm.$', each)]
    assert sorted(extra) == ['mmcv-lite==2.0.1', 'mmdet<4.0,>=3.2', 'mmyolo<0.7,>=0.6']


def test_the_wheel_is_one_for_all_machines_and_holds_the_package_alone(wheel):
    assert wheel.name.endswith('-py3-none-any.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split('/')[0] for name in names if '.dist-info/' not in name} == {'featmap'}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / 'featmap').rglob('*.py')}
    assert modules <= set(names)


def test_the_oldest_versions_are_those_that_are_claimed():
    pins = dict(
        line.split('==') for line in (ROOT / 'requirements' / 'oldest.txt').read_text().splitlines() if '==' in line
    )
    claims = re.findall(r'"([\w-]+)>=([\d.]+)', (ROOT / 'pyproject.toml').read_text())
    for name, least in claims:
        if name in pins:
            assert pins[name].startswith(least), f'{name}: {pins[name]} is tested, {least} is claimed'
    assert {'torch', 'numpy', 'opencv-python', 'mmengine', 'mmdet', 'pillow', 'scipy', 'matplotlib'} <= set(pins)
