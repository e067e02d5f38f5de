from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from featmap import FeatMapInferencer
from featmap.errors import ConfigError, OptionError
from featmap.models.source import ModelSource, Request, find_source
from featmap.registry import MODEL_SOURCES


@pytest.fixture
def registered():
    @MODEL_SOURCES.register_module('attic')
    class Attic(ModelSource):
        kind = 'a model of the attic'
        takes = frozenset({'classes'})

        def open(self, run):
            raise AssertionError('not before it is checked')

    yield Attic
    del MODEL_SOURCES.module_dict['attic']


def test_a_source_of_ones_own_is_found_by_its_prefix(registered):
    source = find_source('attic:box/3:old', 'weights.pth')
    assert isinstance(source, registered)
    assert source.request == Request('box/3:old', 'weights.pth')


def test_options_that_it_has_no_use_for_are_refused(registered):
    with pytest.raises(OptionError, match=r'^input_size has no effect on a model of the attic$'):
        FeatMapInferencer('attic:x', input_size=64)
    with pytest.raises(AssertionError, match='not before'):
        FeatMapInferencer('attic:x', classes=['a'])


def test_one_that_a_custom_import_registers(tmp_path, monkeypatch):
    code = [
        'from featmap.models.source import ModelSource',
        'from featmap.registry import MODEL_SOURCES',
        "@MODEL_SOURCES.register_module('cellar')",
        'class Cellar(ModelSource): open = None',
    ]
    (tmp_path / 'cellar_models.py').write_text('\n'.join(code))
    monkeypatch.chdir(tmp_path)
    try:
        source = find_source('cellar:door', None, overrides={'custom_imports': 'cellar_models'})
        assert source.request == Request('door')
        with pytest.raises(ConfigError, match="custom_imports: cannot import 'no_such_models'"):
            find_source('cellar:door', None, overrides={'custom_imports': 'no_such_models'})
    finally:
        MODEL_SOURCES.module_dict.pop('cellar', None)
        sys.modules.pop('cellar_models', None)


@pytest.mark.parametrize('what', [{'config': 'attic:x'}, {'config': 'net.pt2'}, {'model': nn.ReLU(), 'config': None}])
def test_there_is_no_config_to_override(registered, what):
    with pytest.raises(OptionError, match=r'cfg_options model\.a has no effect: this model has no config'):
        find_source(checkpoint=None, overrides={'custom_imports': 'sys', 'model.a': 1}, **what)


def test_one_that_does_not_exist(registered):
    with pytest.raises(ConfigError, match=r"no source of models is called 'atic'; nearest: attic.*configs"):
        find_source('atic:resnet50', None)


@pytest.mark.parametrize('name', ['mmyolo::yolov5/x.py', 'C:/configs/x.py', 'x.py', Path('x.py'), 'nothing'])
def test_what_is_a_config(name, monkeypatch):
    seen = {}
    monkeypatch.setitem(MODEL_SOURCES.module_dict, 'openmmlab', lambda request: seen.update(config=request.config))
    find_source(name, None)
    assert seen['config'] == name


def test_nothing_at_all():
    with pytest.raises(OptionError, match='a config, the name of a model, or model='):
        find_source(None, None)


def test_a_model_beside_the_name_of_another(registered):
    with pytest.raises(OptionError, match="model= was given beside 'attic:x', which names another one"):
        find_source('attic:x', None, nn.Conv2d(1, 1, 1))


def test_nothing_is_built_for_an_error():
    before = torch.get_rng_state()
    with pytest.raises(OptionError, match='int was given as the model'):
        find_source('x.py', None, 5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ('code', 'named'),
    [
        ('class Net: ...\ndef helper(): ...\ndef build_net(): ...\n', 'nets.py:build_net'),
        ('class Block: ...\nclass Net: ...\ndef net(): ...\n', 'nets.py:net'),
        ('class Block: ...\nclass Net: ...\n', 'nets.py:Net'),
        ('def _own(): ...\ndef first(): ...\n', 'nets.py:first'),
    ],
)
def test_code_that_is_no_config_names_what_could_make_a_model(tmp_path, monkeypatch, code, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'nets.py').write_text(code)
    with pytest.raises(ConfigError, match=f"'nets.py' is no config but Python code: .* such as {named}$"):
        find_source('nets.py', None)


@pytest.mark.parametrize('code', ['model = dict(type="X")\ndef f(): ...', "_base_ = 'x.py'\nclass A: ...", 'x = (', ''])
def test_a_file_that_may_be_a_config_is_read_as_one(tmp_path, monkeypatch, code):
    monkeypatch.setitem(MODEL_SOURCES.module_dict, 'openmmlab', lambda request: request.config)
    (tmp_path / 'c.py').write_text(code)
    assert find_source(tmp_path / 'c.py', None) == tmp_path / 'c.py'


def test_a_source_is_imported_when_a_model_of_it_is_asked_for():
    code = (
        'import sys; from featmap.models.source import find_source; find_source("json:loads", None); '
        'names = ("hf", "timm_models", "openmmlab"); '
        'print([name for name in names if f"featmap.models.sources.{name}" in sys.modules]); '
        'from featmap import MODEL_SOURCES; print(sorted(MODEL_SOURCES.module_dict), MODEL_SOURCES.get("hf").kind)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ['[]', "['own'] a model of transformers"]
