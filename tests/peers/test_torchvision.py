"""Models of torchvision, with random weights: no network is needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featmap import FeatMapInferencer
from tests.peers.helpers import assert_equal_to_plain, assert_placed, hooked, photo, positions

pytestmark = pytest.mark.peers
torchvision = pytest.importorskip('torchvision', reason='torchvision is not installed; runs in `make test-peers`')

# Layout of what the layers put out, layers and the strides that the papers give them.
CLASSIFIERS = {
    'resnet18': ('map', {'layer1': 4, 'layer2': 8, 'layer3': 16, 'layer4': 32}),
    'vgg11': ('map', {'features.2': 2, 'features.5': 4, 'features.10': 8, 'features.15': 16, 'features.20': 32}),
    'convnext_tiny': ('map', {f'features.{1 + 2 * i}': 4 * 2**i for i in range(4)}),
    'efficientnet_b0': ('map', {'features.1': 2, 'features.2': 4, 'features.3': 8, 'features.5': 16, 'features.8': 32}),
    'vit_b_16': ('tokens', {f'encoder.layers.encoder_layer_{i}': 16 for i in (0, 11)}),
    'swin_t': ('last', {f'features.{1 + 2 * i}': 4 * 2**i for i in range(4)}),
}
SEGMENTERS = {
    'deeplabv3_mobilenet_v3_large': {'backbone.1': 2, 'backbone.4': 8, 'backbone.16': 16, 'classifier': 16},
    'lraspp_mobilenet_v3_large': {'backbone.4': 8, 'backbone.16': 16},
}
PYRAMID = {f'backbone.body.layer{i}': 2 ** (i + 1) for i in (1, 2, 3, 4)}
SMALL = {'min_size': 192, 'max_size': 320}
DETECTORS = {
    'fasterrcnn_resnet50_fpn': (SMALL, PYRAMID),
    'maskrcnn_resnet50_fpn': (SMALL, PYRAMID),
    'retinanet_resnet50_fpn': (SMALL, PYRAMID),
    'fcos_resnet50_fpn': (SMALL, PYRAMID),
    'fasterrcnn_mobilenet_v3_large_320_fpn': (SMALL, {'backbone.body.4': 8, 'backbone.body.16': 32}),
    'ssdlite320_mobilenet_v3_large': ({}, {'backbone.features.0.4': 8, 'backbone.features.0.12': 16}),
}


def build(name, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torchvision.models.get_model(name, weights=None, **arguments).eval()


def open_model(name, strides, **options):
    return FeatMapInferencer(
        f'torchvision:{name}', 'none', target_layers=list(strides), device='cpu', boxes=False, keep_features=True,
        **options,
    )  # fmt: skip


def assert_strides(maps, strides):
    assert {item.layer: item.stride for item in maps} == {layer: (stride, stride) for layer, stride in strides.items()}
    assert all(item.offset == (0, 0) for item in maps)


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_a_classifier(name):
    layout, strides = CLASSIFIERS[name]
    image, vis, model = photo(150, 211), open_model(name, strides), build(name)
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    given = preset(Image.fromarray(image))[None]
    assert_equal_to_plain(vis, image, hooked(model, list(strides), lambda: model(given)), layout)

    maps = vis.extractor.extract(image)[0]
    assert_strides(maps, strides)
    size, shorter = preset.crop_size[0], preset.resize_size[0]
    width = int(shorter * 211 / 150)
    top, left = round((shorter - size) / 2), round((width - size) / 2)
    x, y = 211 / width, 150 / shorter
    assert np.abs(positions(maps[0].geometry) - [left * x, top * y, (left + 100) * x, (top + 100) * y]).max() < 0.5
    assert_placed(vis, (150, 211), (88, 60), 24)


@pytest.mark.parametrize('name', SEGMENTERS)
def test_a_segmenter(name):
    strides = SEGMENTERS[name]
    image, vis = photo(90, 101), open_model(name, strides)
    model = build(name, weights_backbone=None)
    given = torchvision.models.get_model_weights(name).DEFAULT.transforms()(Image.fromarray(image))[None]
    assert_equal_to_plain(vis, image, hooked(model, list(strides), lambda: model(given)), 'map')
    maps = vis.extractor.extract(image)[0]
    assert_strides(maps, strides)
    width = int(520 * 101 / 90)
    assert np.abs(positions(maps[0].geometry) - [0, 0, 100 * 101 / width, 100 * 90 / 520]).max() < 0.5
    # Atrous pyramids look as far as the image is wide.
    assert_placed(vis, (90, 101), (68, 30), 16, wide=('classifier',))


def test_a_segmenter_at_a_size_that_is_asked_for():
    strides = {'backbone.layer1': 4, 'backbone.layer2': 8, 'backbone.layer4': 8}
    image = photo(90, 131)
    vis = open_model('fcn_resnet50', strides, input_size=(128, 160), resize='stretch')
    model = build('fcn_resnet50', weights_backbone=None)
    pixels = torch.from_numpy(np.array(Image.fromarray(image).resize((160, 128), Image.Resampling.BILINEAR)))
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    given = ((pixels.permute(2, 0, 1).float() / 255 - mean) / std)[None]
    assert_equal_to_plain(vis, image, hooked(model, list(strides), lambda: model(given)), 'map')
    assert_strides(vis.extractor.extract(image)[0], strides)
    assert_placed(vis, (90, 131), (88, 30), 16)


@pytest.mark.parametrize('name', DETECTORS)
def test_a_detector_resizes_inside(name):
    arguments, strides = DETECTORS[name]
    image, vis = photo(150, 211), open_model(name, strides, model_args=arguments)
    model = build(name, weights_backbone=None, **arguments)
    given = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    assert_equal_to_plain(vis, image, hooked(model, list(strides), lambda: model([given])), 'map')
    maps = vis.extractor.extract(image)[0]
    assert_strides(maps, strides)
    inside, _ = model.transform([given])
    assert maps[0].geometry.input_shape == tuple(inside.tensors.shape[-2:])
    height, width = inside.image_sizes[0]
    assert np.abs(positions(maps[0].geometry) - [0, 0, 100 * 211 / width, 100 * 150 / height]).max() < 0.5
    assert_placed(vis, (150, 211), (88, 60), 24)


@pytest.mark.parametrize('name', ['maskrcnn_resnet50_fpn', 'fcos_resnet50_fpn', 'ssdlite320_mobilenet_v3_large'])
def test_boxes_and_masks_are_those_of_the_model_itself(name, tmp_path):
    arguments = DETECTORS[name][0]
    image = photo(150, 211)
    model = build(name, weights_backbone=None, **arguments)
    given = [torch.from_numpy(image).permute(2, 0, 1).float() / 255]
    # As normalised as a trained one is, so that scores differ.
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        model([given[0], given[0].flip(-1)])
    model.eval()
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    (model if hasattr(model, 'score_thresh') else model.roi_heads).score_thresh = 0.0
    with torch.no_grad():
        expected = model(given)[0]
    left, top, right, bottom = expected['boxes'].unbind(dim=1)
    expected = {key: value[(right > left) & (bottom > top)] for key, value in expected.items()}
    # Between two scores, so that rounding leaves no doubt of what is above.
    scores = expected['scores'].numpy()
    count = int((scores[3:20] - scores[4:21]).argmax()) + 4
    vis = FeatMapInferencer(
        f'torchvision:{name}', tmp_path / 'weights.pth', device='cpu', model_args=arguments,
        score_thr=float(scores[count - 1 : count + 1].mean()), target_layers=['backbone'],
    )  # fmt: skip
    found = vis.extractor.extract(image)[1]
    assert len(found.boxes) == count
    assert np.abs(found.boxes - expected['boxes'][:count].numpy()).max() < 0.1
    assert np.abs(found.scores - scores[:count]).max() < 1e-3
    assert found.labels.tolist() == expected['labels'][:count].tolist()
    assert found.classes[1] == 'person'
    if 'masks' in expected:
        theirs = expected['masks'][:count, 0].numpy() >= 0.5
        ours = np.stack([found.masks.whole(index) for index in range(count)])
        assert theirs.any()
        assert (theirs != ours).mean() < 0.01
