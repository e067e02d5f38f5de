#!/usr/bin/env python3
"""Draw the pictures of docs/gallery.md and of the README with the shipped detector."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from demo_scenes.demo_image import OBJECTS
from demo_scenes.scene import masks_of
from PIL import Image

from featmap import FeatMapInferencer
from featmap.decoding import decode_image
from featmap.masks import Masks
from featmap.structures import Detections

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'demo' / 'yolov5_n_demo.py'
CHECKPOINT = ROOT / 'demo' / 'yolov5_n_demo.pth'
DEMO = ROOT / 'demo' / 'demo.jpg'

GALLERY: dict[str, dict[str, Any]] = {
    'squeeze_mean': {'channel_reduction': 'squeeze_mean'},
    'select_max': {'channel_reduction': 'select_max'},
    'pixel_max': {'channel_reduction': 'pixel_max'},
    'mean_abs': {'channel_reduction': 'mean_abs'},
    'l2': {'channel_reduction': 'l2'},
    'std': {'channel_reduction': 'std'},
    'topk': {'channel_reduction': None, 'topk': 5, 'arrangement': (2, 3)},
    'channels': {
        'channel_reduction': 'channels', 'channels': [3, 17], 'arrangement': (1, 2), 'symmetric': True,
        'colorbar': True,
    },
    'pca': {'channel_reduction': 'pca', 'alpha': 0.8},
    'eigen': {'channel_reduction': 'eigen'},
    'nmf': {'channel_reduction': 'nmf', 'components': 4, 'arrangement': (2, 3)},
    'kmeans': {'channel_reduction': 'kmeans', 'components': 4},
    'norm_layer': {'channel_reduction': 'squeeze_mean', 'norm': 'layer', 'colorbar': True, 'target_layers': ['neck']},
}  # fmt: skip


def draw(options: dict[str, Any], width: int) -> Image.Image:
    """The demo picture drawn with these options, ``width`` pixels wide."""
    settings = {'target_layers': ['neck[0]'], 'boxes': False, **options}
    vis = FeatMapInferencer(CONFIG, CHECKPOINT, **settings)
    # Drawn on a smaller image, so that labels can still be read when the picture is shown small.
    pixels = decode_image(DEMO.read_bytes(), DEMO.name)
    small = Image.fromarray(pixels).resize((pixels.shape[1] // 2, pixels.shape[0] // 2), Image.Resampling.LANCZOS)
    result = vis(np.asarray(small))
    assert not isinstance(result, list)
    picture = Image.fromarray(result.image)
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    return picture


def draw_masks() -> Image.Image:
    """Instance masks over the shipped detector's maps.

    It finds boxes only, so the masks are the true shapes of the demo image's objects, handed to the visualizer as a
    detector's would be.
    """
    vis = FeatMapInferencer(CONFIG, CHECKPOINT, target_layers=['neck'], channel_reduction='squeeze_mean', boxes=False)
    pixels = decode_image(DEMO.read_bytes(), DEMO.name)
    shapes, labels = masks_of(OBJECTS, pixels.shape[:2])
    masks = Masks.of(shapes, pixels.shape[:2])
    found = Detections(
        masks.windows.astype(np.float32),
        np.ones(len(masks), np.float32),
        labels,
        vis.detector.classes,
        vis.detector.palette,
        masks,
        kind='instance',
        boxed=False,
    )
    maps, _ = vis.compute(pixels)
    return Image.fromarray(vis.visualizer.draw_maps(pixels, maps, found, title='true shapes').image)


def main() -> None:
    """Write every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'images', help='folder (default: docs/images)')
    parser.add_argument('--only', nargs='+', choices=[*GALLERY, 'masks', 'demo_neck'], help='some of the pictures')
    args = parser.parse_args()
    (args.out / 'gallery').mkdir(parents=True, exist_ok=True)
    for name, options in GALLERY.items():
        if not args.only or name in args.only:
            path = args.out / 'gallery' / f'{name}.jpg'
            draw(options, 1200).save(path, quality=82, optimize=True)
            print(path)
    if not args.only or 'masks' in args.only:
        picture = draw_masks()
        path = args.out / 'gallery' / 'masks.jpg'
        picture.resize((1400, round(picture.height * 1400 / picture.width)), Image.Resampling.LANCZOS).save(
            path, quality=84, optimize=True
        )
        print(path)
    if not args.only or 'demo_neck' in args.only:
        vis = FeatMapInferencer(CONFIG, CHECKPOINT, target_layers=['neck'], channel_reduction='squeeze_mean')
        result = vis(DEMO)
        assert not isinstance(result, list)
        picture = Image.fromarray(result.image)
        size = (1400, round(picture.height * 1400 / picture.width))
        path = args.out / 'demo_neck.jpg'
        picture.resize(size, Image.Resampling.LANCZOS).save(path, quality=86, optimize=True)
        print(path)


if __name__ == '__main__':
    main()
