"""The stand-in for mmcv's compiled ops; interpreters of their own where the import order matters."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import subprocess
import sys
import textwrap

import pytest

from featmap.errors import MissingPackageError
from featmap.models.openmmlab import ops
from featmap.models.openmmlab.mmcv_ops import INSTALL_FULL, ensure_ops

STAND_IN = ensure_ops()
needs_stand_in = pytest.mark.skipif(not STAND_IN, reason='mmcv has its compiled ops here; runs with mmcv-lite')


def run_python(code, path=()):
    """Standard output of ``code`` in a new interpreter, with the folders of ``path`` first."""
    folders = [*map(str, path), *filter(None, [os.environ.get('PYTHONPATH')])]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(folders)}
    command = [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def fake_mmcv(folder, *, compiled):
    package = folder / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('')
    if compiled:
        (package / '_ext.py').write_text('nms = "compiled"')


@needs_stand_in
def test_detectors_import_after_it():
    code = """
        from featmap.models.openmmlab.mmcv_ops import ensure_ops
        print(ensure_ops(), ensure_ops())
        import mmdet.models, mmyolo.models, mmdet.apis, mmcv.ops, sys
        print(sys.modules['mmcv._ext'] is mmcv._ext, ensure_ops())
    """
    assert run_python(code) == ['True'] * 4


def test_compiled_ops_are_left_alone(tmp_path):
    fake_mmcv(tmp_path, compiled=True)
    code = """
        import sys
        from featmap.models.openmmlab.mmcv_ops import ensure_ops
        print(ensure_ops(), 'mmcv._ext' in sys.modules, 'torch' in sys.modules)
        import mmcv._ext
        print(ensure_ops(), mmcv._ext.nms)
    """
    assert run_python(code, [tmp_path]) == ['False', 'False', 'False', 'False', 'compiled']


def test_a_package_without_them_gets_the_stand_in(tmp_path):
    fake_mmcv(tmp_path, compiled=False)
    code = """
        from featmap.models.openmmlab.mmcv_ops import ensure_ops
        print(ensure_ops())
        import mmcv
        print(mmcv._ext.nms.__module__)
    """
    assert run_python(code, [tmp_path]) == ['True', 'featmap.models.openmmlab.ops.nms']


def test_a_module_that_someone_else_put_there_is_left_alone(monkeypatch):
    other = type(sys)('mmcv._ext')
    monkeypatch.setitem(sys.modules, 'mmcv._ext', other)
    assert ensure_ops() is False
    assert sys.modules['mmcv._ext'] is other


def test_without_mmcv_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    monkeypatch.setitem(sys.modules, 'mmcv', None)
    with pytest.raises(MissingPackageError, match=r'pip install "featmap\[mm\]"'):
        ensure_ops()


@needs_stand_in
@pytest.mark.filterwarnings('ignore')
def test_mmengine_takes_it_for_the_real_one():
    from mmengine.utils.dl_utils import mmcv_full_available

    assert importlib.util.find_spec('mmcv._ext').name == 'mmcv._ext'
    if hasattr(pkgutil, 'find_loader'):
        assert pkgutil.find_loader('mmcv._ext') is not None
        assert mmcv_full_available()


@needs_stand_in
def test_it_has_the_ops_under_their_names():
    import mmcv

    assert sorted(ops.__all__) == [
        'deform_conv_backward_input',
        'deform_conv_backward_parameters',
        'deform_conv_forward',
        'get_compiler_version',
        'get_compiling_cuda_version',
        'modulated_deform_conv_backward',
        'modulated_deform_conv_forward',
        'ms_deform_attn_backward',
        'ms_deform_attn_forward',
        'nms',
        'roi_align_backward',
        'roi_align_forward',
    ]
    for name in ops.__all__:
        assert getattr(mmcv._ext, name) is getattr(ops, name)


@needs_stand_in
@pytest.mark.parametrize('name', ['carafe_forward', 'roi_pool_backward', 'softnms'])
def test_other_ops_raise_when_called_and_not_before(name):
    import mmcv

    op = getattr(mmcv._ext, name)
    assert op.__name__ == name
    with pytest.raises(MissingPackageError) as caught:
        op(1, key=2)
    message = str(caught.value)
    assert f"'{name}'" in message
    assert INSTALL_FULL in message
    assert '\n' not in message


@needs_stand_in
@pytest.mark.parametrize('name', ['__path__', '__wrapped__', '_private'])
def test_names_that_python_probes_do_not_exist(name):
    import mmcv

    assert not hasattr(mmcv._ext, name)


@needs_stand_in
def test_mmcv_layers_raise_the_named_error():
    import torch
    from mmcv.ops import CARAFE

    with pytest.raises(MissingPackageError, match="'carafe_forward'"):
        CARAFE(3, 1, 2)(torch.zeros(1, 4, 4, 4), torch.zeros(1, 9, 8, 8))


@needs_stand_in
def test_environment_reports_have_no_compiler():
    from mmcv.ops import get_compiler_version, get_compiling_cuda_version

    assert get_compiler_version() == get_compiling_cuda_version() == 'n/a'
