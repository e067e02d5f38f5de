from importlib import metadata

import pytest

from featmap.errors import MissingPackageError
from featmap.models.packages import missing_name, missing_package, package_of


@pytest.mark.parametrize(
    ('name', 'command'),
    [
        ('mmpretrain', 'pip install mmpretrain'),
        ('mmpretrain.models', 'pip install mmpretrain'),
        ('mmseg', 'pip install mmsegmentation'),
        ('mmsegmentation', 'pip install mmsegmentation'),
        ('skimage', 'pip install scikit-image'),
        ('scikit-image', 'pip install scikit-image'),
        ('mmrotate', 'pip install "mmrotate>=1.0.0rc1"'),
        ('pkg_resources', 'pip install "setuptools<81"'),
        ('no_such_thing', None),
    ],
)
def test_package_of(name, command):
    assert package_of(name) == command


@pytest.mark.parametrize('name', ['mmdet', 'mmyolo', 'mmyolo.models'])
def test_detectors_come_with_the_extra_unless_that_would_overwrite_a_full_mmcv(name, tmp_path, monkeypatch):
    installed = list(metadata.distributions(name='mmcv'))
    assert (package_of(name) == 'pip install "featmap[mm]"') == (not installed)
    (tmp_path / 'mmcv-2.1.0.dist-info').mkdir()
    (tmp_path / 'mmcv-2.1.0.dist-info' / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmcv\nVersion: 2.1.0\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert package_of(name).startswith(f'pip install "{name.partition(".")[0]}>=')


def test_missing_package_says_who_wants_what_and_how_to_get_it():
    error = missing_package('mmrotate', "the config 'a.py'")

    assert isinstance(error, MissingPackageError)
    assert str(error) == (
        '''the config 'a.py' needs 'mmrotate', which is not installed; try: pip install "mmrotate>=1.0.0rc1"'''
    )
    assert 'pip install unheard_of' in str(missing_package('unheard_of.part', 'it'))


NOT_REGISTERED = 'is not in the {} registry. Please check whether the value of it is correct'


@pytest.mark.parametrize(
    ('error', 'name'),
    [
        (ModuleNotFoundError("No module named 'mmpretrain'", name='mmpretrain'), 'mmpretrain'),
        (ModuleNotFoundError("No module named 'mine.part'", name='mine.part'), 'mine'),
        # The package is there and lacks a module: installing it would not help.
        (ModuleNotFoundError("No module named 'torch.nonsense'", name='torch.nonsense'), None),
        (
            RuntimeError('transformers is not installed, please install it by: pip install transformers.'),
            'transformers',
        ),
        (ImportError('Failed. Please install fairscale with: pip install fairscale.'), 'fairscale'),
        (RuntimeError('skimage is not installed,    please install it by: pip install scikit-image'), 'skimage'),
        (RuntimeError('torch is not installed'), None),
        (RuntimeError('the spare wheel is not installed'), None),
        (KeyError('ConvNeXt ' + NOT_REGISTERED.format('mmpretrain::model')), 'mmpretrain'),
        (KeyError('mmpretrain.ConvNeXt ' + NOT_REGISTERED.format('mmdet::model')), 'mmpretrain'),
        (KeyError('MyBackbone ' + NOT_REGISTERED.format('mmdet::model')), None),
        (ValueError('mmpretrain is not installed'), None),
    ],
)
def test_missing_name(error, name):
    assert missing_name(error) == name


def test_missing_name_follows_the_cause():
    outer = TypeError('cannot build')
    outer.__cause__ = ModuleNotFoundError("No module named 'mmpose'", name='mmpose')

    assert missing_name(outer) == 'mmpose'
