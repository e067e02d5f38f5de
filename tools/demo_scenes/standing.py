"""What stands on land: lighthouse, house and tree."""

from __future__ import annotations

import numpy as np

from .flying import BRIGHT, CREAM
from .sprite import Sprite, curve, ellipse, jitter, mix, rectangle, shade

GLASS = (150, 196, 214)
LAMP = (255, 226, 132)
FOLIAGE = [(74, 140, 72), (52, 118, 84), (112, 158, 62), (206, 128, 52), (190, 76, 56)]


def draw_lighthouse(sprite: Sprite, rng: np.random.Generator) -> None:
    """A tapering banded tower with a gallery, a lantern and a dome, on rocks."""
    band = jitter(rng, [(206, 52, 48), (206, 52, 48), (38, 84, 150), (52, 56, 66)][rng.integers(4)])
    white = jitter(rng, (246, 242, 232), 5)
    stone = jitter(rng, (122, 116, 112), 12)
    for x, y, rx, ry in ((-0.3, 0.92, 0.2, 0.1), (0.28, 0.93, 0.22, 0.1), (0.0, 0.93, 0.3, 0.09)):
        rock = ellipse(x, y, rx, ry, 9)
        sprite.fill(rock, jitter(rng, stone, 8), relief=0.25)

    def width(y: float | np.ndarray) -> float | np.ndarray:
        return 0.2 + 0.14 * (np.asarray(y) + 0.5) / 1.4

    tower = np.array([(-width(-0.5), -0.5), (width(-0.5), -0.5), (width(0.9), 0.9), (-width(0.9), 0.9)])
    sprite.fill(tower, white)
    edges = np.linspace(-0.5, 0.9, 2 * int(rng.integers(2, 4)) + 2)
    for k in range(0, len(edges) - 1, 2):
        top, bottom = edges[k], edges[k + 1]
        upper = curve((-0.5, top), (0, top + 0.07), (0.5, top))
        lower = curve((0.5, bottom), (0, bottom + 0.07), (-0.5, bottom))
        sprite.fill(np.concatenate([upper, lower]), band, clip=tower)
    sprite.glaze(tower, 0.5, reach=1.2)
    for y in (-0.18, 0.28):
        sprite.fill(rectangle(-0.035, y, 0.035, y + 0.13), (58, 62, 74))
    door = np.concatenate([curve((-0.09, 0.72), (0, 0.52), (0.09, 0.72)), [(0.09, 0.9), (-0.09, 0.9)]])
    sprite.fill(door, (86, 60, 46), relief=0.15)
    sprite.line(tower, shade(band, 0.5), 0.012, closed=True)

    iron = (56, 58, 68)
    glow = LAMP if rng.random() < 0.7 else GLASS
    sprite.fill(rectangle(-0.15, -0.76, 0.15, -0.54), glow, relief=0.12)
    for x in (-0.15, -0.05, 0.05, 0.15):
        sprite.line(np.array([(x, -0.76), (x, -0.54)]), iron, 0.014)
    sprite.fill(rectangle(-0.29, -0.56, 0.29, -0.49), iron, relief=0.2)
    sprite.line(np.array([(-0.28, -0.65), (0.28, -0.65)]), iron, 0.014)
    for x in (-0.28, 0.28):
        sprite.line(np.array([(x, -0.65), (x, -0.54)]), iron, 0.014)
    dome = np.concatenate(
        [curve((-0.2, -0.75), (-0.15, -0.95), (0, -0.96)), curve((0, -0.96), (0.15, -0.95), (0.2, -0.75))]
    )
    sprite.fill(dome, shade(band, 0.85), relief=0.25)
    sprite.line(np.array([(0, -0.94), (0, -1.0)]), iron, 0.03)


def draw_house(sprite: Sprite, rng: np.random.Generator) -> None:
    """A house with a tiled roof, a chimney, a door and windows."""
    walls = [CREAM, (238, 214, 170), (206, 222, 226), (226, 168, 140), (196, 214, 180), (240, 206, 96)]
    wall = jitter(rng, walls[rng.integers(len(walls))], 8)
    roofs = [(190, 78, 54), (150, 62, 56), (88, 96, 116), (122, 82, 58), (66, 110, 122)]
    roof = jitter(rng, roofs[rng.integers(len(roofs))], 10)
    frame = (250, 248, 240)
    chimney = rng.choice((-1, 1)) * rng.uniform(0.34, 0.46)
    sprite.fill(rectangle(chimney - 0.1, -0.92, chimney + 0.1, -0.3), shade(roof, 0.8), relief=0.2)
    sprite.fill(rectangle(chimney - 0.13, -0.95, chimney + 0.13, -0.86), shade(roof, 0.6))
    body = rectangle(-0.8, -0.12, 0.8, 0.94)
    sprite.fill(body, wall, relief=0.1)
    if rng.random() < 0.5:
        for y in np.arange(0.02, 0.9, 0.11):
            sprite.line(np.array([(-0.8, y), (0.8, y)]), shade(wall, 0.88), 0.012)
    sprite.fill(rectangle(-0.8, -0.12, 0.8, 0.07), shade(wall, 0.72))
    sprite.line(body, shade(wall, 0.55), 0.014, closed=True)

    if rng.random() < 0.5:
        outline = np.array([(-0.98, -0.02), (0.0, -0.82), (0.98, -0.02)])
        gable = np.array([(-0.66, -0.06), (0.0, -0.6), (0.66, -0.06)])
        sprite.fill(outline, roof, relief=0.16)
        sprite.fill(gable, wall, relief=0.08)
        sprite.fill(ellipse(0, -0.24, 0.12, 0.12), frame)
        sprite.fill(ellipse(0, -0.24, 0.085, 0.085), shade(GLASS, 0.75), relief=0.2)
    else:
        outline = np.array([(-0.98, -0.02), (-0.68, -0.7), (0.68, -0.7), (0.98, -0.02)])
        sprite.fill(outline, roof, relief=0.16)
        for row, y in enumerate(np.arange(-0.57, -0.1, 0.13)):
            reach = 0.68 + (y + 0.7) * 0.44
            sprite.line(np.array([(-reach, y), (reach, y)]), shade(roof, 0.72), 0.02)
            for x in np.arange(-reach + 0.1 + 0.09 * (row % 2), reach - 0.04, 0.18):
                sprite.line(np.array([(x, y), (x, min(y + 0.13, -0.03))]), shade(roof, 0.78), 0.014)
    sprite.line(outline, shade(roof, 0.5), 0.018, closed=True)

    door_x = float(rng.choice((-0.5, 0.0, 0.5)))
    color = jitter(rng, BRIGHT[rng.integers(len(BRIGHT))])
    sprite.fill(rectangle(door_x - 0.17, 0.3, door_x + 0.17, 0.94), frame)
    sprite.fill(rectangle(door_x - 0.13, 0.34, door_x + 0.13, 0.94), shade(color, 0.8), relief=0.12)
    sprite.fill(ellipse(door_x + 0.08, 0.66, 0.025, 0.025), LAMP)
    pane = LAMP if rng.random() < 0.4 else shade(GLASS, 0.8)
    for x in (-0.5, 0.0, 0.5):
        if x == door_x:
            continue
        sprite.fill(rectangle(x - 0.17, 0.2, x + 0.17, 0.6), frame)
        sprite.fill(rectangle(x - 0.13, 0.24, x + 0.13, 0.56), pane, relief=0.18)
        sprite.line(np.array([(x, 0.24), (x, 0.56)]), frame, 0.026)
        sprite.line(np.array([(x - 0.13, 0.4), (x + 0.13, 0.4)]), frame, 0.026)


def draw_tree(sprite: Sprite, rng: np.random.Generator) -> None:
    """A tree: a round crown of leaves or a fir of stacked boughs."""
    bark = jitter(rng, (110, 76, 50), 10)
    if rng.random() < 0.35:
        _draw_fir(sprite, rng, bark)
    else:
        _draw_crown(sprite, rng, bark)


def _draw_fir(sprite: Sprite, rng: np.random.Generator, bark: tuple[float, ...]) -> None:
    green = jitter(rng, (44, 104, 82), 12)
    sprite.fill(rectangle(-0.08, 0.6, 0.08, 0.98), bark, relief=0.3)
    layers = int(rng.integers(3, 5))
    for k in range(layers):
        part = k / layers
        bottom = 0.78 - part * 1.1
        wide = 0.66 * (1 - part * 0.78)
        x = np.linspace(-wide, wide, 13)
        hem = bottom + 0.05 * (np.arange(13) % 2) - 0.1 * (1 - (x / wide) ** 2) + 0.1
        tip = max(-0.98, bottom - 0.82 + part * 0.2)
        bough = np.concatenate([np.stack([x, hem], 1), [(0.0, tip)]])
        sprite.fill(bough, shade(green, 0.82 + 0.36 * part), relief=0.3)
    sprite.speckle(rng, 0.06)


def _draw_crown(sprite: Sprite, rng: np.random.Generator, bark: tuple[float, ...]) -> None:
    leaf = jitter(rng, FOLIAGE[rng.integers(len(FOLIAGE))], 14)
    trunk = np.concatenate(
        [curve((-0.17, 0.98), (-0.06, 0.7), (-0.08, 0.1)), curve((0.08, 0.1), (0.06, 0.7), (0.17, 0.98))]
    )
    sprite.fill(trunk, bark, relief=0.3)
    sprite.line(np.array([(0.0, 0.45), (0.26, 0.15)]), bark, 0.07)
    turn = rng.uniform(0, 2 * np.pi)
    around = [(turn + k * 2 * np.pi / 7, rng.uniform(0.36, 0.44)) for k in range(7)]
    lobes = [(np.cos(a) * r * 1.05, -0.36 + np.sin(a) * r * 0.85) for a, r in around]
    lobes = [*sorted(lobes, key=lambda p: -p[1]), (0.0, -0.4)]
    for x, y in lobes:
        r = rng.uniform(0.3, 0.38)
        lobe = ellipse(x, np.clip(y, -0.98 + r, 0.4), r * 1.05, r, 24)
        sprite.fill(lobe, shade(leaf, 0.98 - 0.28 * (y + 0.36)), relief=0.1)
        sprite.glaze(lobe, 0.26)
    for _ in range(46):
        a, r = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * 0.62
        x, y = np.cos(a) * r, -0.36 + np.sin(a) * r * 0.85
        light = rng.uniform(0.78, 1.0) if x + y > -0.36 else rng.uniform(1.08, 1.3)
        color = mix(shade(leaf, light), CREAM, 0.06)
        sprite.fill(ellipse(x, y, 0.05, 0.032, 8), color)
