"""Explanations beside the packages that explain classifiers: where a method is defined alike, the maps are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featmap.explaining import Explaining
from featmap.faithfulness import box_mask, energy, impute, pointing, road
from featmap.models.protocol import AnyModel
from featmap.models.source import find_source
from featmap.options import Run
from featmap.targets import parse_target
from tests.peers.helpers import photo

pytestmark = pytest.mark.peers
peer = pytest.importorskip('pytorch_grad_cam', reason='pytorch_grad_cam is not installed; runs in `make test-peers`')
torchcam = pytest.importorskip('torchcam.methods', reason='torchcam is not installed; runs in `make test-peers`')
captum = pytest.importorskip('captum.attr', reason='captum is not installed; runs in `make test-peers`')
quantus = pytest.importorskip('quantus', reason='quantus is not installed; runs in `make test-peers`')
pytest.importorskip('torchvision', reason='torchvision is not installed; runs in `make test-peers`')

CLASS = 7
SAME = 0.999


@pytest.fixture(scope='module')
def resnet() -> AnyModel:
    return find_source('torchvision:resnet18', 'none').open(Run.of({'device': 'cpu'}))


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    return photo(224, 224)


def alike(first: Any, second: Any) -> float:
    """The correlation of two maps; those of no heat at all are alike."""
    first, second = np.asarray(first, np.float64).ravel(), np.asarray(second, np.float64).ravel()
    if not first.any() and not second.any():
        return 1.0
    return float(np.corrcoef(first, second)[0, 1])


def ours(network: AnyModel, image: np.ndarray, method: str, layer: str, spec: Any = f'class:{CLASS}') -> np.ndarray:
    """The heat of a layer, as far as it is above 0, at its own resolution."""
    found = Explaining(network, parse_target(spec), [method], [layer])(image)
    return found.explanations[0].maps[0].values[0]


def theirs(
    kind: Callable[..., Any],
    model: nn.Module,
    layer: str,
    inputs: Tensor | list[Tensor],
    target: Callable[[Any], Tensor],
    reshape: Callable[[Tensor], Tensor] | None = None,
) -> np.ndarray:
    """What pytorch-grad-cam makes of the same layer, before it is resized."""
    module = model.get_submodule(layer)
    with kind(model=model, target_layers=[module], reshape_transform=reshape) as cam:
        cam.activations_and_grads(inputs)
        model.zero_grad()
        outputs = cam.activations_and_grads(inputs)
        target(outputs[0]).backward()
        features = cam.activations_and_grads.activations[-1].numpy()
        slopes = cam.activations_and_grads.gradients[0].numpy()
        plane = cam.get_cam_image(inputs, module, [target], features, slopes, False)[0]
    return np.maximum(plane, 0)


def logit(output: Tensor) -> Tensor:
    return output[CLASS]


@pytest.mark.parametrize(
    ('method', 'kind'),
    [
        ('gradcam', 'GradCAM'),
        ('xgradcam', 'XGradCAM'),
        ('hirescam', 'HiResCAM'),
        ('layercam', 'LayerCAM'),
    ],
)
@pytest.mark.parametrize('layer', ['layer2', 'layer4'])
def test_gradient_methods_are_those_of_pytorch_grad_cam(
    resnet: AnyModel, image: np.ndarray, method: str, kind: str, layer: str
) -> None:
    inputs = resnet.prepare([image]).inputs
    expected = theirs(getattr(peer, kind), resnet.model, layer, inputs, logit)
    assert alike(ours(resnet, image, method, layer), expected) > SAME


@pytest.mark.parametrize('layer', ['layer2', 'layer4'])
def test_gradcam_plus_plus_is_that_of_pytorch_grad_cam_where_its_constant_is_small(
    resnet: AnyModel, image: np.ndarray, layer: str
) -> None:
    inputs = resnet.prepare([image]).inputs
    expected = theirs(peer.GradCAMPlusPlus, resnet.model, layer, inputs, lambda output: 1e6 * output[CLASS])
    assert alike(ours(resnet, image, 'gradcam++', layer, lambda output: 1e6 * output[0, CLASS]), expected) > SAME


def test_eigengradcam_up_to_the_sign_that_the_other_leaves_to_chance(resnet: AnyModel, image: np.ndarray) -> None:
    inputs = resnet.prepare([image]).inputs
    module = resnet.model.layer4
    with peer.EigenGradCAM(model=resnet.model, target_layers=[module]) as cam:
        cam.activations_and_grads(inputs)[0, CLASS].backward()
        features, slopes = cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0]
        plane = cam.get_cam_image(inputs, module, [logit], features.numpy(), slopes.numpy(), False)[0]
    mine = ours(resnet, image, 'eigengradcam', 'layer4')
    assert max(alike(mine, np.maximum(plane, 0)), alike(mine, np.maximum(-plane, 0))) > SAME


@pytest.mark.parametrize(
    ('method', 'kind'), [('gradcam', 'GradCAM'), ('xgradcam', 'XGradCAM'), ('layercam', 'LayerCAM'), ('cam', 'CAM')]
)
def test_gradient_methods_are_those_of_torch_cam(resnet: AnyModel, image: np.ndarray, method: str, kind: str) -> None:
    inputs = resnet.prepare([image]).inputs
    more = {'fc_layer': 'fc'} if kind == 'CAM' else {}
    with getattr(torchcam, kind)(resnet.model, 'layer4', **more) as cam:
        expected = cam(CLASS, resnet.model(inputs), normalized=False)[0][0].detach()
    assert alike(ours(resnet, image, method, 'layer4'), expected.clamp(min=0)) > SAME


def test_a_vision_transformer(image: np.ndarray) -> None:
    pytest.importorskip('timm', reason='timm is not installed; runs in `make test-peers`')
    network = find_source('timm:vit_tiny_patch16_224', 'none').open(Run.of({'device': 'cpu'}))
    pixels = photo(224, 224)
    inputs = network.prepare([pixels]).inputs

    def grid(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)

    for method, kind in (('gradcam', peer.GradCAM), ('layercam', peer.LayerCAM), ('hirescam', peer.HiResCAM)):
        expected = theirs(kind, network.model, 'blocks.10', inputs, logit, grid)
        assert alike(ours(network, pixels, method, 'blocks.10'), expected) > SAME


def test_a_box_of_faster_rcnn() -> None:
    options = {
        'device': 'cpu',
        'score_thr': 0.0,
        'model_args': {'min_size': 192, 'max_size': 320, 'box_score_thresh': 0},
    }
    network = find_source('torchvision:fasterrcnn_resnet50_fpn', 'none').open(Run.of(options))
    pixels = photo(192, 256)
    inputs = [torch.from_numpy(pixels).permute(2, 0, 1) / 255]  # which the module resizes by itself

    def score(output: dict[str, Tensor]) -> Tensor:
        return output['scores'][0]

    for method, kind in (('gradcam', peer.GradCAM), ('hirescam', peer.HiResCAM)):
        expected = theirs(kind, network.model, 'backbone.body.layer4', inputs, score)
        assert alike(ours(network, pixels, method, 'backbone.body.layer4', 'box:0'), expected) > SAME


def test_integrated_gradients_are_those_of_captum(resnet: AnyModel, image: np.ndarray) -> None:
    inputs = resnet.prepare([image]).inputs
    black = resnet.prepare([np.zeros_like(image)]).inputs
    expected = captum.IntegratedGradients(resnet.model).attribute(
        inputs, black, target=CLASS, n_steps=50, internal_batch_size=8
    )[0]
    explain = Explaining(
        resnet,
        parse_target(f'class:{CLASS}'),
        ['integrated_gradients'],
        arguments={'integrated_gradients': {'baseline': 'black', 'steps': 50}},
    )
    found = explain(image).explanations[0].maps[0].values[0]
    cells = torch.nn.functional.avg_pool2d(expected.sum(dim=0)[None], 2)[0]  # ours adds pixels up, two by two
    assert alike(found, cells.clamp(min=0)) > SAME


def test_energy_and_pointing_are_those_of_quantus() -> None:
    rng = np.random.default_rng(0)
    boxes = [(3, 4, 20, 30), (10, 2, 31, 9), (0, 0, 32, 32), (5, 5, 6, 6)]
    for box in boxes:
        heat = rng.random((32, 32)).astype(np.float32)
        inside = box_mask(box, heat.shape)
        given: dict[str, Any] = {
            'model': None, 'x_batch': np.zeros((1, 1, 32, 32), np.float32), 'y_batch': np.zeros(1, int),
            'a_batch': heat[None, None], 's_batch': inside[None, None],
        }  # fmt: skip
        alone: dict[str, Any] = {'normalise': False, 'abs': False, 'disable_warnings': True}
        assert energy(heat, inside) == pytest.approx(quantus.RelevanceMassAccuracy(**alone)(**given)[0], abs=1e-6)
        assert pointing(heat, inside) == float(quantus.PointingGame(**alone)(**given)[0])


def test_road_is_that_of_pytorch_grad_cam(resnet: AnyModel, image: np.ndarray) -> None:
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined

    small = photo(64, 64)
    inputs = torch.nn.functional.interpolate(resnet.prepare([small]).inputs, size=(64, 64), mode='bilinear')
    heat = np.random.default_rng(0).random((64, 64)).astype(np.float32)  # of which no two are alike
    removed = heat > np.percentile(heat, 60)
    expected = NoisyLinearImputer(noise=0)(inputs[0], torch.from_numpy(~removed).float())
    np.testing.assert_allclose(impute(inputs[0].numpy(), removed, noise=0), expected, atol=1e-4)

    def value(forms: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return resnet.model(torch.from_numpy(forms)).softmax(dim=1)[:, CLASS].numpy()

    def probability(output: Tensor) -> Tensor:
        return output.softmax(dim=-1)[CLASS]

    shares: Sequence[int] = range(10, 100, 10)
    combined = ROADCombined(percentiles=list(shares))(inputs, heat[None], [probability], resnet.model)[0]
    mine = road(heat, inputs[0].numpy(), value)
    spread = [road(heat, inputs[0].numpy(), value, seed=seed) for seed in (1, 2)]
    assert mine == pytest.approx(combined, abs=max(3 * abs(spread[0] - spread[1]), 1e-4))
