import builtins
import inspect
import sys
import warnings

import pytest

from featmap.errors import ConfigError, FeatMapError, MissingPackageError
from featmap.models.openmmlab.config_reading import read_config

YOLOV5 = "_base_ = 'mmyolo::yolov5/yolov5_s-v61_syncbn_8xb16-300e_coco.py'\n"


def refused(path, kind=ConfigError):
    with pytest.raises(FeatMapError) as caught:
        read_config(path)
    assert type(caught.value) is kind
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def write(tmp_path):
    def to_file(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return to_file


def test_reads_what_it_inherits_from_a_package(write):
    config = read_config(write('a.py', YOLOV5 + 'model = dict(test_cfg=dict(score_thr=0.2))'))

    assert config.model.test_cfg.score_thr == 0.2
    assert config.model.backbone.type == 'YOLOv5CSPDarknet'


def test_is_silent_about_pkg_resources(write):
    path = write('a.py', YOLOV5)
    with warnings.catch_warnings():
        # pytest.ini silences it as well: undone here, so that what read_config does shows.
        warnings.resetwarnings()
        warnings.filterwarnings('error', message='pkg_resources')
        read_config(path)


def test_reads_lazy_configs(write):
    write('base.py', 'from torch.nn import Conv2d\nmodel = dict(layer=dict(type=Conv2d), width=1)')
    path = write(
        'lazy.py',
        'from mmengine.config import read_base\nwith read_base():\n    from .base import *\nmodel.update(width=2)',
    )

    from torch.nn import Conv2d

    config = read_config(path)
    assert config.model.width == 2
    assert config.model.layer.type is Conv2d


def test_syntax_error_with_file_and_line(write):
    write('broken.py', 'a = 1\nb = = 2\n')
    child = write('child.py', "_base_ = 'broken.py'")
    lazy = write('lazy.py', 'from mmengine.config import read_base\nwith read_base():\n    from .broken import *\n')

    for path in (child, lazy, child.with_name('broken.py')):
        assert "broken.py', line 2: invalid syntax" in refused(path)


def test_an_error_while_it_runs_with_file_and_line(write):
    write('parent.py', 'a = 1\n\nb = undefined\n')

    assert "parent.py', line 3: NameError: name 'undefined'" in refused(write('child.py', "_base_ = 'parent.py'"))


@pytest.mark.parametrize(
    'text',
    ["_base_ = 'parnt.py'", 'from mmengine.config import read_base\nwith read_base():\n    from .parnt import *\n'],
)
def test_a_missing_base_with_its_neighbours(write, text):
    write('parent.py', '')

    message = refused(write('child.py', text))
    assert 'child.py' in message
    assert 'parnt.py' in message
    assert 'does not exist; nearest there: parent.py' in message


def test_a_missing_packaged_base(write):
    message = refused(write('child.py', "_base_ = 'mmyolo::yolov5/yolov5_q-v61_syncbn_8xb16-300e_coco.py'"))

    assert 'does not exist' in message
    assert 'yolov5_s-v61_syncbn_8xb16-300e_coco.py' in message


def test_a_config_that_inherits_from_itself(write):
    limit = sys.getrecursionlimit()
    # MMEngine writes a temporary copy at each turn: a lower limit saves seconds.
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        assert 'inherits from itself' in refused(write('a.py', "_base_ = 'a.py'"))
    finally:
        sys.setrecursionlimit(limit)


def test_a_base_of_a_package_that_is_not_installed(write):
    path = write('a.py', "_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'")

    message = refused(path, MissingPackageError)
    assert 'a.py' in message
    assert 'pip install mmpretrain' in message


def test_setuptools_without_pkg_resources(write, monkeypatch):
    real = builtins.__import__

    def without_pkg_resources(name, *args, **kwargs):
        if name == 'pkg_resources':
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_pkg_resources)
    monkeypatch.setattr('importlib.util.find_spec', hidden('pkg_resources'))
    monkeypatch.delitem(sys.modules, 'pkg_resources', raising=False)

    assert 'pip install "setuptools<81"' in refused(write('a.py', YOLOV5), MissingPackageError)


def hidden(name):
    import importlib.util

    real = importlib.util.find_spec
    return lambda wanted, *args: None if wanted == name else real(wanted, *args)
