"""Which images explanations are measured on: held-out scenes of the demo, or those of a COCO file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from demo_scenes import draw_scene
from demo_scenes.single import draw_single

from featmap.errors import SourceError
from featmap.ground_truth.coco import is_coco, read_coco
from featmap.reading import read_image

SCENE_SIZES = ((640, 400), (480, 640), (640, 640))
SINGLE_SIZES = ((640, 400), (480, 640), (512, 512))
MEDIUM_SIZES = ((320, 200), (240, 320), (320, 320))
SMALL_SIZES = ((192, 128), (144, 192), (192, 192))
HELD_OUT = 1_000_000
"""Seed of the first scene that nothing was trained on."""


@dataclass(frozen=True)
class Picture:
    """An image, which is read or drawn when it is its turn.

    Attributes:
        name: What its records go by.
        open: Gives the image, (H, W, 3) RGB uint8, and the box around its only object (4,), where that is known.
    """

    name: str
    open: Callable[[], tuple[np.ndarray, np.ndarray | None]]


def scenes(count: int, first: int = HELD_OUT) -> Iterator[Picture]:
    """Scenes of many objects: what the demo's detector has not seen."""
    for seed in range(first, first + count):
        size = SCENE_SIZES[seed % len(SCENE_SIZES)]
        yield Picture(f'scene {seed}', partial(_scene, seed, size))


def singles(count: int, first: int = HELD_OUT) -> Iterator[Picture]:
    """Scenes of one object: what the demo's classifier has not seen."""
    for number in range(count):
        seed, size = first + number, SINGLE_SIZES[number % len(SINGLE_SIZES)]
        yield Picture(f'single {seed}', partial(_single, seed, size))


def medium(count: int, first: int = HELD_OUT) -> Iterator[Picture]:
    """Scenes of half that size: what the detectors of tools/train_explained_detectors.py have not seen."""
    for number in range(count):
        seed, size = first + number, MEDIUM_SIZES[number % len(MEDIUM_SIZES)]
        yield Picture(f'medium {seed}', partial(_scene, seed, size))


def small(count: int, first: int = HELD_OUT) -> Iterator[Picture]:
    """Small scenes of many objects: what tools/train_explained_segmentor.py does not train on."""
    for number in range(count):
        seed, size = first + number, SMALL_SIZES[number % len(SMALL_SIZES)]
        yield Picture(f'small {seed}', partial(_scene, seed, size))


def coco(path: Path, folder: Path, count: int | None = None) -> Iterator[Picture]:
    """The images of a COCO file, in its order.

    Raises:
        SourceError: the file is none of COCO's.
    """
    content = json.loads(path.read_text(encoding='utf-8'))
    if not is_coco(content):
        raise SourceError(f'{str(path)!r} is no file of COCO: expected images, annotations and categories')
    for name in list(read_coco(content))[:count]:
        yield Picture(name, partial(_file, folder / name))


def _scene(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, None]:
    return draw_scene(seed, size)[0], None


def _single(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return draw_single(seed, size)[:2]


def _file(path: Path) -> tuple[np.ndarray, None]:
    return read_image(path), None
