"""Scenes: objects placed over a background, with a box around what can be seen of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from . import backgrounds
from .floating import draw_ball, draw_fish, draw_sailboat
from .flying import draw_balloon, draw_kite
from .sprite import Sprite
from .standing import draw_house, draw_lighthouse, draw_tree

PAINTERS = {
    'balloon': draw_balloon,
    'kite': draw_kite,
    'sailboat': draw_sailboat,
    'lighthouse': draw_lighthouse,
    'house': draw_house,
    'tree': draw_tree,
    'fish': draw_fish,
    'ball': draw_ball,
}
CLASSES = tuple(PAINTERS)
# Colours for boxes and labels, RGB, in the order of CLASSES.
PALETTE = (
    (230, 72, 66),
    (247, 168, 41),
    (52, 120, 206),
    (214, 60, 140),
    (150, 92, 60),
    (60, 158, 84),
    (26, 168, 172),
    (126, 84, 196),
)
# Any turn looks natural on a kite, a fish or a ball; houses only lean a little.
MAX_TURN = {'kite': 50.0, 'fish': 180.0, 'ball': 180.0, 'balloon': 14.0, 'sailboat': 16.0}
MIN_SIZE, MAX_SIZE = 16.0, 200.0
# An object less visible than this is no fair target: it is drawn but not annotated.
MIN_VISIBLE = 0.35
MIN_EXTENT = 6


@dataclass(frozen=True)
class Placement:
    """One object to draw.

    Attributes:
        name: Its class.
        x: Column of its centre in pixels.
        y: Row of its centre in pixels.
        size: Length in pixels of the square in which it is drawn; it fills it along one axis.
        angle: Clockwise turn in degrees.
        style: Seed of its colours and details.
        mirrored: Whether it looks to the left.
        shadow: Opacity (0 to 1) of a soft shadow on the ground.
        reflection: Opacity (0 to 1) of a reflection in water below it.
    """

    name: str
    x: float
    y: float
    size: float
    angle: float = 0.0
    style: int = 0
    mirrored: bool = False
    shadow: float = 0.0
    reflection: float = 0.0


def draw_scene(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the scene that belongs to a seed.

    Args:
        seed: The same seed and size always give the same pixels.
        size: Width and height in pixels.

    Returns:
        The picture, (height, width, 3) uint8 RGB; boxes, (N, 4) float32, x1 y1 x2 y2 in pixels;
        labels, (N,) int64, indices into ``CLASSES``.
    """
    image, _, boxes, labels = _drawn(seed, size)
    return image, boxes, labels


def draw_segmented(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The same scene, and in the place of boxes what each pixel shows: (height, width) uint8, 0 or 1 + its label."""
    image, placements, _, _ = _drawn(seed, size)
    shown = np.zeros(size[::-1], np.uint8)
    for mask, label in zip(*masks_of(placements, size[::-1])):
        shown[mask] = 1 + label
    return image, shown


def _drawn(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, list[Placement], np.ndarray, np.ndarray]:
    width, height = size
    rng = np.random.default_rng(seed)
    image, horizon = draw_background(rng, width, height)
    placements = scatter(rng, width, height, horizon)
    boxes, labels = compose(image, placements, light=rng.uniform(200, 340))
    return finish(image, rng), placements, boxes, labels


def draw_background(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, int]:
    """A harbour, a meadow or an abstract pattern, (height, width, 3) float32, and its horizon's row."""
    paint = (backgrounds.harbour, backgrounds.meadow, backgrounds.abstract)
    return paint[rng.choice(3, p=(0.5, 0.22, 0.28))](rng, width, height)


def scatter(rng: np.random.Generator, width: int, height: int, horizon: int) -> list[Placement]:
    """Random objects of all sizes, back to front; half of them where their kind belongs."""
    area = width * height / 320**2
    count = int(rng.integers(4, 11) * max(1.0, area**0.75))
    largest = min(MAX_SIZE, 0.75 * min(width, height))
    placements: list[Placement] = []
    for _ in range(count):
        name = CLASSES[rng.integers(len(CLASSES))]
        # Even in the logarithm: as many objects between 16 and 32 px as between 64 and 128.
        length = float(np.exp(rng.uniform(np.log(MIN_SIZE), np.log(largest))))
        low, high = 0.0, float(height)
        if rng.random() < 0.5:
            low, high = (0.0, horizon) if name in ('balloon', 'kite') else (horizon, height)
        candidate = posed(rng, name, rng.uniform(0.02, 0.98) * width, rng.uniform(low, high), length)
        crowded = sum(_overlap(candidate, other) > 0.12 for other in placements)
        if crowded == 0 or rng.random() < 0.25:
            placements.append(candidate)
    return placements


def posed(rng: np.random.Generator, name: str, x: float, y: float, size: float) -> Placement:
    """An object of this class, centre and size, with a random turn, style, shadow and reflection."""
    turn = MAX_TURN.get(name, 10.0)
    return Placement(
        name=name,
        x=x,
        y=y,
        size=size,
        angle=rng.uniform(-turn, turn) if rng.random() < 0.75 else 0.0,
        style=int(rng.integers(2**31)),
        mirrored=bool(rng.random() < 0.5),
        shadow=rng.uniform(0.2, 0.5) if rng.random() < 0.3 else 0.0,
        reflection=rng.uniform(0.1, 0.35) if rng.random() < 0.25 else 0.0,
    )


def compose(image: np.ndarray, placements: Sequence[Placement], light: float = 225.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw objects over a float32 picture (H, W, 3) in place, the first one farthest back.

    Args:
        image: The background; it is changed.
        placements: What to draw, back to front.
        light: Direction from which light falls, degrees clockwise from the right.

    Returns:
        Boxes (N, 4) float32 around the visible part of each object and labels (N,) int64. Objects
        that are mostly hidden or off the picture have none.
    """
    layers = []
    for placement in placements:
        color, alpha = render(placement, light)
        left, top = _corner(placement, alpha)
        _paint_shadow(image, alpha, left, top, placement.shadow)
        _paint_reflection(image, color, alpha, left, top, placement.reflection)
        window, part = _windows(left, top, alpha.shape, image.shape[:2])
        image[window] = image[window] * (1 - alpha[part][..., None]) + color[part]
        layers.append(alpha)
    masks, labels = _visible(placements, layers, image.shape[:2])
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return np.array(boxes, dtype=np.float32).reshape(-1, 4), labels


def masks_of(placements: Sequence[Placement], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What can be seen of the objects that :func:`compose` draws on a picture of this height and width.

    Returns:
        Masks (N, H, W) bool and labels (N,) int64, in the order of its boxes.
    """
    masks, labels = _visible(placements, [render(placement, 0.0)[1] for placement in placements], shape)
    return np.array(masks, dtype=bool).reshape(-1, *shape), labels


def _corner(placement: Placement, alpha: np.ndarray) -> tuple[int, int]:
    """Left and top of an object's picture."""
    return math.floor(placement.x) - alpha.shape[1] // 2, math.floor(placement.y) - alpha.shape[0] // 2


def _visible(
    placements: Sequence[Placement], alphas: Sequence[np.ndarray], shape: tuple[int, int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """A mask (H, W) for the visible part of each object that is neither mostly hidden nor very small, and labels."""
    masks, labels = [], []
    covered = np.zeros(shape, dtype=bool)
    for placement, alpha in zip(reversed(placements), reversed(alphas)):
        window, part = _windows(*_corner(placement, alpha), alpha.shape, shape)
        mask = np.zeros(shape, dtype=bool)
        mask[window] = alpha[part] > 0.5
        visible, full = mask & ~covered, (alpha > 0.5).sum()
        covered |= mask
        if full == 0 or visible.sum() < MIN_VISIBLE * full:
            continue
        if min(np.ptp(np.flatnonzero(visible.any(axis))) + 1 for axis in (0, 1)) >= MIN_EXTENT:
            masks.append(visible)
            labels.append(CLASSES.index(placement.name))
    return masks[::-1], np.array(labels[::-1], dtype=np.int64)


def render(placement: Placement, light: float) -> tuple[np.ndarray, np.ndarray]:
    """One object alone: colour times alpha (S, S, 3) in levels and alpha (S, S) from 0 to 1."""
    # A mirrored object is drawn with mirrored light, turn and offset, then flipped.
    fraction = placement.x % 1, placement.y % 1
    angle = placement.angle
    if placement.mirrored:
        fraction, angle, light = (-fraction[0], fraction[1]), -angle, 180.0 - light
    sprite = Sprite(placement.size, angle, light, fraction)
    PAINTERS[placement.name](sprite, np.random.default_rng(placement.style))
    color, alpha = sprite.image()
    if placement.mirrored:
        color, alpha = color[:, ::-1], alpha[:, ::-1]
    return color, alpha / 255.0


def finish(image: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Light falling across the whole picture and the camera's noise; float in, uint8 out."""
    height, width = image.shape[:2]
    slope = rng.uniform(-0.12, 0.12, 2) * strength
    x = np.linspace(-1, 1, width, dtype=np.float32) * slope[0]
    y = np.linspace(-1, 1, height, dtype=np.float32) * slope[1]
    gain = 1 + rng.uniform(-0.14, 0.1) * strength + x[None, :] + y[:, None]
    tint = 1 + rng.uniform(-0.06, 0.06, 3) * strength
    grain = rng.standard_normal((height, width, 1)).astype(np.float32) * rng.uniform(0, 7) * strength
    lit = image * gain[..., None].astype(np.float32) * tint.astype(np.float32) + grain
    return np.clip(np.round(lit), 0, 255).astype(np.uint8)


def _overlap(first: Placement, second: Placement) -> float:
    """How much of the smaller one's square the other's square covers, 0 to 1."""
    reach = (first.size + second.size) / 2
    wide = reach - abs(first.x - second.x)
    high = reach - abs(first.y - second.y)
    smaller = min(first.size, second.size)
    return max(0.0, min(wide, smaller)) * max(0.0, min(high, smaller)) / smaller**2


def _windows(
    left: int, top: int, shape: tuple[int, ...], size: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a sprite lies in the picture, and which part of the sprite that is."""
    y1, x1 = max(top, 0), max(left, 0)
    y2, x2 = max(y1, min(top + shape[0], size[0])), max(x1, min(left + shape[1], size[1]))
    picture = slice(y1, y2), slice(x1, x2)
    return picture, (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))


def _paint_shadow(image: np.ndarray, alpha: np.ndarray, left: int, top: int, opacity: float) -> None:
    """Darken the ground under an object: a soft flat ellipse at its foot."""
    if not opacity:
        return
    rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
    foot, reach = float(rows[-1]), (columns[-1] - columns[0] + 1) * 0.5
    middle = (columns[0] + columns[-1]) / 2 + reach * 0.15
    y, x = np.ogrid[: alpha.shape[0], : alpha.shape[1]]
    distance = ((x - middle) / reach) ** 2 + ((y - foot) / (reach * 0.2 + 1)) ** 2
    window, part = _windows(left, top, alpha.shape, image.shape[:2])
    dark = np.clip(1.25 - distance, 0, 1)[part].astype(np.float32) * opacity
    image[window] *= 1 - dark[..., None]


def _paint_reflection(
    image: np.ndarray, color: np.ndarray, alpha: np.ndarray, left: int, top: int, opacity: float
) -> None:
    """Mirror an object in the water below its foot, wavier and paler with depth."""
    if not opacity:
        return
    foot = int(np.flatnonzero((alpha > 0.5).any(1))[-1]) + 1
    depth = np.arange(foot, dtype=np.float32)
    # Water seen at a slant shortens what it mirrors, and its waves pull it sideways.
    source_y = foot - 1 - depth / 0.7
    wave = np.sin(depth * (24 / foot) + depth**2 * 0.004) * foot * 0.012 * (0.4 + depth / foot)
    map_x = np.arange(alpha.shape[1], dtype=np.float32)[None] + wave[:, None]
    map_y = np.repeat(source_y[:, None], alpha.shape[1], axis=1)
    fade = (opacity * np.clip(1 - depth / (0.75 * foot), 0, 1)).astype(np.float32)[:, None]
    turned_color = cv2.remap(np.ascontiguousarray(color), map_x.astype(np.float32), map_y, cv2.INTER_LINEAR)
    turned_alpha = cv2.remap(np.ascontiguousarray(alpha), map_x.astype(np.float32), map_y, cv2.INTER_LINEAR)
    window, part = _windows(left, top + foot, turned_alpha.shape, image.shape[:2])
    weight = (turned_alpha * fade)[part][..., None]
    image[window] = image[window] * (1 - weight) + (turned_color * fade[..., None])[part]
