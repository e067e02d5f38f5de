"""What flies: hot-air balloon and kite."""

from __future__ import annotations

import numpy as np

from .sprite import Sprite, curve, ellipse, jitter, mix, rectangle, shade

CREAM = (250, 242, 222)
BRIGHT = [
    (226, 62, 57),
    (246, 148, 49),
    (250, 203, 66),
    (53, 155, 141),
    (46, 109, 178),
    (126, 78, 156),
    (222, 92, 140),
]


def two_colors(rng: np.random.Generator) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Two different bright colours, or a bright one and cream."""
    first, second = rng.choice(len(BRIGHT), size=2, replace=False)
    other = CREAM if rng.random() < 0.45 else BRIGHT[second]
    return jitter(rng, BRIGHT[first]), jitter(rng, other, 8)


def draw_balloon(sprite: Sprite, rng: np.random.Generator) -> None:
    """A hot-air balloon with striped gores, ropes and a basket."""
    first, second = two_colors(rng)
    third = jitter(rng, BRIGHT[rng.integers(len(BRIGHT))])
    y = np.linspace(-1.0, 0.5, 41)
    lower = np.clip((y + 0.27) / 0.77, 0, 1)
    sphere = np.sqrt(np.clip(0.73**2 - (y + 0.27) ** 2, 0, None))
    width = np.where(y < -0.27, sphere, 0.14 + 0.59 * np.cos(lower * np.pi / 2) ** 0.85)

    for side in (-1, 1):
        sprite.line(np.array([(0.13 * side, 0.45), (0.11 * side, 0.78)]), (70, 52, 40), 0.018)
    sprite.line(np.array([(0.0, 0.45), (0.0, 0.78)]), (70, 52, 40), 0.014)
    gores = int(rng.integers(7, 11))
    edges = np.sin(np.linspace(-np.pi / 2, np.pi / 2, gores + 1))
    cycle = [first, second] if rng.random() < 0.6 else [first, second, third]
    for k in range(gores):
        left = np.stack([edges[k] * width, y], axis=1)
        right = np.stack([edges[k + 1] * width, y], axis=1)
        sprite.fill(np.concatenate([left, right[::-1]]), cycle[k % len(cycle)])
    hull = np.concatenate([np.stack([-width, y], axis=1), np.stack([width, y], axis=1)[::-1]])
    if rng.random() < 0.6:
        low, high = sorted(rng.uniform(-0.55, 0.1, size=2))
        high = max(high, low + 0.16)
        top = curve((-0.9, low), (0, low + 0.22), (0.9, low))
        bottom = curve((0.9, high), (0, high + 0.22), (-0.9, high))
        sprite.fill(np.concatenate([top, bottom]), third, clip=hull)
    sprite.glaze(hull, 0.62)
    sprite.fill(ellipse(0, 0.5, 0.14, 0.035), shade(first, 0.45))
    sprite.line(hull, shade(first, 0.5), 0.012, closed=True)

    wicker = jitter(rng, (158, 106, 60), 12)
    basket = np.array([(-0.16, 0.74), (0.16, 0.74), (0.13, 0.98), (-0.13, 0.98)])
    sprite.fill(basket, wicker, relief=0.2)
    for row in (0.82, 0.9):
        sprite.line(np.array([(-0.14, row), (0.14, row)]), shade(wicker, 0.7), 0.012)
    sprite.fill(rectangle(-0.18, 0.72, 0.18, 0.78), shade(wicker, 0.62))


def draw_kite(sprite: Sprite, rng: np.random.Generator) -> None:
    """A diamond kite in two or four colours with a tail of bows."""
    first, second = two_colors(rng)
    third = jitter(rng, BRIGHT[rng.integers(len(BRIGHT))])
    top, bottom = np.array((0.0, -0.98)), np.array((0.0, 0.42))
    wing, cross = rng.uniform(0.54, 0.66), np.array((0.0, rng.uniform(-0.42, -0.3)))
    left, right = np.array((-wing, cross[1])), np.array((wing, cross[1]))
    colors = [first, second, first, second]
    if rng.random() < 0.4:
        colors = [first, second, third, mix(second, CREAM, 0.5)]

    bend = rng.uniform(0.1, 0.2) * rng.choice((-1, 1))
    t = np.linspace(0, 1, 24)
    tail = np.stack([np.sin(t * 2 * np.pi) * bend, 0.42 + t * 0.55], axis=1)
    sprite.line(tail, (88, 76, 70), 0.03)
    bows = int(rng.integers(2, 4))
    for k in range(1, bows + 1):
        x, y = tail[min(23, round(k * 23 / bows) - 2)]
        color = (first, second)[k % 2]
        for side in (-1, 1):
            wings = np.array([(x, y), (x + 0.16 * side, y - 0.075), (x + 0.16 * side, y + 0.075)])
            sprite.fill(wings, color, relief=0.15)

    corners = [top, right, bottom, left]
    for k in range(4):
        panel = np.array([cross, corners[k], corners[(k + 1) % 4]])
        sprite.fill(panel, shade(colors[k], (1.06, 0.94, 0.86, 1.0)[k]), relief=0.12)
    inset = 0.62
    if rng.random() < 0.4:
        for k in range(4):
            a, b = corners[k], corners[(k + 1) % 4]
            panel = np.array([cross, cross + (a - cross) * inset, cross + (b - cross) * inset])
            sprite.fill(panel, shade(colors[(k + 1) % 4], 0.97), relief=0.1)
    sprite.line(np.array([top, bottom]), (84, 62, 48), 0.028)
    sprite.line(np.array([left, right]), (84, 62, 48), 0.028)
    sprite.line(np.array(corners), shade(first, 0.55), 0.02, closed=True)
