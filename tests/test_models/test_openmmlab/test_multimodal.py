"""mmpretrain beside a transformers that is too new for its language models."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from featmap.models.openmmlab.multimodal import leave_out_multimodal

DEPENDENCY = 'WITH_MULTIMODAL = True\n'
MODELS = """
from mmpretrain.utils.dependency import WITH_MULTIMODAL
if WITH_MULTIMODAL:
    class Model(None):
        pass
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        'mmpretrain/__init__.py': 'from mmpretrain import models\n',
        'mmpretrain/models.py': MODELS,
        'mmpretrain/utils/__init__.py': 'from .dependency import WITH_MULTIMODAL\n',
        'mmpretrain/utils/dependency.py': DEPENDENCY,
        'transformers/__init__.py': 'raise AssertionError\n',
        'transformers/modeling_utils.py': '',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in list(sys.modules):
        if name.partition('.')[0] in ('mmpretrain', 'transformers'):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmpretrain']:
        del sys.modules[name]


def test_they_are_left_out(packages: Path) -> None:
    leave_out_multimodal()
    from mmpretrain import models, utils

    assert utils.WITH_MULTIMODAL is False
    assert not hasattr(models, 'Model')


def test_not_beside_one_that_serves(packages: Path) -> None:
    (packages / 'transformers' / 'modeling_utils.py').write_text('from .x import apply_chunking_to_forward\n')
    leave_out_multimodal()
    with pytest.raises(TypeError):
        import mmpretrain  # noqa: F401


def test_without_either_package_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    before = set(sys.modules)
    leave_out_multimodal()
    assert set(sys.modules) == before
