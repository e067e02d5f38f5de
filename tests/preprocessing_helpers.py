"""Preprocessings as torchvision, timm, transformers and YOLO do them, each with the geometry that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featmap.geometry import ImageGeometry
from featmap.geometry.measured import difference

MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
Shape = tuple[int, int]


class Compose:
    """A row of transforms, as torchvision's."""

    def __init__(self, *transforms: Callable[[Any], Any]) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    """To a (height, width), or the shorter side to a number, as torchvision's; ``longest`` bounds the longer."""

    def __init__(self, size: int | Shape, how: int = BILINEAR, longest: int | None = None) -> None:
        self.size, self.how, self.longest = size, how, longest

    def shape(self, image: Shape) -> Shape:
        if isinstance(self.size, tuple):
            return self.size
        short, long = min(image), max(image)
        small, large = self.size, int(self.size * long / short)
        if self.longest and large > self.longest:
            small, large = int(self.longest * small / large), self.longest
        return (small, large) if image[0] <= image[1] else (large, small)

    def __call__(self, image: Image.Image) -> Image.Image:
        height, width = self.shape((image.height, image.width))
        return image.resize((width, height), self.how)


class CenterCrop:
    """The middle, with black around where the image does not reach so far, as torchvision's."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width

    def corner(self, image: Shape) -> tuple[int, int]:
        """Left and top of the image in the crop."""
        return tuple(
            (want - have) // 2 if want > have else -round((have - want) / 2)
            for want, have in ((self.width, image[1]), (self.height, image[0]))
        )

    def __call__(self, image: Image.Image) -> Image.Image:
        left, top = self.corner((image.height, image.width))
        canvas = Image.new('RGB', (self.width, self.height))
        canvas.paste(image, (left, top))
        return canvas


class HorizontalFlip:
    """Mirrors an image; ``chance`` of it at random."""

    def __init__(self, chance: float = 1.0) -> None:
        self.chance = chance

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(1) <= self.chance else image


def to_tensor(image: Image.Image | np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def normalize(tensor: Tensor) -> Tensor:
    return (tensor - MEAN) / STD


def by_own_statistics(tensor: Tensor) -> Tensor:
    return (tensor - tensor.mean()) / tensor.std()


def letterbox(image: np.ndarray, side: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """As YOLO does it, with the height and width of the content, and its left and top."""
    height, width = image.shape[:2]
    factor = min(side / height, side / width)
    rows, columns = max(round(height * factor), 1), max(round(width * factor), 1)
    left, top = round((side - columns) / 2 - 0.1), round((side - rows) / 2 - 0.1)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    canvas = np.full((side, side, 3), 114, np.uint8)
    canvas[top : top + rows, left : left + columns] = cv2.resize(image, (columns, rows), interpolation=how)
    return canvas, (rows, columns, left, top)


def _plain(size: Shape, how: int = BILINEAR) -> Any:
    return Compose(Resize(size, how), to_tensor, normalize), lambda shape: ImageGeometry(
        shape, size, _ratio(size, shape)
    )


def _ratio(resized: Shape, image: Shape) -> tuple[float, float]:
    return resized[1] / image[1], resized[0] / image[0]


def _cropped(resize: Resize, crop: CenterCrop, *last: Callable[[Any], Any]) -> Any:
    def geometry(shape: Shape) -> ImageGeometry:
        resized = resize.shape(shape)
        return ImageGeometry(shape, (crop.height, crop.width), _ratio(resized, shape), crop.corner(resized))

    return Compose(resize, crop, to_tensor, *(last or [normalize])), geometry


def _mirrored() -> Any:
    run, geometry = _plain((160, 224))
    run.transforms.insert(1, HorizontalFlip())

    def mirrored(shape: Shape) -> ImageGeometry:
        plain = geometry(shape)
        return ImageGeometry(shape, plain.input_shape, plain.scale, flip=(True, False))

    return run, mirrored


def _upside_down_bgr() -> Any:
    """Caffe's: BGR, 0 to 255, here upside down."""
    resize, crop = Resize(240), CenterCrop(224, 224)

    def run(image: Image.Image) -> np.ndarray:
        pixels = np.asarray(crop(resize(image)), np.float32)[::-1, :, ::-1] - (103.9, 116.8, 123.7)
        return pixels.transpose(2, 0, 1)

    def geometry(shape: Shape) -> ImageGeometry:
        resized = resize.shape(shape)
        left, top = crop.corner(resized)
        return ImageGeometry(
            shape, (224, 224), _ratio(resized, shape), (left, 224 - resized[0] - top), flip=(False, True)
        )

    return run, geometry


def _letterbox(last: Callable[[Tensor], Tensor]) -> Any:
    def run(image: np.ndarray) -> Tensor:
        return last(to_tensor(letterbox(image[:, :], 320)[0]))

    def geometry(shape: Shape) -> ImageGeometry:
        rows, columns, left, top = letterbox(np.zeros((*shape, 3), np.uint8), 320)[1]
        return ImageGeometry(shape, (320, 320), _ratio((rows, columns), shape), (left, top))

    return run, geometry


def _longest_side_filled() -> Any:
    """As Segment Anything: normalised first, zeros at the right and below; on tensors."""

    def shape_of(shape: Shape) -> Shape:
        factor = 256 / max(shape)
        return max(int(shape[0] * factor + 0.5), 1), max(int(shape[1] * factor + 0.5), 1)

    def run(image: Tensor) -> Tensor:
        resized = torch.nn.functional.interpolate(
            image[None].float() / 255, shape_of(image.shape[1:]), mode='bilinear', antialias=True
        )[0]
        height, width = resized.shape[1:]
        return torch.nn.functional.pad(normalize(resized), (0, 256 - width, 0, 256 - height))

    return run, lambda shape: ImageGeometry(shape, (256, 256), _ratio(shape_of(shape), shape))


def _detr() -> Any:
    """As the processor of DETR: a dict with a mask, the shorter side bounded by the longer one."""
    resize = Resize(200, longest=333)

    class Processor:
        model_input_names = ('pixel_values', 'pixel_mask')

        def preprocess(self, images: Any, **_: Any) -> dict[str, Tensor]:
            tensor = normalize(to_tensor(resize(images)))[None]
            return {'pixel_values': tensor, 'pixel_mask': torch.ones((1, *tensor.shape[-2:]), dtype=torch.int64)}

        def __call__(self, images: Any, return_tensors: str) -> dict[str, Tensor]:
            assert return_tensors == 'pt'
            return self.preprocess(images)

    return Processor(), lambda shape: ImageGeometry(shape, resize.shape(shape), _ratio(resize.shape(shape), shape))


def _vit_batched_half() -> Any:
    """As the processor of a ViT, as a batch of one, in half precision."""
    return lambda image: {'pixel_values': (to_tensor(image.resize((224, 224), BICUBIC)) * 2 - 1)[None].half()}, (
        lambda shape: ImageGeometry(shape, (224, 224), _ratio((224, 224), shape))
    )


def _squared() -> Any:
    """Black around the image makes it square; then it is resized."""

    def run(image: Image.Image) -> Tensor:
        side = max(image.size)
        canvas = Image.new('RGB', (side, side))
        canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return normalize(to_tensor(canvas.resize((224, 224), BILINEAR)))

    def geometry(shape: Shape) -> ImageGeometry:
        side = max(shape)
        factor = 224 / side
        corner = (side - shape[1]) // 2 * factor, (side - shape[0]) // 2 * factor
        return ImageGeometry(shape, (224, 224), (factor, factor), corner)

    return run, geometry


def _grey_channels_last() -> Any:
    def run(image: np.ndarray) -> np.ndarray:
        return (
            cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (120, 100), interpolation=cv2.INTER_AREA)[..., None]
            / 255.0
        )

    return run, lambda shape: ImageGeometry(shape, (100, 120), _ratio((100, 120), shape))


PREPROCESSINGS: dict[str, tuple[Callable[..., Any], Callable[[Shape], ImageGeometry]]] = {
    'torchvision 256 to 224': _cropped(Resize(256), CenterCrop(224, 224)),
    'torchvision 232 to 224, bicubic': _cropped(Resize(232, BICUBIC), CenterCrop(224, 224)),
    'torchvision stretched': _plain((192, 256)),
    'timm 0.95 of 288, bicubic': _cropped(Resize(303, BICUBIC), CenterCrop(288, 288)),
    'timm, squashed by a tenth more than is cut out': _cropped(Resize((248, 248), BICUBIC), CenterCrop(224, 224)),
    'mirrored': _mirrored(),
    'upside down, BGR': _upside_down_bgr(),
    'letterbox of YOLO': _letterbox(lambda tensor: tensor),
    'letterbox by own statistics': _letterbox(by_own_statistics),
    'crop by own statistics': _cropped(Resize(256), CenterCrop(224, 224), by_own_statistics),
    'longest side, filled up': _longest_side_filled(),
    'shorter side up to the longer, with a mask': _detr(),
    'a batch of one in half precision': _vit_batched_half(),
    'square by black, then resized': _squared(),
    'grey, channels last': _grey_channels_last(),
    'only cut out, not resized': (
        Compose(CenterCrop(200, 260), to_tensor, normalize),
        lambda shape: ImageGeometry(shape, (200, 260), offset=CenterCrop(200, 260).corner(shape)),
    ),
}
SHAPES = {
    'wide': (200, 700), 'tall': (800, 170), 'tiny': (9, 7), 'odd': (333, 501), 'large': (1080, 1920),
    'plain': (375, 500),
}  # fmt: skip


def far(expected: ImageGeometry, found: ImageGeometry) -> float:
    """How far apart two geometries are at most: 1 is half an original pixel or a tenth of a cell of stride 32."""
    return max(distance / max(factor / 2, 3.2) for distance, factor in zip(difference(expected, found), expected.scale))
