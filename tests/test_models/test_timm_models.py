from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featmap import FeatMapInferencer
from featmap.errors import CheckpointError, ConfigError, MissingPackageError, OptionError
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures('stand_ins')
SHAPE = (50, 91)


def photo(shape=SHAPE):
    return np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)


def vis(name='tiny_net', checkpoint='none', **options):
    options = {'target_layers': ['stages.0'] if 'net' in name else ['patch_embed'], **options}
    return FeatMapInferencer(f'timm:{name}', checkpoint, device='cpu', **options)


def saved(path, name='tiny_net', **arguments):
    import timm

    model = timm.create_model(name, **arguments)
    torch.save({'state_dict': model.state_dict()}, path)
    return model


def test_random_weights_are_the_same_each_time_and_leave_chance_alone():
    torch.manual_seed(7)
    one = vis()
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    other = vis()
    assert one.network.random_weights
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters()))
    assert dict(one.network.provenance) == {'config': 'timm:tiny_net', 'checkpoint': None, 'checkpoint_sha256': None}


def test_maps_are_those_of_a_plain_hook_in_the_place_of_the_data_config():
    import timm

    opened, image = vis(keep_features=True), photo()
    found = opened.extractor.extract(image)[0][0]
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(opened.model), is_training=False)
    kept = {}
    handle = opened.model.stages[0].register_forward_hook(lambda _m, _i, out: kept.update(out=out[0]))
    with torch.no_grad():
        opened.model(transform(Image.fromarray(image))[None])
    handle.remove()
    np.testing.assert_allclose(found.features, kept['out'].numpy(), rtol=1e-4, atol=1e-5)
    assert (found.stride, found.offset) == ((8, 8), (0, 0))
    # The shorter side to 64, and 32 of it.
    assert np.abs(np.array(found.geometry.scale) - [116 / 91, 64 / 50]).max() < 0.01
    assert np.abs(np.array(found.geometry.offset) - [-42, -16]).max() < 0.5


def test_the_best_classes_have_names_where_their_number_is_that_of_the_weights():
    found = vis().extractor.extract(photo())[1]
    assert len(found.classification) == 5
    assert found.classes[7] == 'thing 7, imagenet-1k'
    assert vis(model_args={'num_classes': 1000}).network.classes == ()
    assert vis(model_args=['num_classes=2'], classes=['a', 'b']).network.classes == ('a', 'b')
    assert vis(model_args={'num_classes': 0}).extractor.extract(photo())[1] is None


def test_an_embedding_is_of_no_class(monkeypatch):
    import timm

    config = timm.models.get_pretrained_cfg('tiny_net')
    config.num_classes = 512
    monkeypatch.setattr(timm.models, 'get_pretrained_cfg', lambda name: config)
    assert vis().extractor.extract(photo())[1] is None
    assert len(vis(model_args={'num_classes': 6}).extractor.extract(photo())[1].classification) == 5


def test_names_that_the_weights_bring():
    from featmap.models.sources.timm_models import _classes

    model = vis(model_args={'num_classes': 2}).model
    model.pretrained_cfg.update(num_classes=2, label_names=['n1', 'n2'], label_descriptions={'n2': 'dog'})
    assert _classes(model, False) == ('n1', 'dog')


def test_a_file(tmp_path):
    model = saved(tmp_path / 'x.pth', num_classes=7)
    opened = vis(checkpoint=tmp_path / 'x.pth')
    assert torch.equal(opened.model.head.weight, model.head.weight)
    assert not opened.network.random_weights
    assert not opened.network.weights.mismatched
    assert opened.network.classes == ()
    assert len(opened.network.provenance['checkpoint_sha256']) == 64


def test_a_file_in_the_layout_that_others_published_for_another_size(tmp_path):
    model = saved(tmp_path / 'x.pth', 'tiny_vit')
    state = model.state_dict()
    state['encoder.weight'], state['encoder.bias'] = state.pop('patch_embed.weight'), state.pop('patch_embed.bias')
    torch.save(state, tmp_path / 'x.pth')
    opened = vis('tiny_vit', tmp_path / 'x.pth', input_size=64)
    assert torch.equal(opened.model.patch_embed.weight, model.patch_embed.weight)
    assert torch.equal(opened.model.pos_embed[:, ::4], model.pos_embed)
    assert not opened.network.weights.missing + opened.network.weights.mismatched


@pytest.mark.parametrize('name', ['tiny_net', 'tiny_vit'])
def test_a_file_of_another_architecture(name, tmp_path):
    torch.save({'conv.weight': torch.zeros(2, 2)}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='is of another architecture'):
        vis(name, tmp_path / 'x.pth')


def test_weights_that_are_downloaded(monkeypatch):
    import timm

    with pytest.raises(ConfigError) as caught:
        vis(checkpoint='pretrained')
    assert str(caught.value) == (
        'timm:tiny_net cannot be built: OSError: Name or service not known; where there is no network, give a file in '
        'place of pretrained'
    )
    monkeypatch.setattr(timm.data, 'OFFLINE', False)
    opened = vis(checkpoint='pretrained')
    assert opened.network.provenance['checkpoint'] == 'pretrained'
    assert not opened.network.random_weights
    assert opened.model.head.bias[0].item() == 0.5


def test_weights_that_do_not_exist():
    with pytest.raises(ConfigError, match=r'no weights for tiny_vit to download: there are tiny_vit\.c_in1k; give'):
        vis('tiny_vit', 'pretrained')
    with pytest.raises(ConfigError, match=r"no weights 'x' of tiny_net; nearest: tiny_net\.\w_in1k, tiny_net\.\w_in1k"):
        vis('tiny_net.x')


def test_a_name_that_does_not_exist():
    with pytest.raises(ConfigError, match=r"^timm 1\.0 has no model 'tiny_nett'; nearest: tiny_net, tiny_vit$"):
        vis('tiny_nett')


def test_an_argument_that_the_model_does_not_take():
    with pytest.raises(ConfigError, match=r'timm:tiny_net cannot be built: TypeError: .*argument .depth'):
        vis(model_args={'depth': 2})


def test_timm_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(MissingPackageError, match=r"^the model 'timm:x' needs 'timm', .*; try: pip install timm$"):
        vis('x')


def test_a_build_of_it_that_does_not_fit(monkeypatch, tmp_path):
    (tmp_path / 'timm.py').write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r'cannot be imported beside PyTorch .*: operator torchvision::nms does not'):
        vis()


@pytest.mark.parametrize(
    ('name', 'options', 'scale', 'offset'),
    [
        # The middle half of the shorter side, at another size.
        ('tiny_net', {'input_size': 64}, (2.56, 2.56), (-84, -32)),
        ('tiny_net', {'input_size': (32, 64)}, (2.56, 2.56), (-84, -48)),
        ('tiny_vit', {'input_size': (64, 32)}, (2.56, 2.56), (-100, -32)),
        ('tiny_vit', {'model_args': {'img_size': 64}}, (2.56, 2.56), (-84, -32)),
        ('tiny_net', {'resize': 'letterbox'}, (32 / 91, 18 / 50), (0, 7)),
        ('tiny_vit', {'input_size': (64, 48), 'resize': 'stretch'}, (48 / 91, 64 / 50), (0, 0)),
    ],
)
def test_another_size(name, options, scale, offset):
    found = vis(name, **options).extractor.extract(photo())[0][0]
    assert np.abs(np.array(found.geometry.scale) - scale).max() < 0.02
    assert np.abs(np.array(found.geometry.offset) - offset).max() < 0.6


def test_another_mean():
    image = np.full((40, 40, 3), 255, np.uint8)
    own, other, bytes_ = (
        vis(**options).network.prepare([image]).inputs
        for options in ({}, {'mean': (0.1, 0.2, 0.3)}, {'mean': (0, 0, 255), 'std': 255})
    )
    assert own.unique().tolist() == [1]
    assert other[0, :, 0, 0].tolist() == pytest.approx([1.8, 1.6, 1.4])
    assert bytes_[0, :, 0, 0].tolist() == pytest.approx([1, 1, 0])
    with pytest.raises(OptionError, match='both of values from 0 to 1, or both of 0 to 255'):
        vis(mean=120)


def test_a_preprocessing_of_ones_own():
    def small(image):
        pixels = np.asarray(image.resize((91, 25)), np.float32)
        return torch.from_numpy(pixels / 255).permute(2, 0, 1)

    found = vis(preprocess=small).extractor.extract(photo())[0][0]
    assert found.geometry.input_shape == (25, 91)
    assert found.geometry.scale == pytest.approx((1, 0.5), abs=0.02)


def test_an_input_that_the_model_cannot_take():
    with pytest.raises(ConfigError, match=r'TinyViT cannot take an input of 3×64×64: AssertionError: Input size'):
        vis('tiny_vit', input_size=64, model_args={'img_size': 32}).extractor.extract(photo())


def test_the_command(run, photo, tmp_path):
    done = run(photo, 'timm:tiny_net', 'none', '--target-layers', 'stages.0', '--out-file', 'x.png', '--device', 'cpu')
    assert done.status == 0
    assert 'the weights are random' in done.err
    assert (tmp_path / 'x.png').is_file()
    assert 'nearest: tiny_net' in run(photo, 'timm:tiny_ne', 'none', '--out-file', 'y.png').error


def test_packages_of_openmmlab_are_left_alone(photo, tmp_path):
    code = (
        'import sys\n'
        'from featmap.cli import main\n'
        f"status = main([{str(photo)!r}, 'timm:tiny_net', 'none', '--out-file', 'x.png', '--device', 'cpu'])\n"
        "print(status, sorted({name.partition('.')[0] for name in sys.modules} & {'mmdet', 'mmyolo', 'mmcv', 'timm'}))"
    )
    paths = [str(ROOT), str(Path(__file__).parent / 'stand_ins')]
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'PYTHONDONTWRITEBYTECODE': '1'},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "0 ['timm']"
