"""A small antialiased canvas on which one object is drawn, turned and lit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

Color = Sequence[float]
SUBPIXEL_BITS = 4


def jitter(rng: np.random.Generator, color: Color, amount: float = 18.0) -> tuple[float, ...]:
    """An RGB colour near ``color``, each channel moved by at most ``amount`` levels."""
    return tuple(float(np.clip(c + rng.uniform(-amount, amount), 0, 255)) for c in color)


def shade(color: Color, factor: float) -> tuple[float, ...]:
    """An RGB colour made darker (``factor`` < 1) or brighter (> 1)."""
    return tuple(float(min(255.0, c * factor)) for c in color)


def mix(first: Color, second: Color, weight: float) -> tuple[float, ...]:
    """The RGB colour that is ``weight`` (0 to 1) of the way from ``first`` to ``second``."""
    return tuple(float(a + (b - a) * weight) for a, b in zip(first, second))


def ellipse(cx: float, cy: float, rx: float, ry: float, count: int = 40) -> np.ndarray:
    """The outline of an ellipse as a (count, 2) polygon."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    """An axis-aligned rectangle as a (4, 2) polygon."""
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], dtype=np.float64)


def curve(*points: Sequence[float], count: int = 16) -> np.ndarray:
    """A Bézier curve through two end points and one or two control points between, (count, 2)."""
    t = np.linspace(0, 1, count)[:, None]
    p = np.asarray(points, dtype=np.float64)
    degree = len(p) - 1
    terms = [math.comb(degree, k) * t**k * (1 - t) ** (degree - k) * p[k][None] for k in range(degree + 1)]
    return np.sum(terms, axis=0)


class Sprite:
    """A canvas with x right, y down and the object inside the square from -1 to 1.

    Args:
        size: Length in pixels of the square's side.
        angle: Clockwise turn of the object in degrees.
        light: Direction from which light falls, degrees clockwise from the right; 225 is up left.
        offset: Fraction of a pixel, x and y, by which the object's centre is moved.
    """

    def __init__(
        self,
        size: float,
        angle: float = 0.0,
        light: float = 225.0,
        offset: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        # Few samples do for large objects, whose edges are a small part of them.
        self.samples = 4 if size <= 100 else 3
        self.half = math.ceil(size * 0.75) + 2
        self.scale = size / 2 * self.samples
        side = 2 * self.half * self.samples
        self.color = np.zeros((side, side, 3), dtype=np.uint8)
        self.alpha = np.zeros((side, side), dtype=np.uint8)
        radians = math.radians(angle)
        cos, sin = math.cos(radians), math.sin(radians)
        self._turn = np.array([[cos, sin], [-sin, cos]])
        self._centre = (self.half + np.asarray(offset)) * self.samples
        self._light = np.array([math.cos(math.radians(light)), math.sin(math.radians(light))])

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(points, dtype=np.float64) @ self._turn * self.scale + self._centre

    def _mask(self, points: np.ndarray, clip: np.ndarray | None) -> tuple[np.ndarray, tuple[slice, slice]] | None:
        """The polygon's mask within its bounding window, or None where it is off the canvas."""
        pixels = self._pixels(points)
        low = np.maximum(np.floor(pixels.min(0)).astype(int), 0)
        high = np.minimum(np.ceil(pixels.max(0)).astype(int) + 1, self.alpha.shape[0])
        if (high <= low).any():
            return None
        mask = _fill(pixels - low, high - low)
        if clip is not None:
            mask &= _fill(self._pixels(clip) - low, high - low)
        return mask, (slice(low[1], high[1]), slice(low[0], high[0]))

    def fill(
        self,
        points: np.ndarray,
        color: Color,
        relief: float = 0.0,
        clip: np.ndarray | None = None,
    ) -> None:
        """Fill a polygon; ``relief`` is how much brighter its lit and darker its far side is."""
        found = self._mask(points, clip)
        if found is None:
            return
        mask, window = found
        paint = np.asarray(color, dtype=np.float32)
        if relief:
            rows, columns = mask.shape
            x = np.linspace(-1, 1, columns, dtype=np.float32) * self._light[0]
            y = np.linspace(-1, 1, rows, dtype=np.float32) * self._light[1]
            field = 1 + relief * (x[None, :] + y[:, None]).astype(np.float32)
            paint = np.clip(paint * field[..., None], 0, 255)
        inside = mask.astype(bool)
        colors = np.broadcast_to(paint, (*mask.shape, 3)).astype(np.uint8)
        np.copyto(self.color[window], colors, where=inside[..., None])
        self.alpha[window] |= mask

    def glaze(self, points: np.ndarray, strength: float = 0.4, reach: float = 1.0) -> None:
        """Round off what is painted inside a polygon: bright where light meets it, dark opposite.

        Args:
            points: The polygon.
            strength: How dark the far rim gets, 0 to 1.
            reach: How far from the polygon's centre the bright spot lies, in quarters of its size.
        """
        found = self._mask(points, None)
        if found is None:
            return
        mask, window = found
        rows, columns = mask.shape
        x = np.linspace(-1, 1, columns, dtype=np.float32) - self._light[0] * 0.45 * reach
        y = np.linspace(-1, 1, rows, dtype=np.float32) - self._light[1] * 0.45 * reach
        far = np.minimum((x[None, :] ** 2 + y[:, None] ** 2) / 2.1, 1.0)
        field = 1.12 + strength * 0.12 - far * strength
        lit = np.clip(self.color[window] * field[..., None], 0, 255).astype(np.uint8)
        painted = (mask > 0) & (self.alpha[window] > 0)
        np.copyto(self.color[window], lit, where=painted[..., None])

    def line(self, points: np.ndarray, color: Color, width: float, closed: bool = False) -> None:
        """Draw a polyline ``width`` wide, in the unit of the points; never thinner than a sample."""
        thickness = max(1, round(width * self.scale))
        pixels = np.round(self._pixels(points) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        mask = np.zeros(self.alpha.shape, dtype=np.uint8)
        cv2.polylines(mask, [pixels], closed, 255, thickness, cv2.LINE_8, SUBPIXEL_BITS)
        self.color[mask > 0] = np.asarray(color, dtype=np.float32).astype(np.uint8)
        self.alpha |= mask

    def speckle(self, rng: np.random.Generator, amount: float) -> None:
        """Give all that is painted a grain of about ``amount`` (0 to 1) of its brightness."""
        coarse = rng.standard_normal((self.half, self.half)).astype(np.float32)
        side = self.alpha.shape[0]
        grain = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)
        self.color = np.clip(self.color * (1 + amount * grain[..., None]), 0, 255).astype(np.uint8)

    def image(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture at its final size: colour times alpha (S, S, 3), alpha (S, S); float, 0-255."""
        side = (2 * self.half, 2 * self.half)
        color = cv2.bitwise_and(self.color, self.color, mask=self.alpha)
        color = cv2.resize(color.astype(np.float32), side, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(self.alpha.astype(np.float32), side, interpolation=cv2.INTER_AREA)
        return color, alpha


def _fill(pixels: np.ndarray, size: np.ndarray) -> np.ndarray:
    mask = np.zeros((int(size[1]), int(size[0])), dtype=np.uint8)
    fixed = np.round(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_8, SUBPIXEL_BITS)
    return mask
