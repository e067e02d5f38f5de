"""Stand-ins for packages that models come from, and that are not there when these tests run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

NAMES = ('huggingface_hub', 'timm', 'torchvision', 'transformers')


def _loaded():
    return {name: module for name, module in sys.modules.items() if name.partition('.')[0] in NAMES}


@pytest.fixture
def stand_ins(monkeypatch):
    """Packages called timm, torchvision and transformers, of a few tiny models each."""
    before = _loaded()
    for name in before:
        del sys.modules[name]
    monkeypatch.syspath_prepend(str(Path(__file__).parent / 'stand_ins'))
    importlib.invalidate_caches()
    yield
    for name in _loaded():
        del sys.modules[name]
    sys.modules.update(before)
