import copy
import sys

import pytest
from mmengine.config import Config

from featmap.errors import ConfigError
from featmap.models.openmmlab.config import load_config

YOLOV5 = 'mmyolo::yolov5/yolov5_s-v61_syncbn_8xb16-300e_coco.py'


@pytest.fixture
def small():
    return Config(
        {'model': {'type': 'Net', 'widths': [1, 2]}, 'pipeline': [{'type': 'Load'}, {'type': 'Resize', 'scale': 640}]}
    )


def refused(config, options=None):
    with pytest.raises(ConfigError) as caught:
        load_config(config, options)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_loads_by_name():
    assert load_config(YOLOV5).model.type == 'YOLODetector'


def test_a_config_is_copied(small):
    before = copy.deepcopy(small.to_dict())

    loaded = load_config(small, {'model.type': 'Other', 'pipeline.1.scale': 320})

    assert loaded.model.type == 'Other'
    assert loaded.pipeline == [{'type': 'Load'}, {'type': 'Resize', 'scale': 320}]
    loaded.model.widths.append(3)
    assert small.to_dict() == before


def test_options_are_not_changed(small):
    options = {'model': {'_delete_': True, 'type': 'Other'}}

    assert load_config(small, options).model == {'type': 'Other'}
    assert options == {'model': {'_delete_': True, 'type': 'Other'}}


def test_options_reach_a_config_file():
    loaded = load_config(
        YOLOV5, {'model.test_cfg.score_thr': 0.1, 'featmap.topk': 3, 'test_dataloader.dataset.pipeline.0.color': 'grey'}
    )

    assert loaded.model.test_cfg.score_thr == 0.1
    assert loaded.featmap.topk == 3
    assert loaded.test_dataloader.dataset.pipeline[0].color == 'grey'


def test_options_reach_a_lazy_config(tmp_path):
    path = tmp_path / 'lazy.py'
    path.write_text('from torch.nn import Conv2d\nmodel = dict(type=Conv2d, width=1)')

    assert load_config(path, {'model.width': 2}).model.width == 2


@pytest.mark.parametrize(
    ('key', 'value', 'part'),
    [
        ('modle.type', 'X', "did you mean 'model.type'?"),
        ('model.type.depth', 1, "'model.type' is 'Net'"),
        ('pipeline.2.scale', 1, "'pipeline' is a list of 2"),
        ('pipeline.first.scale', 1, "'pipeline' is a list of 2"),
        ('model.widths.0', 1, "give 'model.widths' as a whole"),
        ('model.type', {'depth': 1}, "'model.type' is 'Net', no dict"),
        ('model..type', 1, 'no dotted key'),
        ('', 1, 'no dotted key'),
        (3, 1, 'no dotted key'),
    ],
)
def test_an_option_that_does_not_fit(small, key, value, part):
    message = refused(small, {key: value})

    assert part in message
    assert str(key) in message


def test_a_config_without_a_model():
    assert "has no 'model'" in refused(Config({'optimizer': {}}))


def test_something_else_than_a_config():
    assert 'not int' in refused(3)


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'featmap_test_custom.py').write_text('')
    yield 'featmap_test_custom'
    sys.modules.pop('featmap_test_custom', None)


@pytest.mark.parametrize('form', [str, lambda name: [name], lambda name: {'imports': [name]}])
def test_imports_custom_modules_of_options(small, module, form):
    load_config(small, {'custom_imports': form(module)})

    assert module in sys.modules


def test_imports_custom_modules_of_the_config_and_adds_those_of_options(small, module):
    small.custom_imports = {'imports': ['colorsys'], 'allow_failed_imports': False}

    loaded = load_config(small, {'custom_imports': module})

    assert loaded.custom_imports == {'imports': ['colorsys', module], 'allow_failed_imports': False}
    assert module in sys.modules


def test_a_custom_module_beside_the_config(module, tmp_path, monkeypatch):
    path = tmp_path / 'config.py'
    path.write_text(f'model = dict(type="Net")\ncustom_imports = dict(imports=["{module}"])')
    (tmp_path / 'other').mkdir()
    monkeypatch.chdir(tmp_path / 'other')

    load_config(path)

    assert module in sys.modules


def test_a_custom_module_that_is_missing(small):
    assert "'featmap_test_absent'" in refused(small, {'custom_imports': 'featmap_test_absent'})
