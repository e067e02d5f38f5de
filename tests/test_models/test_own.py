from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from featmap import FeatMapInferencer
from featmap.errors import ConfigError, FeatMapError

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 2, 1)

    def forward(self, x):
        return self.conv(x)

def preprocess(image):
    return torch.tensor(list(image.resize((16, 16)).getdata())).T.reshape(3, 16, 16) / 255

class Scores(Net):
    def forward(self, x):
        return self.conv(x).mean((2, 3))

class Two(Net):
    def forward(self, image, depth, scale=1):
        return self.conv(image) + depth

class Grey(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1, bias=False)

    def forward(self, x):
        return self.conv(x)

ready = Net(2)
count = 3
def nothing():
    return 5
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / 'nets.py').write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    before = set(sys.modules)
    yield tmp_path / 'nets.py'
    for name in set(sys.modules) - before:
        if name.startswith('featmap_own_') or name == 'nets':
            del sys.modules[name]


IMAGE = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)


def draw(name, checkpoint=None, **options):
    return FeatMapInferencer(name, checkpoint, target_layers='conv', device='cpu', **options)(IMAGE)


def test_a_factory_with_arguments_and_a_preprocessing(nets):
    result = draw('nets.py:Net', model_args=['width=7'], preprocess='preprocess')
    assert result.maps[0].shape == (7, 8, 8)
    assert result.maps[0].geometry.scale == pytest.approx((0.25, 0.5), abs=2e-3)
    assert result.maps[0].note == 'random weights'


def test_random_weights_are_the_same_each_time(nets):
    state = torch.get_rng_state()
    one, other = (draw('nets.py:Net', input_size=16).maps[0].values for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize('keys', [('state_dict',), ('model',), ('ema',), ('state_dict', 'module.'), ()])
def test_a_checkpoint_in_any_of_the_usual_forms(nets, keys):
    weights = {'conv.weight': torch.zeros(4, 3, 3, 3), 'conv.bias': torch.arange(4.0)}
    if len(keys) == 2:
        weights = {keys[1] + name: value for name, value in weights.items()}
    torch.save({keys[0]: weights} if keys else weights, nets.parent / 'w.pth')
    result = draw('nets.py:Net', 'w.pth', input_size=16, channel_reduction='channels', channels=[3])
    assert result.maps[0].values == pytest.approx(np.full((1, 8, 8), 3.0))
    assert result.maps[0].note == ''


def test_a_model_of_grey_images_is_given_them(nets):
    torch.save({'conv.weight': torch.ones(3, 1, 1, 1)}, nets.parent / 'w.pth')
    result = draw('nets.py:Grey', 'w.pth', input_size=(32, 64), mean=0, std=1, channel_reduction='squeeze_mean')
    np.testing.assert_allclose(result.maps[0].values[0] * 255, IMAGE @ [0.299, 0.587, 0.114], atol=1)


def test_a_preprocessing_named_with_dots(nets):
    result = draw('nets.py:Net', preprocess='nets.preprocess')
    assert result.maps[0].geometry.scale == pytest.approx((0.25, 0.5), abs=2e-3)


def test_a_module_that_the_file_has_made(nets):
    assert draw('nets.py:ready', input_size=16).maps[0].shape == (2, 8, 8)


@pytest.mark.parametrize(
    ('name', 'options', 'match'),
    [
        ('nets.py:Nett', {}, "nets.py has no 'Nett'; nearest: Net"),
        ('nets.py:count', {}, 'nets.py:count is int: expected a function'),
        ('nets.py:nothing', {}, 'nets.py:nothing returned int: expected an nn.Module'),
        (
            'nets.py:Net',
            {'model_args': {'wide': 3}},
            r'nets.py:Net\(wide=3\) failed: TypeError: .*wide.*; it takes \(width=4\)',
        ),
        ('nets.py:ready', {'model_args': {'width': 3}}, 'nets.py:ready is a module already'),
        ('nets.py:Net', {'preprocess': 'preproces'}, "nets.py has no 'preproces'; nearest: preprocess"),
        ('nets.py:Net', {'preprocess': 'other.py:f'}, "no file 'other.py'"),
        ('net.py:Net', {}, "no file 'net.py'"),
        ('json.Net', {}, "'json.Net' is no config: a colon stands before what makes the model, as in json:Net"),
        ('nets.py:Two', {'input_size': 8}, 'its forward takes image, depth: wrap it into a module whose forward takes'),
        ('nets.py:Scores', {'input_size': 8, 'classes': ['a']}, '1 class names for a model that tells 4 classes apart'),
        ('nets.py:Net', {'input_size': 8, 'classes': ['a']}, '1 class names for a model that tells 4 classes apart'),
        ('nets.py:Net', {'model_args': ['width']}, "model_args: 'width' is no key=value"),
        ('nets.py:Net', {'preprocess': 'preprocess', 'input_size': 8}, 'both input_size and resize say'),
    ],
)
def test_slips(nets, name, options, match):
    with pytest.raises(FeatMapError, match=match) as caught:
        draw(name, **options)
    assert '\n' not in str(caught.value)


def test_a_checkpoint_of_another_network(nets):
    torch.save({'a.weight': torch.zeros(3)}, nets.parent / 'w.pth')
    with pytest.raises(FeatMapError, match='another architecture'):
        draw('nets.py:Net', 'w.pth', input_size=16)


def test_no_package_of_openmmlab_is_imported_but_mmengine(nets, tmp_path):
    import subprocess

    code = (
        'import sys; from featmap.cli import main; from PIL import Image; Image.new("RGB", (40, 30)).save("i.png"); '
        'code = main(["i.png", "nets.py:Net", "none", "--target-layers", "conv", "--out-file", "o.png"]); '
        'print(code, [name for name in ("mmcv", "mmdet", "mmyolo", "timm", "torchvision", "transformers") '
        'if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == '0 []', done.stderr


def test_the_command_line(nets, run, tmp_path):
    from PIL import Image

    Image.fromarray(IMAGE).save(tmp_path / 'i.png')
    arguments = ('i.png', 'nets.py:Net', 'none', '--preprocess', 'preprocess', '--model-args', 'width=2')
    outcome = run(*arguments, '--target-layers', 'conv', '--out-file', 'o.png')
    assert outcome.status == 0
    assert (tmp_path / 'o.png').is_file()
    refused = run(*arguments[:3], '--target-layers', 'conv', '--save-maps', 'nets.py')
    assert 'nets.py' in refused.error
    assert 'class Net' in nets.read_text()
    with pytest.raises(ConfigError):
        draw('attic.py:Net')
