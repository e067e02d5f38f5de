"""Import mmpretrain beside a transformers that its language models cannot be imported with."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

_NAME = 'mmpretrain.utils.dependency'
# What mmpretrain 1.2 imports from there. Where it fails, it makes a base class of None.
_WANTED = 'apply_chunking_to_forward'


def leave_out_multimodal() -> None:
    """Make mmpretrain leave out its models of images and text, where the installed transformers has become too new.

    It leaves them out by itself where transformers is missing. Otherwise all of it could not be imported, for models
    that are no matter of a classifier. Call it before anything imports mmpretrain; later it changes nothing.
    """
    if 'mmpretrain' in sys.modules:
        return
    found = importlib.util.find_spec('mmpretrain')
    folders = list(found.submodule_search_locations or ()) if found else []
    path = Path(folders[0]) / 'utils' / 'dependency.py' if folders else None
    if path is None or not path.is_file() or not _is_too_new():
        return
    spec = importlib.util.spec_from_file_location(_NAME, path)
    assert isinstance(spec, ModuleSpec)
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, 'WITH_MULTIMODAL'):
        vars(module)['WITH_MULTIMODAL'] = False
        sys.modules[_NAME] = module  # which mmpretrain's own imports find


def _is_too_new() -> bool:
    """Whether the installed transformers lacks what is wanted. It is read, not imported, which takes seconds."""
    found = importlib.util.find_spec('transformers')
    for folder in found.submodule_search_locations or () if found else ():
        source = Path(folder) / 'modeling_utils.py'
        if source.is_file():
            return _WANTED not in source.read_text(encoding='utf-8', errors='replace')
    return False
