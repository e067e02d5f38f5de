"""Answers inside the graph, of libraries' own models: the same as is drawn, and each traced to its raw prediction."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from featmap import FeatMapInferencer
from featmap.gradients import GradientRecorder
from featmap.targets.tracer import Tracer, traced_layers
from tests.peers.helpers import photo

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings('ignore::UserWarning')]
SMALL = {'min_size': 160, 'max_size': 256, 'weights_backbone': None, 'num_classes': 8}
# How many layers put out raw predictions, and of what kind.
TORCHVISION = {
    'retinanet_resnet50_fpn': (2, 'dense', SMALL),
    'fcos_resnet50_fpn': (3, 'dense', SMALL),
    'ssdlite320_mobilenet_v3_large': (12, 'dense', {'weights_backbone': None, 'num_classes': 8}),
    'fasterrcnn_resnet50_fpn': (1, 'region', SMALL),
    'maskrcnn_resnet50_fpn': (1, 'region', {**SMALL, 'box_detections_per_img': 5}),
    'keypointrcnn_resnet50_fpn': (1, 'region', {**SMALL, 'num_classes': 2, 'box_detections_per_img': 5}),
}
QUERIES = ('detr', 'conditional_detr', 'deformable_detr', 'rt_detr', 'yolos')
MM_CLASSIFIERS = (
    'resnet/resnet18_8xb32_in1k', 'deit/deit-tiny-distilled_4xb256_in1k', 'conformer/conformer-tiny-p16_8xb128_in1k',
    'csra/resnet101-csra_1xb16_voc07-448px',
)  # fmt: skip
MM_SEGMENTORS = (
    'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024', 'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512',
    'unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64',
)  # fmt: skip


def answered(vis, image, layers=()):
    """The final answers, with the recorder of their graph, beside what is drawn."""
    network = vis.network
    found = network.predict(network.prepare([image]))[0]
    recorder = GradientRecorder(network.model, traced_layers(network.model, layers) or ['backbone'])
    with torch.enable_grad():
        answers = network.respond(network.prepare([image]), recorder)[0]
    return found, answers, recorder


def check_boxes(vis, image, count, kind):
    network, (height, width) = vis.network, image.shape[:2]
    layers = network.raw_layers()
    assert (len(layers), {layer.kind for layer in layers}) == (count, {kind})
    found, answers, recorder = answered(vis, image, layers)
    shown = answers.shown
    assert len(found) == len(shown) > 0
    cut = answers.boxes[shown].detach().numpy().clip(0, [width, height] * 2)
    np.testing.assert_allclose(cut, found.boxes, atol=0.1)
    np.testing.assert_allclose(answers.scores[shown].detach(), found.scores, atol=1e-4)
    assert answers.labels[shown].tolist() == found.labels.tolist()
    with torch.no_grad():
        raw = network.respond(network.prepare([image]), raw=1e-8)[0]
    assert len(raw.scores) >= len(answers.scores)
    tracer = Tracer(layers, recorder.kept, network.prepare([image]).input_shape)
    for number in shown[:3].tolist():
        same = (raw.boxes - answers.boxes[number]).abs().amax(dim=1) < 0.5
        same &= (raw.scores - answers.scores[number]).abs() < 1e-4
        assert (same & (raw.labels == answers.labels[number])).any()
        traced = tracer.find(answers.scores[number].log(), f'box {number}', int(answers.labels[number]))
        assert traced.trace.kind == kind
        ends = answers.boxes[number].detach() / torch.tensor([width, height] * 2)
        for side in range(4):  # those that lie on an edge are cut there
            assert tracer.depends(answers.boxes[number, side]) or not 0.01 < float(ends[side]) < 0.99
    after = network.predict(network.prepare([image]))[0]
    np.testing.assert_array_equal(after.boxes, found.boxes)


@pytest.mark.parametrize('name', TORCHVISION)
def test_detectors_of_torchvision(name):
    torchvision = pytest.importorskip('torchvision', reason='torchvision is not installed; runs in `make test-peers`')
    count, kind, arguments = TORCHVISION[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None, **arguments).eval()
        for part, weight in model.named_parameters():
            if part.endswith(('cls_logits.weight', 'cls_score.weight')):
                weight.data *= 4
            if name.startswith('fcos') and part.endswith('bbox_reg.bias'):
                weight.data += 1  # there is a rectifier behind it
    vis = FeatMapInferencer(model=model, device='cpu', target_layers=['backbone'], score_thr=0.0)
    check_boxes(vis, photo(150, 211), count, kind)


@pytest.mark.parametrize('name', QUERIES)
def test_object_queries_of_transformers(name, tmp_path):
    pytest.importorskip('transformers', reason='transformers is not installed; runs in `make test-peers`')
    from tests.peers.test_transformers import save

    _, _, layers, _ = save(name, tmp_path)
    vis = FeatMapInferencer(f'hf:{tmp_path}', 'pretrained', device='cpu', target_layers=layers[:1], score_thr=0.002)
    check_boxes(vis, photo(150, 211), len(vis.network.raw_layers()), 'query')


@pytest.mark.parametrize('name', ['vit', 'segformer', 'mask2former'])
def test_classes_and_segments_of_transformers(name, tmp_path):
    pytest.importorskip('transformers', reason='transformers is not installed; runs in `make test-peers`')
    from tests.peers.test_transformers import save

    _, _, layers, _ = save(name, tmp_path)
    vis = FeatMapInferencer(f'hf:{tmp_path}', 'pretrained', device='cpu', target_layers=layers[:1])
    network, image = vis.network, photo(150, 211)
    found = network.predict(network.prepare([image]))[0]
    recorder = GradientRecorder(network.model, layers[:1])
    with torch.enable_grad():
        answers = network.respond(network.prepare([image]), recorder)[0]
    if name == 'vit':
        best = found.classification
        chances = answers.logits.softmax(dim=0).detach().numpy()
        np.testing.assert_allclose(chances[best.labels], best.scores, atol=1e-5)
        scalar = answers.logits[0]
    else:
        assert answers.planes.shape[0] == 3
        np.testing.assert_array_equal(answers.detections.segments.numbers, found.segments.numbers)
        scalar = answers.planes[0].mean()
    assert any(float(each.abs().max()) > 0 for each in recorder.gradients(scalar)[0].values())


@pytest.mark.parametrize('name', MM_CLASSIFIERS)
def test_classifiers_of_mmpretrain(name):
    if find_spec('mmpretrain') is None:  # it is not to be imported before featmap does
        pytest.skip('mmpretrain is not installed; runs in `make test-peers`')
    vis = FeatMapInferencer(f'mmpretrain::{name}.py', 'none', device='cpu')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for weight in vis.model.head.parameters():  # some are made of zeros
            torch.nn.init.normal_(weight, std=0.05)
    found, answers, recorder = answered(vis, photo(150, 211))
    best = found.classification
    assert (answers.kind, answers.activation) == ('classes', best.kind)
    chances = answers.logits.softmax(dim=0) if best.kind == 'softmax' else answers.logits.sigmoid()
    np.testing.assert_allclose(chances.detach()[torch.from_numpy(best.labels)], best.scores, atol=1e-4)
    assert abs(float(answers.logits.detach().exp().sum().log())) > 1e-3  # no logs of probabilities
    assert any(float(each.abs().max()) > 0 for each in recorder.gradients(answers.logits[0])[0].values())


@pytest.mark.parametrize('name', MM_SEGMENTORS)
def test_segmentors_of_mmseg(name):
    pytest.importorskip('mmseg', reason='mmseg is not installed; runs in `make test-peers`')
    options = {'test_dataloader.dataset.pipeline.1.scale': (160, 96)}
    if 'segformer' not in name:
        options['model.data_preprocessor.test_cfg.size_divisor'] = 32
    vis = FeatMapInferencer(f'mmseg::{name}.py', 'none', device='cpu', cfg_options=options)
    image = photo(150, 211)
    found, answers, recorder = answered(vis, image)
    assert answers.kind == 'segments'
    assert answers.planes.shape[1:] == vis.network.prepare([image]).input_shape
    np.testing.assert_array_equal(answers.detections.segments.numbers, found.segments.numbers)
    assert any(float(each.abs().max()) > 0 for each in recorder.gradients(answers.planes[1].mean())[0].values())
