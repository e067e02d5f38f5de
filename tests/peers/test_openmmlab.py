"""Models of mmsegmentation and mmpretrain, with random weights: no network is needed."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from featmap import FeatMapInferencer
from tests.peers.helpers import assert_equal_to_plain, assert_placed, hooked, photo

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings('ignore::UserWarning')]
pytest.importorskip('mmcv', reason='mmcv is not installed; runs in `make test-peers`')

SEG_SCALE = {'test_dataloader.dataset.pipeline.1.scale': (320, 192)}
PADDED = {**SEG_SCALE, 'model.data_preprocessor.test_cfg.size_divisor': 32}
# Which layers, the layout of what they put out, and how many there are. In Twins every other block has windows.
SEGMENTORS = {
    'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024': (r'backbone\.layer\d\.\d', 'map', 8),
    'deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-769x769': (r'backbone\.layer\d\.\d', 'map', 8),
    'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512': (r'backbone\.layers\.\d\.1\.\d', 'tokens', 8),
    'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024': (r'backbone\.detail\.detail_branch\.\d\.\d', 'map', 8),
    'upernet/upernet_r18_4xb2-40k_cityscapes-512x1024': (r'backbone\.layer\d\.\d|decode_head\.conv_seg', 'map', 9),
    'unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64': (r'backbone\.encoder\.\d', 'map', 5),
}
CLASSIFIERS = {
    'resnet/resnet18_8xb32_in1k': (r'backbone\.layer\d\.\d', 'map', 8),
    'convnext/convnext-tiny_32xb128_in1k': (r'backbone\.stages\.\d\.\d', 'map', 18),
    'mobilenet_v3/mobilenet-v3-small_8xb128_in1k': (r'backbone\.layer\d+', 'map', 13),
    'swin_transformer/swin-tiny_16xb64_in1k': (r'backbone\.stages\.\d\.blocks\.\d', 'tokens', 12),
    'deit/deit-tiny_4xb256_in1k': (r'backbone\.layers\.\d+', 'tokens', 12),
    'deit/deit-tiny-distilled_4xb256_in1k': (r'backbone\.layers\.\d+', 'tokens', 12),
    'resnet/resnet18_8xb16_cifar10': (r'backbone\.layer\d\.\d', 'map', 8),
}


def opened(name: str, options: dict[str, Any] | None = None, pattern: str = '', **more: Any) -> FeatMapInferencer:
    vis = FeatMapInferencer(name, 'none', device='cpu', cfg_options=options, keep_features=True, **more)
    if not pattern:
        return vis
    layers = [layer for layer, _ in vis.network.model.named_modules() if re.fullmatch(pattern, layer)]
    return FeatMapInferencer(
        name, 'none', device='cpu', cfg_options=options, keep_features=True, target_layers=layers, **more
    )


def plain_run(vis: FeatMapInferencer, path: Any, layers: list[str]) -> tuple[dict[str, torch.Tensor], Any]:
    """What a library's own loading, pipeline and ``test_step`` make of a file: what layers put out, and the result."""
    from mmcv.transforms import Compose
    from mmengine.registry import DefaultScope

    config, model, found = vis.network.config, vis.network.model, []
    steps = [dict(step) for step in config.test_dataloader.dataset.pipeline]
    steps = [step for step in steps if not step['type'].startswith('LoadAnn')]
    with DefaultScope.overwrite_default_scope(config.default_scope):
        if steps[0]['type'].startswith('Load'):
            data = Compose(steps)({'img_path': str(path)})
        else:
            data = Compose(steps)({'img': cv2.imread(str(path))[..., ::-1]})
        data = {key: [value] for key, value in data.items()}
        plain = hooked(model, layers, lambda: found.extend(model.test_step(data)))
    return {name: out[0] if isinstance(out, tuple) else out for name, out in plain.items()}, found[0]


@pytest.fixture
def image(tmp_path):
    made = photo(151, 211)
    cv2.imwrite(str(tmp_path / 'photo.png'), made[..., ::-1])
    return made, tmp_path / 'photo.png'


@pytest.mark.parametrize('name', SEGMENTORS)
def test_segmentors(name, image):
    pytest.importorskip('mmseg', reason='mmseg is not installed; runs in `make test-peers`')
    pattern, layout, count = SEGMENTORS[name]
    vis = opened(f'mmseg::{name}.py', SEG_SCALE if 'segformer' in name else PADDED, pattern)
    mode = vis.network.model.test_cfg.mode
    vis.network.model.test_cfg.mode = 'whole'
    layers = [target.name for target in vis.extractor.targets]
    assert len(layers) == count
    plain, result = plain_run(vis, image[1], layers)
    vis.network.model.test_cfg.mode = mode
    assert_equal_to_plain(vis, image[0], plain, layout)

    found = vis(image[0]).predictions
    numbers = np.concatenate([[-1], found.segments.labels])[found.segments.numbers]
    expected = result.pred_sem_seg.data[0].numpy()
    names = found.classes
    expected = np.where(expected == names.index('background'), -1, expected) if 'background' in names else expected
    assert (numbers == expected).mean() > 0.999
    assert len(found.palette) == len(found.classes) == vis.network.model.num_classes

    assert_placed(vis, (151, 211), (60, 90), 40)


def test_a_segmentor_that_is_tested_by_windows_says_that_it_is_given_whole_images():
    pytest.importorskip('mmseg', reason='mmseg is not installed; runs in `make test-peers`')
    with pytest.warns(UserWarning, match="mode='slide', windows of 769x769"):
        vis = opened('mmseg::deeplabv3plus_r18-d8_4xb2-80k_cityscapes-769x769', SEG_SCALE)
    result = vis(photo(151, 211))
    assert all(item.calls == 1 for item in result.maps)


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_classifiers(name, image):
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed; runs in `make test-peers`')
    pattern, layout, count = CLASSIFIERS[name]
    vis = opened(f'mmpretrain::{name}', None, pattern)
    layers = [target.name for target in vis.extractor.targets]
    assert len(layers) == count
    declared, preprocessor = vis.network.config.data_preprocessor, vis.network.model.data_preprocessor
    assert preprocessor.mean.flatten().tolist() == pytest.approx(declared['mean'])
    assert preprocessor.to_rgb is declared['to_rgb']
    plain, result = plain_run(vis, image[1], layers)
    assert_equal_to_plain(vis, image[0], plain, layout)

    found = vis(image[0]).predictions
    best = result.pred_score.topk(5)
    np.testing.assert_allclose(found.classification.scores, best.values, rtol=1e-3)
    assert found.classification.of == len(found.classes) == len(result.pred_score)
    assert int(found.classification.labels[0]) in best.indices.tolist()

    assert_placed(vis, (151, 211), (110, 70), 40)


@pytest.mark.parametrize(
    ('name', 'told'),
    [
        ('mmpretrain::resnet/resnet18_8xb32_in1k.py', [f'backbone.layer{number}' for number in range(1, 5)]),
        ('mmpretrain::deit/deit-tiny_4xb256_in1k.py', ['backbone.layers.11']),
        ('mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', [f'backbone.stages.{stage}' for stage in range(4)]),
        ('mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py', ['backbone']),
    ],
)
def test_layers_without_names(name, told):
    pytest.importorskip(name.partition(':')[0], reason='it is not installed; runs in `make test-peers`')
    assert list(opened(name).default_layers.names) == told


def test_a_backbone_without_a_head_or_a_pipeline():
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed; runs in `make test-peers`')
    with pytest.warns(UserWarning, match='no test pipeline: .* 518x518'):
        vis = opened('mmpretrain::dinov2/vit-small-p14_dinov2-pre_headless.py', boxes=True)
    result = vis(photo(151, 211))
    assert [(item.layer, item.shape, item.stride) for item in result.maps] == [
        ('backbone.layers.11', (384, 37, 37), (14, 14))
    ]
    assert result.predictions is None


def test_class_maps_of_a_segmentor():
    pytest.importorskip('mmseg', reason='mmseg is not installed; runs in `make test-peers`')
    vis = opened(
        'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py', SEG_SCALE,
        target_layers=['decode_head.conv_seg'], channels=['wall', 'sky'], boxes=False,
    )  # fmt: skip
    (item,) = vis(photo(151, 211)).maps
    chances = torch.from_numpy(item.features).softmax(dim=0)[[0, 2]]
    np.testing.assert_allclose(item.values, chances, rtol=1e-4)
