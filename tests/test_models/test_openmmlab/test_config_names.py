from pathlib import Path

import pytest

from featmap.errors import ConfigError, FeatMapError, MissingPackageError
from featmap.models.openmmlab import config_names
from featmap.models.openmmlab.config_names import find_config

YOLOV5 = 'yolov5/yolov5_s-v61_syncbn_8xb16-300e_coco'
RETINANET = 'retinanet/retinanet_r50_fpn_1x_coco'


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory without configs, and no checkout around featmap."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config_names, '_CHECKOUT', tmp_path / 'none')
    return tmp_path


def refused(name, kind=ConfigError):
    with pytest.raises(FeatMapError) as caught:
        find_config(name)
    assert type(caught.value) is kind
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ('name', 'ending'),
    [
        (f'mmyolo::{YOLOV5}.py', f'mmyolo/.mim/configs/{YOLOV5}.py'),
        (f'mmyolo::{YOLOV5}', f'mmyolo/.mim/configs/{YOLOV5}.py'),
        (f'mmdet::{RETINANET}.py', f'mmdet/.mim/configs/{RETINANET}.py'),
        ('mmdet::retinanet_r50_fpn_1x_coco', f'mmdet/.mim/configs/{RETINANET}.py'),
        ('retinanet_r50_fpn_1x_coco', f'mmdet/.mim/configs/{RETINANET}.py'),
        ('retinanet_r50_fpn_1x_coco.py', f'mmdet/.mim/configs/{RETINANET}.py'),
        (f'{YOLOV5}.py', f'mmyolo/.mim/configs/{YOLOV5}.py'),
        (f'configs/{YOLOV5}.py', f'mmyolo/.mim/configs/{YOLOV5}.py'),
    ],
)
def test_finds_packaged_configs(elsewhere, name, ending):
    assert find_config(name).as_posix().endswith(ending)


def test_a_file_comes_before_a_packaged_config_of_its_name(elsewhere):
    (elsewhere / 'retinanet_r50_fpn_1x_coco.py').touch()

    assert find_config('retinanet_r50_fpn_1x_coco.py') == Path('retinanet_r50_fpn_1x_coco.py')


def test_this_repository_comes_before_the_packages(elsewhere, monkeypatch):
    (elsewhere / 'repo/configs/own').mkdir(parents=True)
    (elsewhere / 'repo/pyproject.toml').touch()
    own = elsewhere / 'repo/configs/own/retinanet_r50_fpn_1x_coco.py'
    own.touch()
    monkeypatch.setattr(config_names, '_CHECKOUT', elsewhere / 'repo')

    assert find_config('retinanet_r50_fpn_1x_coco') == own


def test_a_name_in_both_packages_is_ambiguous(elsewhere):
    message = refused('cspnext-s_8xb256-rsb-a1-600e_in1k')

    assert "'mmyolo::rtmdet/cspnext_imagenet_pretrain/cspnext-s_8xb256-rsb-a1-600e_in1k'" in message
    assert "'mmdet::rtmdet/classification/cspnext-s_8xb256-rsb-a1-600e_in1k'" in message


def test_a_name_twice_in_one_package_is_ambiguous(elsewhere, monkeypatch):
    package = elsewhere / 'mmtwice'
    for folder in ('one/lvis', 'other/lvis', 'third'):
        (package / '.mim' / 'configs' / folder).mkdir(parents=True)
    for name in ('one/lvis/dino', 'other/lvis/dino', 'third/dino_big'):
        (package / '.mim' / 'configs' / f'{name}.py').write_text('model = {}')
    (package / '__init__.py').write_text('')
    monkeypatch.syspath_prepend(elsewhere)

    message = refused('mmtwice::dino')
    assert "'mmtwice::one/lvis/dino', 'mmtwice::other/lvis/dino'" in message
    assert 'third' not in message
    assert find_config('mmtwice::other/lvis/dino').parent.parent.name == 'other'


@pytest.mark.parametrize('name', ['retinanet_r50_fpn_1x_cocoo', 'mmdet::retinanet/retinanet_r50_fpn_1x_cocoo.py'])
def test_an_unknown_name_gets_the_nearest_ones(elsewhere, name):
    assert "'mmdet::retinanet/retinanet_r50_fpn_1x_coco'" in refused(name)


def test_the_beginning_of_a_name_gets_its_variants(elsewhere):
    assert 'yolov8_s' in refused('yolov8_s')


def test_a_missing_file_gets_its_neighbours(elsewhere):
    (elsewhere / 'detector.py').touch()

    assert "'detector.py'" in refused(elsewhere / 'detectr.py')
    assert "'detector.py'" in refused('./detectr.py')
    assert 'nor does its folder' in refused('/no/such/folder/detector.py')


@pytest.mark.parametrize(
    ('name', 'part'),
    [('weights.pth', 'looks like a checkpoint'), ('notes.txt', 'is no config'), ('.', 'is a folder'), ('', 'empty')],
)
def test_what_is_no_config(elsewhere, name, part):
    (elsewhere / 'weights.pth').touch()
    (elsewhere / 'notes.txt').touch()

    assert part in refused(name)


def test_a_package_that_is_not_installed(elsewhere):
    message = refused('mmrotate::rotated_rtmdet/any.py', MissingPackageError)

    assert 'pip install "mmrotate>=1.0.0rc1"' in message
    assert "'mmyolow'" in refused('mmyolow::a/b.py')


def test_a_package_without_configs(elsewhere):
    assert "'torch' has no packaged configs" in refused('torch::a/b.py')
