"""What belongs to the water: sailing boat, fish and beach ball."""

from __future__ import annotations

import numpy as np

from .flying import BRIGHT, CREAM, two_colors
from .sprite import Sprite, curve, ellipse, jitter, mix, rectangle, shade


def draw_sailboat(sprite: Sprite, rng: np.random.Generator) -> None:
    """A boat with a hull, a main sail, a jib and a pennant."""
    first, second = two_colors(rng)
    sail = jitter(rng, CREAM if rng.random() < 0.55 else second, 6)
    wood = (104, 70, 46)
    sprite.fill(rectangle(-0.02, -0.94, 0.025, 0.56), wood, relief=0.2)

    main = np.concatenate(
        [
            curve((0.05, -0.88), (0.62, -0.3), (0.8, 0.36)),
            curve((0.8, 0.36), (0.4, 0.46), (0.05, 0.4)),
        ]
    )
    jib = np.concatenate(
        [
            curve((-0.05, -0.72), (-0.34, -0.1), (-0.78, 0.34)),
            curve((-0.78, 0.34), (-0.4, 0.36), (-0.05, 0.42)),
            curve((-0.05, 0.42), (-0.16, 0.0), (-0.05, -0.72)),
        ]
    )
    sprite.fill(main, sail, relief=0.14)
    stripes = int(rng.integers(0, 4))
    for k in range(stripes):
        y = -0.25 + k * 0.2
        band = np.array([(0, y), (0.9, y + 0.05), (0.9, y + 0.14), (0, y + 0.09)])
        sprite.fill(band, first, relief=0.1, clip=main)
    jib_color = first if rng.random() < 0.6 else mix(sail, (255, 255, 255), 0.3)
    sprite.fill(jib, jib_color, relief=0.16)
    for outline in (main, jib):
        sprite.line(outline, (112, 96, 88), 0.014, closed=True)

    hull_color = jitter(rng, BRIGHT[rng.integers(len(BRIGHT))])
    if rng.random() < 0.35:
        hull_color = jitter(rng, (142, 88, 52), 12)
    hull = np.concatenate(
        [
            curve((-0.95, 0.48), (0.0, 0.62), (0.92, 0.5)),
            curve((0.92, 0.5), (0.86, 0.9), (0.56, 0.94)),
            curve((-0.5, 0.94), (-0.8, 0.88), (-0.95, 0.48)),
        ]
    )
    sprite.fill(hull, hull_color, relief=0.16)
    stripe = np.concatenate(
        [
            curve((-1, 0.52), (0.0, 0.67), (1, 0.54)),
            curve((1, 0.63), (0.0, 0.75), (-1, 0.61)),
        ]
    )
    sprite.fill(stripe, (246, 240, 228), clip=hull)
    sprite.line(hull, shade(hull_color, 0.5), 0.016, closed=True)
    flag = np.array([(0.0, -0.98), (0.24, -0.9), (0.0, -0.82)])
    sprite.fill(flag, first, relief=0.1)


def draw_fish(sprite: Sprite, rng: np.random.Generator) -> None:
    """A fish with fins, stripes, scales and a round eye, looking right."""
    first, second = two_colors(rng)
    fat = rng.uniform(0.4, 0.5)
    fin = mix(first, second, 0.6) if rng.random() < 0.7 else shade(first, 0.8)
    t = np.linspace(0, 1, 28)
    x = 0.97 - 1.55 * t
    half = fat * np.sin(np.pi * t**0.72) ** 0.9 + 0.07 * t
    body = np.concatenate([np.stack([x, -half], 1), np.stack([x, half], 1)[::-1]])

    tail = np.concatenate(
        [
            curve((-0.45, -0.05), (-0.75, -0.12), (-0.98, -0.46)),
            curve((-0.98, -0.46), (-0.72, 0.0), (-0.98, 0.46)),
            curve((-0.98, 0.46), (-0.75, 0.12), (-0.45, 0.05)),
        ]
    )
    back = np.concatenate(
        [
            curve((0.45, -fat * 0.7), (0.2, -fat - 0.36), (-0.32, -fat - 0.12)),
            np.array([(-0.25, -fat * 0.5)]),
        ]
    )
    belly = np.concatenate([curve((0.2, fat * 0.8), (-0.05, fat + 0.26), (-0.3, fat + 0.08)), [(-0.15, fat * 0.6)]])
    for part in (tail, back, belly):
        sprite.fill(part, fin, relief=0.2)
        sprite.line(part, shade(fin, 0.55), 0.016, closed=True)
    sprite.fill(body, first)
    sprite.fill(ellipse(0.15, fat * 0.95, 0.9, fat * 0.75), mix(first, CREAM, 0.55), clip=body)
    if rng.random() < 0.65:
        for k in range(int(rng.integers(2, 4))):
            left = 0.28 - 0.32 * k
            band = np.concatenate(
                [
                    curve((left, -1), (left - 0.12, 0), (left, 1)),
                    curve((left - 0.14, 1), (left - 0.26, 0), (left - 0.14, -1)),
                ]
            )
            sprite.fill(band, second, clip=body)
    else:
        for k in range(8):
            cx, cy = 0.3 - 0.2 * (k // 2), (-0.14, 0.1)[k % 2] - 0.05 * (k // 2 % 2)
            scale = curve((cx, cy - 0.1), (cx - 0.14, cy), (cx, cy + 0.1), count=8)
            sprite.line(scale, shade(first, 0.68), 0.022)
    sprite.glaze(body, 0.42)
    sprite.line(curve((0.46, -fat * 0.6), (0.36, 0), (0.46, fat * 0.6)), shade(first, 0.6), 0.024)
    pectoral = np.concatenate(
        [curve((0.3, 0.06), (0.08, 0.02), (-0.06, 0.26)), curve((-0.06, 0.26), (0.2, 0.3), (0.3, 0.06))]
    )
    sprite.fill(pectoral, fin, relief=0.2)
    sprite.line(body, shade(first, 0.5), 0.018, closed=True)
    sprite.fill(ellipse(0.64, -fat * 0.26, 0.115, 0.115), (252, 252, 248))
    sprite.fill(ellipse(0.67, -fat * 0.26, 0.068, 0.068), (24, 24, 34))
    sprite.fill(ellipse(0.69, -fat * 0.33, 0.024, 0.024), (255, 255, 255))
    sprite.line(curve((0.94, 0.06), (0.86, 0.12), (0.8, 0.1), count=8), shade(first, 0.45), 0.022)


def draw_ball(sprite: Sprite, rng: np.random.Generator) -> None:
    """A beach ball of six panels that meet at a pole which looks at the viewer."""
    first, second = two_colors(rng)
    third = jitter(rng, BRIGHT[rng.integers(len(BRIGHT))])
    white = (250, 248, 240)
    cycle = [first, white, second, white, third, white]
    if rng.random() < 0.35:
        cycle = [first, second] * 3
    radius = 0.97
    tilt, spin = rng.uniform(0.45, 0.8), rng.uniform(0, 2 * np.pi)
    down = np.linspace(0, np.pi * 0.8, 22)
    circle = ellipse(0, 0, radius, radius, 64)
    sprite.fill(circle, white)

    def meridian(longitude: float) -> np.ndarray:
        x = np.sin(down) * np.cos(longitude)
        y, z = np.sin(down) * np.sin(longitude), np.cos(down)
        y, z = y * np.cos(tilt) - z * np.sin(tilt), y * np.sin(tilt) + z * np.cos(tilt)
        hidden = z < 0
        # What lies on the far side is pushed out to the rim, so that panels end there.
        length = np.where(hidden, np.maximum(np.hypot(x, y), 1e-6), 1.0)
        return np.stack([x, y], axis=1) / length[:, None] * radius

    for k, color in enumerate(cycle):
        rays = [meridian(spin + (k + part) * np.pi / 3) for part in np.linspace(0, 1, 6)]
        rim = np.array([ray[-1] for ray in rays])
        sprite.fill(np.concatenate([rays[0], rim, rays[-1][::-1]]), color, clip=circle)
        sprite.line(rays[0], shade(color, 0.6), 0.016)
    pole = np.array((0.0, -np.sin(tilt))) * radius
    sprite.fill(ellipse(pole[0], pole[1], 0.14, 0.14 * np.cos(tilt)), (250, 248, 240))
    sprite.glaze(circle, 0.62)
    sprite.line(circle, shade(first, 0.5), 0.02, closed=True)
