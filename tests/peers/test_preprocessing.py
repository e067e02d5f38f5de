"""The measured place of an image under the real transforms of torchvision, timm and transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry
from featmap.models.preprocessing import NetworkInput, Preprocessing, ReadyInput
from featmap.sources import read_image
from tests.conftest import IMAGE
from tests.preprocessing_helpers import SHAPES, CenterCrop, Resize, far

pytestmark = pytest.mark.peers
timm = pytest.importorskip('timm', reason='timm is not installed; runs in `make test-peers`')
transformers = pytest.importorskip('transformers', reason='transformers is not installed; runs in `make test-peers`')
torchvision = pytest.importorskip('torchvision', reason='torchvision is not installed; runs in `make test-peers`')
v1, v2 = torchvision.transforms, pytest.importorskip('torchvision.transforms.v2', reason='no v2; runs where it is')
get_weight, create_transform = torchvision.models.get_weight, timm.data.create_transform

Shape = tuple[int, int]
NORMALIZE = v1.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def cropped(resize: int, crop: int) -> Callable[[Shape], ImageGeometry]:
    def geometry(shape: Shape) -> ImageGeometry:
        resized = Resize(resize).shape(shape)
        corner = CenterCrop(crop, crop).corner(resized)
        return ImageGeometry(shape, (crop, crop), (resized[1] / shape[1], resized[0] / shape[0]), corner)

    return geometry


def stretched(height: int, width: int, flip: tuple[bool, bool] = (False, False)) -> Callable[[Shape], ImageGeometry]:
    return lambda shape: ImageGeometry(shape, (height, width), (width / shape[1], height / shape[0]), flip=flip)


def kept(shorter: int, longer: int) -> Callable[[Shape], ImageGeometry]:
    """The shorter side to a number, unless the longer one would be over another: then it is rounded."""

    def geometry(shape: Shape) -> ImageGeometry:
        factor = min(shorter / min(shape), longer / max(shape))
        bounded = longer / max(shape) < shorter / min(shape)
        height, width = (round(side * factor) if bounded else int(side * factor + 1e-6) for side in shape)
        return ImageGeometry(shape, (height, width), (width / shape[1], height / shape[0]))

    return geometry


def filled(side: int) -> Callable[[Shape], ImageGeometry]:
    """The longer side to a number, filled up at the right and below to a square."""

    def geometry(shape: Shape) -> ImageGeometry:
        height, width = (int(length * side / max(shape) + 0.5) for length in shape)
        return ImageGeometry(shape, (side, side), (width / shape[1], height / shape[0]))

    return geometry


def boxed(side: int) -> Callable[[Shape], ImageGeometry]:
    """The longer side to a number, padded evenly to a square."""

    def geometry(shape: Shape) -> ImageGeometry:
        factor = side / max(shape)
        height, width = (max(round(length * factor), 1) for length in shape)
        corner = (side - width) // 2, (side - height) // 2
        return ImageGeometry(shape, (side, side), (width / shape[1], height / shape[0]), corner)

    return geometry


def timm_config(name: str) -> dict[str, Any]:
    model = timm.create_model(name, pretrained=False)
    return timm.data.resolve_data_config({}, model=model)


def squared(image: Any) -> Any:
    side = max(image.size)
    across, down = side - image.width, side - image.height
    return v1.functional.pad(image, [across // 2, down // 2, across - across // 2, down - down // 2])


def _squared(side: int) -> Callable[[Shape], ImageGeometry]:
    def geometry(shape: Shape) -> ImageGeometry:
        longest = max(shape)
        factor = side / longest
        corner = (longest - shape[1]) // 2 * factor, (longest - shape[0]) // 2 * factor
        return ImageGeometry(shape, (side, side), (factor, factor), corner)

    return geometry


TRANSFORMS: dict[str, tuple[Callable[[], Any], Callable[[Shape], ImageGeometry]]] = {
    'torchvision 256 to 224': (
        lambda: v1.Compose([v1.Resize(256), v1.CenterCrop(224), v1.ToTensor(), NORMALIZE]),
        cropped(256, 224),
    ),
    'torchvision v2 of an image': (
        lambda: v2.Compose(
            [v2.ToImage(), v2.Resize((192, 256), antialias=True), v2.ToDtype(torch.float32, scale=True)]
        ),
        stretched(192, 256),
    ),
    'torchvision mirrored and upside down': (
        lambda: v1.Compose(
            [v1.Resize((160, 200)), v1.RandomHorizontalFlip(1), v1.RandomVerticalFlip(1), v1.ToTensor()]
        ),
        stretched(160, 200, (True, True)),
    ),
    'torchvision squared by pads': (
        lambda: v1.Compose([squared, v1.Resize((224, 224)), v1.ToTensor()]),
        _squared(224),
    ),
    'torchvision in grey': (
        lambda: v1.Compose([v1.Grayscale(), v1.Resize(128), v1.CenterCrop(112), v1.ToTensor()]),
        cropped(128, 112),
    ),
    'ResNet50_Weights.IMAGENET1K_V1': (
        lambda: get_weight('ResNet50_Weights.IMAGENET1K_V1').transforms(),
        cropped(256, 224),
    ),
    'ResNet50_Weights.IMAGENET1K_V2': (
        lambda: get_weight('ResNet50_Weights.IMAGENET1K_V2').transforms(),
        cropped(232, 224),
    ),
    'ViT_L_16_Weights.IMAGENET1K_SWAG_E2E_V1, bicubic': (
        lambda: get_weight('ViT_L_16_Weights.IMAGENET1K_SWAG_E2E_V1').transforms(),
        cropped(512, 512),
    ),
    'FCN_ResNet50_Weights': (
        lambda: get_weight('FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1').transforms(),
        kept(520, 10**9),
    ),
    'FasterRCNN_ResNet50_FPN_Weights': (
        lambda: get_weight('FasterRCNN_ResNet50_FPN_Weights.COCO_V1').transforms(),
        lambda shape: ImageGeometry.whole(shape),
    ),
    'timm resnet50': (lambda: create_transform(**timm_config('resnet50')), cropped(235, 224)),
    'timm vit_tiny_patch16_224': (lambda: create_transform(**timm_config('vit_tiny_patch16_224')), cropped(248, 224)),
    'timm squashed': (
        lambda: create_transform((3, 240, 240), crop_pct=1.0, crop_mode='squash', interpolation='bicubic'),
        stretched(240, 240),
    ),
    'timm with a border': (
        lambda: create_transform((3, 224, 224), crop_pct=1.0, crop_mode='border'),
        boxed(224),
    ),
    'ViTImageProcessor': (lambda: transformers.ViTImageProcessor(), stretched(224, 224)),
    'ConvNextImageProcessor': (
        lambda: transformers.ConvNextImageProcessor(size={'shortest_edge': 224}, crop_pct=0.875),
        cropped(256, 224),
    ),
    'CLIPImageProcessor': (lambda: transformers.CLIPImageProcessor(), cropped(224, 224)),
    'BitImageProcessor, as of DINOv2': (
        lambda: transformers.BitImageProcessor(size={'shortest_edge': 256}, crop_size={'height': 224, 'width': 224}),
        cropped(256, 224),
    ),
    'SegformerImageProcessor': (lambda: transformers.SegformerImageProcessor(size=(256, 320)), stretched(256, 320)),
    'DetrImageProcessor': (
        lambda: transformers.DetrImageProcessor(size={'shortest_edge': 200, 'longest_edge': 333}),
        kept(200, 333),
    ),
    'SamImageProcessor': (lambda: transformers.SamImageProcessor(), filled(1024)),
}


def noise(shape: Shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize('name', TRANSFORMS)
def test_the_place_is_the_analytic_one(name):
    make, geometry = TRANSFORMS[name]
    run = make()
    for kind, shape in SHAPES.items():
        found = Preprocessing(run)(noise(shape))
        expected = geometry(shape)
        # Of what is allowed: half an original pixel, or a tenth of a cell of stride 32.
        assert far(expected, found.geometry) < 0.4, kind
        assert found.geometry.flip == expected.flip, kind
        assert found.shape == expected.input_shape, kind
        if name == 'DetrImageProcessor':
            assert found.extras['pixel_mask'].shape == (1, *found.shape)


@pytest.mark.parametrize(
    ('last', 'message'),
    [
        (lambda: v1.RandomHorizontalFlip(), '^RandomHorizontalFlip gives another result each time'),
        (lambda: v1.RandomResizedCrop(64), '^RandomResizedCrop gives another result each time'),
        (lambda: v1.ColorJitter(0.4), '^ColorJitter gives another result each time'),
        (lambda: v2.RandomRotation((10, 10)), '^RandomRotation: the image is turned or sheared'),
        (lambda: v1.RandomPerspective(0.5, 1), '^RandomPerspective gives another result each time'),
        (lambda: v2.ElasticTransform(), '^ElasticTransform gives another result each time'),
    ],
)
def test_what_cannot_be_placed_is_refused_by_name(last, message):
    with pytest.raises(GeometryError, match=message):
        Preprocessing(v1.Compose([v1.Resize((120, 160)), last(), v1.ToTensor()]))(noise((200, 300)))


def test_several_crops_are_refused():
    run = v1.Compose(
        [v1.Resize(128), v1.FiveCrop(112), lambda crops: torch.stack([v1.ToTensor()(crop) for crop in crops])]
    )
    with pytest.raises(GeometryError, match='got 5 images of one, such as crops'):
        Preprocessing(run)(noise((200, 300)))


@pytest.mark.parametrize('name', [name for name in TRANSFORMS if not name.startswith(('Fast', 'Sam'))])
def test_a_ready_tensor_is_placed(name):
    make, geometry = TRANSFORMS[name]
    image = read_image(IMAGE)
    ready: NetworkInput = ReadyInput(Preprocessing(make())(image, over_input=True).tensor)(image)
    assert far(geometry(image.shape[:2]), ready.geometry) < 0.4
