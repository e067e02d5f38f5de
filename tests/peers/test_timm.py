"""Models of timm, with random weights: no network is needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featmap import FeatMapInferencer
from tests.peers.helpers import assert_equal_to_plain, assert_placed, hooked, photo, positions

pytestmark = pytest.mark.peers
timm = pytest.importorskip('timm', reason='timm is not installed; runs in `make test-peers`')

SMALL = {'depth': 2}
# Layout of what the layers put out, arguments, layers and the strides that the papers give them.
MODELS = {
    'resnet18': ('map', {}, {'layer1': 4, 'layer2': 8, 'layer3': 16, 'layer4': 32}),
    'resnetv2_50': ('map', {'layers': (1, 1, 1, 1)}, {f'stages.{i}': 4 * 2**i for i in range(4)}),
    'convnext_atto': ('map', {}, {f'stages.{i}': 4 * 2**i for i in range(4)}),
    'efficientnet_b0': ('map', {}, {'blocks.0': 2, 'blocks.1': 4, 'blocks.2': 8, 'blocks.4': 16, 'blocks.6': 32}),
    'mobilenetv3_small_050': ('map', {}, {'blocks.0': 4, 'blocks.1': 8, 'blocks.2': 16, 'blocks.4': 32}),
    'regnetx_002': ('map', {}, {'s1': 4, 's2': 8, 's3': 16, 's4': 32}),
    'vit_tiny_patch16_224': ('tokens', SMALL, {'blocks.0': 16, 'blocks.1': 16}),
    'deit_tiny_distilled_patch16_224': ('tokens', SMALL, {'blocks.0': 16, 'blocks.1': 16}),
    'vit_small_patch14_reg4_dinov2': ('tokens', {**SMALL, 'img_size': 112}, {'blocks.0': 14, 'blocks.1': 14}),
    'vit_base_patch16_siglip_224': ('tokens', {**SMALL, 'embed_dim': 192}, {'blocks.0': 16, 'blocks.1': 16}),
    'eva02_tiny_patch14_224': ('tokens', SMALL, {'blocks.0': 14, 'blocks.1': 14}),
    'swin_tiny_patch4_window7_224': (
        'last', {'depths': (2, 1, 1, 1), 'embed_dim': 48}, {f'layers.{i}': 4 * 2**i for i in range(4)},
    ),
}  # fmt: skip


@pytest.fixture(params=MODELS)
def opened(request):
    layout, arguments, strides = MODELS[request.param]
    vis = FeatMapInferencer(
        f'timm:{request.param}', 'none', target_layers=list(strides), device='cpu', boxes=False, keep_features=True,
        model_args=arguments,
    )  # fmt: skip
    return request.param, layout, arguments, strides, vis


def test_features_and_places(opened):
    name, layout, arguments, strides, vis = opened
    image = photo(150, 211)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, **arguments).eval()
    config = timm.data.resolve_model_data_config(model)
    size = arguments.get('img_size') or config['input_size'][-1]
    given = timm.data.create_transform(**{**config, 'input_size': (3, size, size)})(Image.fromarray(image))[None]
    plain = hooked(model, list(strides), lambda: model(given))
    assert_equal_to_plain(vis, image, plain, layout)

    maps = vis.extractor.extract(image)[0]
    assert {item.layer: item.stride for item in maps} == {layer: (stride, stride) for layer, stride in strides.items()}
    assert all(item.offset == (0, 0) for item in maps)
    # Resize the shorter side to what a crop of a share is taken of; crop as torchvision rounds.
    shorter = int(size / config['crop_pct'])
    height, width = shorter, int(shorter * 211 / 150)
    top, left = round((height - size) / 2), round((width - size) / 2)
    expected = np.array([left * 211 / width, top * 150 / height] * 2) + [0, 0, 100 * 211 / width, 100 * 150 / height]
    assert np.abs(positions(maps[0].geometry) - expected).max() < 0.5
    assert_placed(vis, (150, 211), (88, 60), 24)
