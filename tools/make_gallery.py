#!/usr/bin/env python3
"""Draw the pictures of docs/gallery.md and of the README with the shipped models, but for those of the recipes."""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from demo_scenes.demo_image import OBJECTS, draw_demo_image
from demo_scenes.scene import CLASSES, draw_scene, masks_of
from PIL import Image

from featmap import FeatMapInferencer
from featmap.decoding import decode_image
from featmap.masks import Masks
from featmap.results import Result
from featmap.structures import Detections

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'demo' / 'yolov5_n_demo.py'
CHECKPOINT = ROOT / 'demo' / 'yolov5_n_demo.pth'
DEMO = ROOT / 'demo' / 'demo.jpg'
OBJECT = ROOT / 'demo' / 'object.jpg'
MOST_BYTES = 250_000
NECK: dict[str, Any] = {'target_layers': ['neck'], 'channel_reduction': 'squeeze_mean'}
LARGE_SEED, LARGE_SIZE = 3, (4000, 3000)
CROP = '1150,900,1650,1250'
CHINESE = ('热气球', '风筝', '帆船', '灯塔', '房屋', '树', '鱼', '球')

# Drawn on a smaller image, so that labels can still be read when the picture is shown small.
SMALL: dict[str, dict[str, Any]] = {
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
    'norm_layer': {**NECK, 'norm': 'layer', 'colorbar': True},
    'grey': {'channel_reduction': 'squeeze_mean', 'colormap': 'viridis', 'colorbar': True},
    'class_maps': {
        'target_layers': ['bbox_head'], 'channels': ['balloon:score'], 'norm': '0,1', 'colorbar': True, 'boxes': True,
    },
}  # fmt: skip


def demo_pixels() -> np.ndarray:
    """The demo image, (H, W, 3) RGB."""
    return decode_image(DEMO.read_bytes(), DEMO.name)


def run(image: Any, **options: Any) -> Result:
    """One image through the shipped detector."""
    result = FeatMapInferencer(CONFIG, CHECKPOINT, **options)(image)
    assert isinstance(result, Result)
    return result


def classify(image: Path, **options: Any) -> Result:
    """One image through the shipped classifier, its maps as means over channels."""
    vis = FeatMapInferencer(
        f'{ROOT / "demo" / "classifier.py"}:classifier',
        ROOT / 'demo' / 'classifier.pth',
        **{'preprocess': 'preprocess', 'channel_reduction': 'squeeze_mean', **options},
    )
    result = vis(image)
    assert isinstance(result, Result)
    return result


def draw_classified(image: Path, **options: Any) -> Image.Image:
    """A picture of the shipped classifier."""
    return Image.fromarray(classify(image, **options).image)


def draw_stages() -> Image.Image:
    """A classifier's stages as a figure with rows of panels, as it is printed at 200 dots an inch."""
    file = io.BytesIO()
    classify(OBJECT, panels=('heat', 'overlay', 'pca')).figure(width=7).savefig(file, format='png', dpi=200)
    return Image.open(file).convert('RGB')


def draw_small(options: dict[str, Any]) -> Image.Image:
    """The demo image at half its size, its finest output of the neck drawn with these options."""
    pixels = demo_pixels()
    half = Image.fromarray(pixels).resize((pixels.shape[1] // 2, pixels.shape[0] // 2), Image.Resampling.LANCZOS)
    return Image.fromarray(run(half, **{'target_layers': ['neck[0]'], 'boxes': False, **options}).image)


def draw_demo() -> Image.Image:
    """The README's picture."""
    return Image.fromarray(run(DEMO, **NECK).image)


def draw_why(image: Any = DEMO, **options: Any) -> Image.Image:
    """What speaks for detections of an image."""
    return Image.fromarray(run(image, **{'panel_size': 640, **options}).image)


def draw_faithfulness() -> Image.Image:
    """An explanation as a figure, with the curves of what was measured, as it is printed at 200 dots an inch."""
    file = io.BytesIO()
    result = run(DEMO, explain='box:7', faithfulness=True, areas='octaves', zoom=True)
    result.figure(width=7).savefig(file, format='png', dpi=200)
    return Image.open(file).convert('RGB')


def draw_why_class() -> Image.Image:
    """What speaks for the class of an image, by three methods."""
    vis = FeatMapInferencer(
        f'{ROOT / "demo" / "classifier.py"}:classifier', ROOT / 'demo' / 'classifier.pth', preprocess='preprocess'
    )
    result = vis.explain(OBJECT, 'top', ('layercam', 'gradcam', 'integrated_gradients'))
    assert isinstance(result, Result)
    return Image.fromarray(result.image)


def draw_masks() -> Image.Image:
    """Instance masks over the shipped detector's maps.

    It finds boxes only, so the masks are the true shapes of the demo image's objects, handed to the visualizer as a
    detector's would be.
    """
    vis = FeatMapInferencer(CONFIG, CHECKPOINT, **NECK, boxes=False)
    pixels = demo_pixels()
    shapes, labels = masks_of(OBJECTS, pixels.shape[:2])
    masks = Masks.of(shapes, pixels.shape[:2])
    found = Detections(
        masks.windows.astype(np.float32),
        np.ones(len(masks), np.float32),
        labels,
        vis.network.classes,
        vis.network.palette,
        masks,
        kind='instance',
        boxed=False,
    )
    maps, _ = vis.compute(pixels)
    return Image.fromarray(vis.visualizer.draw_maps(pixels, maps, found, title='true shapes').image)


def draw_names() -> Image.Image:
    """Chinese class names; needs a font that has them, such as fonts-noto-cjk."""
    vis = FeatMapInferencer(CONFIG, CHECKPOINT, target_layers=['neck[1]'])
    result = vis(demo_pixels())
    assert isinstance(result, Result)
    assert result.predictions is not None
    found = replace(result.predictions, classes=CHINESE)
    return Image.fromarray(vis.visualizer.draw_maps(result.original, result.maps, found, title='演示图片.jpg').image)


def draw_truth() -> Image.Image:
    """The demo image's ground truth beside a threshold that lets false boxes through."""
    _, boxes, labels = draw_demo_image()
    return draw_with_truth(DEMO, (1024, 640), boxes, labels, target_layers=['neck[0]'], score_thr=0.1)


@lru_cache
def large_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene of the size of a photograph: its pixels, its boxes and their labels."""
    return draw_scene(LARGE_SEED, LARGE_SIZE)


def draw_large(**options: Any) -> Image.Image:
    """Twelve megapixels with objects of 16 to 200 pixels, most of which the network's input does not show."""
    pixels, boxes, labels = large_scene()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'photo.png'
        Image.fromarray(pixels).save(path, compress_level=1)
        if not options:
            return Image.fromarray(run(path, **NECK).image)
        return draw_with_truth(path, LARGE_SIZE, boxes, labels, **options)


def draw_with_truth(
    path: Path, size: tuple[int, int], boxes: np.ndarray, labels: np.ndarray, **options: Any
) -> Image.Image:
    """An image with its ground truth, which is given as a COCO file."""
    coco = {
        'images': [{'id': 1, 'file_name': path.name, 'width': size[0], 'height': size[1]}],
        'categories': [{'id': number, 'name': name} for number, name in enumerate(CLASSES)],
        'annotations': [
            {'id': number, 'image_id': 1, 'category_id': int(label), 'bbox': [float(x1), float(y1), float(x2 - x1),
             float(y2 - y1)], 'iscrowd': 0}
            for number, ((x1, y1, x2, y2), label) in enumerate(zip(boxes, labels))
        ],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'truth.json'
        file.write_text(json.dumps(coco), encoding='utf-8')
        return Image.fromarray(run(path, **{'channel_reduction': 'squeeze_mean', **options}, gt=str(file)).image)


def draw_column() -> Image.Image:
    """A figure of a single column, as it is printed at 300 dots an inch."""
    file = io.BytesIO()
    result = run(DEMO, **{**NECK, 'target_layers': ['backbone', 'neck']})
    result.figure(width=3.4).savefig(file, format='png', dpi=300)
    return Image.open(file).convert('RGB')


PICTURES: dict[str, tuple[Callable[[], Image.Image], int, int]] = {
    **{f'gallery/{name}': (partial(draw_small, options), 1200, 82) for name, options in SMALL.items()},
    'gallery/masks': (draw_masks, 1400, 84),
    'gallery/names': (draw_names, 1400, 84),
    'gallery/ground_truth': (draw_truth, 1400, 80),
    'gallery/large': (draw_large, 1400, 74),
    'gallery/small_objects': (
        partial(draw_large, target_layers=['neck[0]'], crop=CROP, interpolation='nearest', grid=True), 1400, 82,
    ),
    'gallery/column': (draw_column, 1020, 76),
    'gallery/cut': (partial(draw_classified, DEMO, target_layers=['stages.2', 'stages.3']), 1400, 84),
    'gallery/overlay_input': (
        partial(draw_classified, OBJECT, target_layers=['stages.2', 'stages.3'], overlay='input'),
        1400, 88,
    ),
    'gallery/logger': (
        partial(
            draw_small,
            {'target_layers': ['backbone.stage3.0.conv'], 'channel_reduction': None, 'topk': 9, 'panel_size': 320},
        ),
        1400, 84,
    ),
    'gallery/stages': (draw_stages, 1400, 84),
    'gallery/why_boxes': (partial(draw_why, explain='boxes', score_thr=0.92, zoom=True), 1400, 80),
    'gallery/why_faithful': (draw_faithfulness, 1400, 84),
    'gallery/why_class': (draw_why_class, 1400, 88),
    'demo_neck': (draw_demo, 1400, 86),
    'why_box': (
        partial(
            draw_why, explain='box:5', method=('layercam', 'gradcam', 'eigen'), target_layers=['backbone.stage2'],
            zoom=True,
        ),
        1600, 84,
    ),
}  # fmt: skip
"""Of each picture how it is drawn, its greatest width in pixels and its quality."""


def main() -> None:
    """Write every picture."""
    names = {name.rpartition('/')[2]: name for name in PICTURES}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'images', help='folder (default: docs/images)')
    parser.add_argument('--only', nargs='+', choices=names, default=list(names), help='some of the pictures')
    args = parser.parse_args()
    (args.out / 'gallery').mkdir(parents=True, exist_ok=True)
    for name in args.only:
        draw, width, quality = PICTURES[names[name]]
        picture = draw()
        if picture.width > width:
            size = (width, round(picture.height * width / picture.width))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        path = args.out / f'{names[name]}.jpg'
        picture.save(path, quality=quality, optimize=True)
        if path.stat().st_size > MOST_BYTES:
            raise SystemExit(f'{path} has {path.stat().st_size} bytes: lower its width or its quality')
        print(path)


if __name__ == '__main__':
    main()
