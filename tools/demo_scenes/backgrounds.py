"""Backgrounds without any object: harbours, meadows and abstract patterns."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .sprite import Color, jitter, mix, shade


@dataclass(frozen=True)
class Mood:
    """The colours of a time of day: sky from top to horizon, clouds, sea, land and light."""

    sky: tuple[Color, Color, Color]
    cloud: Color
    sea: tuple[Color, Color]
    land: Color
    sand: Color
    sun: Color
    tint: Color


MOODS = {
    'day': Mood(
        ((66, 142, 206), (136, 194, 228), (222, 238, 240)),
        (255, 255, 255),
        ((96, 176, 204), (30, 98, 150)),
        (118, 164, 92),
        (238, 216, 168),
        (255, 248, 214),
        (1.0, 1.0, 1.0),
    ),
    'sunset': Mood(
        ((78, 110, 168), (238, 172, 150), (255, 222, 168)),
        (255, 226, 206),
        ((236, 188, 160), (62, 98, 142)),
        (112, 128, 92),
        (236, 200, 152),
        (255, 240, 196),
        (1.03, 0.97, 0.92),
    ),
    'mist': Mood(
        ((176, 192, 200), (206, 214, 216), (232, 232, 226)),
        (244, 244, 240),
        ((188, 204, 208), (112, 142, 156)),
        (138, 156, 136),
        (220, 210, 188),
        (250, 246, 232),
        (0.97, 0.98, 1.0),
    ),
    'dusk': Mood(
        ((34, 44, 88), (92, 84, 136), (226, 146, 130)),
        (150, 128, 164),
        ((176, 124, 140), (30, 46, 92)),
        (62, 82, 84),
        (158, 136, 132),
        (255, 226, 178),
        (0.8, 0.78, 0.9),
    ),
}


def gradient(width: int, height: int, stops: list[Color]) -> np.ndarray:
    """A picture (height, width, 3), float32, that runs through the colours from top to bottom."""
    at = np.linspace(0, len(stops) - 1, height)
    ramp = [np.interp(at, np.arange(len(stops)), [stop[c] for stop in stops]) for c in range(3)]
    column = np.stack(ramp, axis=1).astype(np.float32)
    return np.repeat(column[:, None], width, axis=1)


def noise(rng: np.random.Generator, width: int, height: int, cell: int) -> np.ndarray:
    """Smooth noise (height, width) with bumps about ``cell`` pixels wide; mean 0, deviation ~1."""
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def blend(image: np.ndarray, mask: np.ndarray, color: Color | np.ndarray, opacity: float = 1.0) -> None:
    """Paint ``color`` into a float image, in place, as strongly as ``mask`` (0 to 255) says."""
    weight = (mask.astype(np.float32) * (opacity / 255.0))[..., None]
    image += (np.asarray(color, np.float32) - image) * weight


def ridge(rng: np.random.Generator, width: int, base: float, height: float, waves: float) -> np.ndarray:
    """The skyline of hills: y in pixels for each of ``width`` columns, above ``base``."""
    x = np.linspace(0, waves * 2 * np.pi, width)
    phase = rng.uniform(0, 2 * np.pi, 3)
    line = np.sin(x + phase[0]) + 0.5 * np.sin(2.1 * x + phase[1]) + 0.2 * np.sin(5 * x + phase[2])
    return base - height * (0.5 + line / 3.4)


def below(line: np.ndarray, height: int) -> np.ndarray:
    """A mask (height, width) of what lies under a skyline, with a soft edge one pixel wide."""
    rows = np.arange(height, dtype=np.float32)[:, None]
    return np.clip((rows - line[None].astype(np.float32) + 0.5) * 255, 0, 255)


def paint_sky(image: np.ndarray, rng: np.random.Generator, mood: Mood, horizon: int) -> None:
    """Sky, sun with its glow, and clouds, above row ``horizon``."""
    height, width = image.shape[:2]
    image[:horizon] = gradient(width, horizon, list(mood.sky))
    x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.45, 0.95) * horizon
    radius = 0.05 * min(width, height) * rng.uniform(0.8, 1.3)
    paint_sun(image[:horizon], mood, x, y, radius)
    for _ in range(int(rng.integers(1, 5))):
        cx, cy = rng.uniform(0, width), rng.uniform(0.06, 0.75) * horizon
        paint_cloud(image[:horizon], rng, mood.cloud, cx, cy, rng.uniform(0.1, 0.28) * width)


def paint_sun(image: np.ndarray, mood: Mood, x: float, y: float, radius: float) -> None:
    """A pale disc with a wide glow, centred on (x, y) in pixels."""
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    distance = np.hypot(columns - x, rows - y).astype(np.float32)
    blend(image, 255 * np.exp(-distance / (radius * 4.5)), mood.sun, 0.7)
    blend(image, np.clip((radius - distance + 0.5) * 255, 0, 255), mix(mood.sun, (255, 255, 255), 0.5), 0.9)


def paint_cloud(image: np.ndarray, rng: np.random.Generator, color: Color, x: float, y: float, width: float) -> None:
    """A cumulus cloud: a heap of discs on a flat base, ``width`` pixels across, fading downwards."""
    mask = np.zeros(image.shape[:2], dtype=np.uint8)
    for _ in range(9):
        dx = rng.uniform(-0.42, 0.42)
        r = width * rng.uniform(0.09, 0.17) * (1 - 1.2 * abs(dx))
        centre = (round(x + dx * width), round(y - r * rng.uniform(0.1, 0.8)))
        cv2.circle(mask, centre, max(1, round(r)), 255, -1, cv2.LINE_AA)
    cv2.ellipse(
        mask, (round(x), round(y)), (round(width / 2), max(1, round(width * 0.045))), 0, 0, 360, 255, -1, cv2.LINE_AA
    )
    mask[max(0, round(y + width * 0.02)) :] = 0
    rows = np.arange(image.shape[0], dtype=np.float32)[:, None]
    fade = np.clip((y + width * 0.03 - rows) / (width * 0.22), 0.12, 1)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.6, width * 0.008))
    blend(image, soft * fade, color, rng.uniform(0.6, 0.9))


def paint_sea(image: np.ndarray, rng: np.random.Generator, mood: Mood, horizon: int) -> None:
    """Water from row ``horizon`` down, with wave crests that grow towards the viewer."""
    height, width = image.shape[:2]
    depth = height - horizon
    image[horizon:] = gradient(width, depth, list(mood.sea))
    layer = np.zeros((height, width), dtype=np.uint8)
    dark = np.zeros_like(layer)
    for k in range(max(12, depth * width // 1100)):
        near = rng.random() ** 1.4
        y = horizon + 2 + near * (depth - 3)
        length, x = (0.008 + 0.045 * near * rng.uniform(0.4, 1.3)) * width, rng.uniform(0, width)
        crest = np.linspace(-1, 1, 9)
        points = np.stack([x + crest * length, y - np.cos(crest * np.pi / 2) * length * 0.06], axis=1)
        target = layer if k % 2 else dark
        cv2.polylines(
            target, [np.round(points * 16).astype(np.int32)], False, 255, 1 + int(near > 0.75), cv2.LINE_AA, 4
        )
    blend(image, layer, mix(mood.sky[2], (255, 255, 255), 0.3), 0.34)
    blend(image, dark, shade(mood.sea[1], 0.8), 0.3)


def paint_hills(image: np.ndarray, rng: np.random.Generator, mood: Mood, horizon: int) -> None:
    """One to three ranges of hills that stand on row ``horizon``, the far ones paler."""
    height, width = image.shape[:2]
    ranges = int(rng.integers(1, 4))
    for k in range(ranges):
        near = (k + 1) / ranges
        line = ridge(rng, width, horizon, height * rng.uniform(0.07, 0.2) * (1.2 - 0.5 * near), rng.uniform(0.6, 1.6))
        mask = below(np.minimum(line, horizon + 1), height)
        mask[horizon + 1 :] = 0
        blend(image, mask, mix(mood.sky[2], mood.land, 0.25 + 0.45 * near))


def paint_ground(image: np.ndarray, rng: np.random.Generator, line: np.ndarray, color: Color, tufts: int) -> None:
    """Land under a skyline: lighter at its edge, grained, with ``tufts`` strokes of grass."""
    height, width = image.shape[:2]
    mask = below(line, height)
    rows = np.arange(height, dtype=np.float32)[:, None]
    depth = np.clip((rows - line[None]) / (0.35 * height), 0, 1)[..., None]
    paint = np.asarray(shade(color, 1.1), np.float32) * (1 - depth) + np.asarray(shade(color, 0.72), np.float32) * depth
    paint *= 1 + 0.03 * noise(rng, width, height, 3)[..., None] + 0.04 * noise(rng, width, height, 24)[..., None]
    image += (paint - image) * (mask / 255.0)[..., None]
    strokes = np.zeros((height, width), dtype=np.uint8)
    for _ in range(tufts):
        x = int(rng.integers(0, width))
        y = line[x] + rng.random() ** 1.5 * (height - line[x])
        for lean in (-2, 0, 2):
            start, end = (x, round(y)), (x + lean, round(y - rng.uniform(3, 7)))
            cv2.line(strokes, start, end, 255, 1, cv2.LINE_AA)
    blend(image, np.minimum(strokes, mask.astype(np.uint8)), shade(color, 0.6), 0.5)


def harbour(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, int]:
    """Sky over the sea, often with hills and a shore; the picture and its horizon's row."""
    mood = MOODS[list(MOODS)[rng.integers(len(MOODS))]]
    image = np.zeros((height, width, 3), dtype=np.float32)
    horizon = round(height * rng.uniform(0.38, 0.62))
    paint_sky(image, rng, mood, horizon)
    if rng.random() < 0.7:
        paint_hills(image, rng, mood, horizon)
    paint_sea(image, rng, mood, horizon)
    if rng.random() < 0.7:
        line = ridge(rng, width, height * rng.uniform(0.8, 1.0), height * rng.uniform(0.1, 0.3), rng.uniform(0.2, 0.7))
        sandy = rng.random() < 0.5
        paint_ground(image, rng, line, mood.sand if sandy else mood.land, 4 if sandy else width // 4)
    return image, horizon


def meadow(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, int]:
    """Sky over hills and grass, or snow, or fields; the picture and its horizon's row."""
    mood = MOODS[list(MOODS)[rng.integers(len(MOODS))]]
    image = np.zeros((height, width, 3), dtype=np.float32)
    horizon = round(height * rng.uniform(0.4, 0.7))
    paint_sky(image, rng, mood, horizon)
    image[horizon:] = mood.land
    paint_hills(image, rng, mood, horizon)
    ground = [mood.land, mood.sand, (232, 236, 240), (196, 168, 92)][rng.integers(4)]
    for k in range(2):
        line = ridge(rng, width, horizon + k * 0.25 * (height - horizon), height * 0.1, rng.uniform(0.3, 1.0))
        paint_ground(image, rng, line, jitter(rng, ground, 14), width // 3)
    return image, horizon


def abstract(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, int]:
    """A gradient with blurred stains, noise, lines and odd shapes; the picture and its middle."""
    stops = [rng.uniform(30, 245, 3) for _ in range(int(rng.integers(2, 4)))]
    image = gradient(width, height, [tuple(stop) for stop in stops])
    stain = noise(rng, width, height, max(8, min(width, height) // 5))[..., None]
    image += stain * rng.uniform(-26, 26, 3).astype(np.float32)
    mask = np.zeros((height, width), dtype=np.uint8)
    for _ in range(int(rng.integers(2, 14))):
        mask[:] = 0
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        r = rng.uniform(4, 0.22 * min(width, height))
        kind = rng.integers(4)
        if kind == 0:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            corners = np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1)
            cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 255, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(mask, (round(x), round(y)), round(r), 255, int(rng.integers(1, 5)), cv2.LINE_AA)
        elif kind == 2:
            end = (round(x + rng.uniform(-4, 4) * r), round(y + rng.uniform(-4, 4) * r))
            cv2.line(mask, (round(x), round(y)), end, 255, int(rng.integers(1, 6)), cv2.LINE_AA)
        else:
            cv2.ellipse(mask, (round(x), round(y)), (round(r), round(r * 0.6)), 0, 0, 360, 255, -1, cv2.LINE_AA)
        blend(image, mask, rng.uniform(0, 255, 3), rng.uniform(0.2, 0.9))
    return image, height // 2
