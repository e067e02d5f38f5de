from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from featmap import FeatMapInferencer, visualize
from featmap.errors import CheckpointError, ConfigError, MissingPackageError

pytestmark = pytest.mark.usefixtures('stand_ins')
SHAPE = (50, 91)


def photo(shape=SHAPE):
    return np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)


def vis(name='tiny_net', checkpoint='none', **options):
    options = {'target_layers': ['layer1'] if name == 'tiny_net' else ['backbone'], **options}
    return FeatMapInferencer(f'torchvision:{name}', checkpoint, device='cpu', **options)


def saved(path, name='tiny_net', **arguments):
    from torchvision import models

    nothing = {} if name == 'tiny_net' else {'weights_backbone': None}
    model = models.get_model_builder(name)(**nothing, **arguments)
    torch.save(model.state_dict(), path)
    return model


def test_a_classifier_is_fed_as_its_best_weights_are():
    opened, image = vis(keep_features=True), photo()
    maps, found = opened.extractor.extract(image)
    kept = {}
    handle = opened.model.layer1.register_forward_hook(lambda _m, _i, out: kept.update(out=out[0]))
    from torchvision.models.classifiers import TinyNet_Weights

    with torch.no_grad():
        scores = opened.model(TinyNet_Weights.IMAGENET1K_V2.transforms()(Image.fromarray(image))[None])[0]
    handle.remove()
    np.testing.assert_allclose(maps[0].features, kept['out'].numpy(), rtol=1e-4, atol=1e-5)
    # The shorter side to 40, and 32 of it.
    geometry = maps[0].geometry
    assert np.abs(np.array(geometry.scale) - [72 / 91, 40 / 50]).max() < 0.01
    assert np.abs(np.array(geometry.offset) - [-20, -4]).max() < 0.5
    assert found.classification.labels.tolist() == scores.argsort(descending=True).tolist()
    assert found.classes == ('cat', 'dog', 'cow')
    assert opened.network.random_weights


def test_a_file_is_fed_as_the_weights_of_its_name_are(tmp_path):
    model = saved(tmp_path / 'tiny_net-1.pth')
    opened = vis(checkpoint=tmp_path / 'tiny_net-1.pth')
    assert torch.equal(opened.model.fc.weight, model.fc.weight)
    assert opened.network.classes == ('cat', 'dog', 'cow')
    # The shorter side to 64, and 32 of it.
    assert opened.network.prepare([photo()]).geometries[0].scale == pytest.approx((116 / 91, 64 / 50), abs=0.01)


@pytest.mark.parametrize(('name', 'layer'), [('tiny_net', 'fc'), ('tiny_fcn', 'classifier')])
def test_a_file_for_other_classes(name, layer, tmp_path, monkeypatch):
    from featmap.models.sources import torchvision_models

    monkeypatch.setitem(torchvision_models._CLASSIFIERS, 'segmentation', ('classifier.weight',))
    model = saved(tmp_path / 'x.pth', name, num_classes=7)
    opened = vis(name, tmp_path / 'x.pth')
    assert torch.equal(getattr(opened.model, layer).weight, getattr(model, layer).weight)
    assert opened.network.classes == ()
    named = vis(name, tmp_path / 'x.pth', classes=list('abcdefg'))
    assert named.network.classes == tuple('abcdefg')


@pytest.mark.parametrize('name', ['DEFAULT', 'IMAGENET1K_V2', 'TinyNet_Weights.IMAGENET1K_V2', 'pretrained'])
def test_weights_by_their_names(name, monkeypatch):
    from torchvision.models import classifiers

    with pytest.raises(ConfigError) as caught:
        vis(checkpoint=name)
    assert str(caught.value) == (
        'torchvision:tiny_net cannot be built: OSError: <urlopen error https://x.org/tiny_net-2.pth>; where there is '
        'no network, give a file in place of the name of weights'
    )
    monkeypatch.setattr(classifiers, 'load', lambda model, named: model)
    opened = vis(checkpoint=name)
    assert opened.network.provenance['checkpoint'] == 'TinyNet_Weights.IMAGENET1K_V2'
    assert not opened.network.random_weights


def test_weights_that_do_not_exist():
    message = (
        r"torchvision has no weights 'COCO_V1' of tiny_net, and there is no such file; its weights are IMAGENET1K_V1, "
        'IMAGENET1K_V2, DEFAULT'
    )
    with pytest.raises(CheckpointError, match=message):
        vis(checkpoint='COCO_V1')
    with pytest.raises(CheckpointError, match='does not exist'):
        vis(checkpoint='folder/coco.pth')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('tiny_nett', "^torchvision has no model 'tiny_nett'; nearest: tiny_net, "),
        ('quantized_tiny_net', 'computes in whole numbers, which are no maps: take it without quantized_'),
    ],
)
def test_models_that_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        vis(name)


def test_torchvision_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    with pytest.raises(MissingPackageError, match=r"^the model 'torchvision:x' needs 'torchvision', .*torchvision$"):
        vis('x')


@pytest.mark.parametrize(
    ('name', 'options', 'shape', 'scale', 'offset'),
    [
        ('tiny_net', {'input_size': 64}, (64, 64), (1.6, 1.6), (-40, -8)),
        ('tiny_net', {'resize': 'stretch'}, (32, 32), (32 / 91, 32 / 50), (0, 0)),
        ('tiny_fcn', {}, (48, 87), (87 / 91, 48 / 50), (0, 0)),
        ('tiny_fcn', {'input_size': 64}, (64, 64), (64 / 91, 35 / 50), (0, 14)),
        ('tiny_rcnn', {'input_size': (64, 91)}, (64, 91), (1, 1), (0, 7)),
        ('tiny_rcnn', {'model_args': {'min_size': 32, 'max_size': 96}}, (32, 64), (58 / 91, 32 / 50), (0, 0)),
    ],
)
def test_the_size_of_the_input(name, options, shape, scale, offset):
    geometry = vis(name, **options).extractor.extract(photo())[0][0].geometry
    assert geometry.input_shape == shape
    assert np.abs(np.array(geometry.scale) - scale).max() < 0.02
    assert np.abs(np.array(geometry.offset) - offset).max() < 0.6


def test_another_mean():
    image = np.full((40, 40, 3), 255, np.uint8)
    given = vis(mean=(0, 0.5, 0), std=(1, 0.5, 0.5)).network.prepare([image]).inputs
    assert given[0, :, 0, 0].tolist() == pytest.approx([1, 1, 2])


def test_a_segmenter():
    found = vis('tiny_fcn').extractor.extract(photo())[1]
    assert found.segments.shape == SHAPE
    assert found.classes == ('__background__', 'cat')


@pytest.mark.parametrize('shape', [(50, 91), (131, 47), (33, 33), (20, 300)])
@pytest.mark.parametrize('options', [{}, {'model_args': {'min_size': 50, 'max_size': 120}}, {'input_size': (64, 96)}])
def test_a_dot_lights_the_cell_over_it_and_has_the_box(shape, options):
    opened = vis('tiny_rcnn', keep_features=True, score_thr=0.5, **options)
    for x, y in ((3.5, 3.5), (shape[1] * 0.6, shape[0] * 0.7), (shape[1] - 3.5, shape[0] - 3.5)):
        image = np.full((*shape, 3), 127, np.uint8)  # no darker than what it is padded with
        rows, columns = np.indices(shape)
        image[np.hypot(columns + 0.5 - x, rows + 0.5 - y) < 3.4] = 250
        maps, found = opened.extractor.extract(image)
        features, (sy, sx) = maps[0].features[1], maps[0].stride
        row, column = np.unravel_index(features.argmax(), features.shape)
        middle = np.array([[(column + 0.5) * sx, (row + 0.5) * sy] * 2])
        geometry = maps[0].geometry
        cell = np.array([sx / geometry.scale[0], sy / geometry.scale[1]])
        assert (np.abs(geometry.boxes_to_image(middle)[0, :2] - (x, y)) <= np.maximum(cell, 3.4)).all()
        ((x1, y1, x2, y2),) = found.boxes
        assert np.abs(np.array([(x1 + x2) / 2, (y1 + y2) / 2]) - (x, y)).max() <= max(*cell, 3.4)
        ends = geometry.boxes_to_image(np.array([[column * sx, row * sy, (column + 1) * sx, (row + 1) * sy]]))
        assert np.abs(found.boxes - np.clip(ends, 0, [shape[1], shape[0]] * 2)).max() < 0.01


def test_all_of_the_image_is_what_is_no_padding():
    opened = vis('tiny_rcnn', score_thr=0.001)
    maps, found = opened.extractor.extract(photo())
    assert maps[0].geometry.input_shape == (64, 96)
    assert found.scores == pytest.approx([0.9, 0.01])
    assert found.boxes[1] == pytest.approx([0, 0, 91, 50], abs=0.5)
    assert found.masks.whole(1).mean() > 0.98
    assert len(opened.with_options(score_thr=0.5)(photo()).predictions.boxes) == 1
    assert len(opened(photo()).predictions.boxes) == 2


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_detector_that_is_built_already_is_fed_as_one(wrapped):
    from torchvision.models.detection.tiny import tiny_rcnn

    image, named = photo(), vis('tiny_rcnn', score_thr=0.001)
    wanted = named(image)
    model = tiny_rcnn(weights_backbone=None)
    transform = model.transform
    given = nn.DataParallel(model) if wrapped else model
    found = visualize(given, image, 'backbone', score_thr=0.001, device='cpu')
    assert found.maps[0].geometry == wanted.maps[0].geometry
    np.testing.assert_array_equal(found.maps[0].values, wanted.maps[0].values)
    np.testing.assert_array_equal(found.predictions.boxes, wanted.predictions.boxes)
    assert model.transform is transform
    assert model.score_thresh == 0.05


def test_a_detector_is_left_as_it_was_by_a_failure_too():
    from torchvision.models.detection.tiny import tiny_rcnn

    model = tiny_rcnn(weights_backbone=None)
    transform = model.transform
    handle = model.backbone.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ConfigError, match='ZeroDivisionError'):
        visualize(model, photo(), 'backbone', score_thr=0.001, device='cpu')
    handle.remove()
    assert model.transform is transform
    assert model.score_thresh == 0.05


def test_a_detector_that_a_factory_makes(tmp_path):
    code = 'from torchvision.models.detection.tiny import TinyRCNN as make\n\n\ndef pre(image):\n    return to(image)\n'
    to = 'import numpy, torch\n\n\ndef to(image):\n    return torch.tensor(numpy.array(image) / 255).permute(2, 0, 1)\n'
    (tmp_path / 'mine.py').write_text(f'{to}\n\n{code}')
    wanted = vis('tiny_rcnn').extractor.extract(photo())[0][0]
    for options in ({}, {'preprocess': 'pre'}):
        opened = FeatMapInferencer(f'{tmp_path}/mine.py:make', target_layers=['backbone'], device='cpu', **options)
        found = opened.extractor.extract(photo())[0][0]
        assert found.geometry.input_shape == (64, 96)
        np.testing.assert_allclose(found.values, wanted.values, atol=1e-4)


def test_a_batch_of_images():
    detector = vis('tiny_rcnn').network
    batch = detector.prepare([photo(), photo()])
    assert batch.inputs.shape == (2, 3, 64, 96)
    assert [len(found.boxes) for found in detector.predict(batch)] == [1, 1]


def test_a_preprocessing_of_ones_own_goes_before_that_inside():
    def halved(image):
        pixels = np.asarray(image.resize((image.width // 2, image.height)), np.float32)
        return torch.from_numpy(pixels / 255).permute(2, 0, 1)

    geometry = vis('tiny_rcnn', preprocess=halved).extractor.extract(photo((50, 90)))[0][0].geometry
    # 45 x 50, and its shorter side to 64.
    assert geometry.input_shape == (96, 64)
    assert geometry.scale == pytest.approx((64 / 90, 71 / 50), abs=0.02)


def test_the_command(run, photo, tmp_path):
    done = run(photo, 'torchvision:tiny_rcnn', 'none', '--target-layers', 'backbone', '--out-file', 'x.png')
    assert done.status == 0
    assert (tmp_path / 'x.png').is_file()
    assert 'nearest: tiny_net' in run(photo, 'torchvision:tiny_ne', 'none', '--out-file', 'y.png').error
