"""Which part of the original is drawn, and how large."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_LEAST_CROP = 640  # pixels; a crop of a small image is worth looking at too
SMALL = 128
"""Pixels of the longer side: shorter images are enlarged, or nothing could be seen in their panels."""
_LEAST_WHOLE = 256  # what they are enlarged to


@dataclass(frozen=True)
class View:
    """A window of the original image at the size of a panel; image, boxes and maps all go through it.

    Attributes:
        image_shape: Height and width of the original image.
        window: ``(left, top, right, bottom)`` of the part that is drawn, in whole pixels of the original.
        shape: Height and width of the panel.
    """

    image_shape: tuple[int, int]
    window: tuple[int, int, int, int]
    shape: tuple[int, int]

    @classmethod
    def of(
        cls,
        image_shape: tuple[int, int],
        longest: int | None = None,
        window: tuple[int, int, int, int] | None = None,
    ) -> View:
        """The whole image, or a window of it, on a panel of at most ``longest`` pixels.

        The whole image is not enlarged, unless it is shorter than 128 pixels: then by a whole factor, to 256 or more. A
        window is, to the length that the whole image would have, or 640 pixels where that is more, so that small things
        can be seen.

        Args:
            image_shape: Height and width of the original.
            longest: Pixels of the panel's longer side; None for one pixel of the panel each of the original.
            window: ``(left, top, right, bottom)`` within the image; None for all of it.
        """
        height, width = int(image_shape[0]), int(image_shape[1])
        left, top, right, bottom = window or (0, 0, width, height)
        part = (bottom - top, right - left)
        if longest is None:
            return cls((height, width), (left, top, right, bottom), part)
        length = min(max(height, width), longest)
        if part != (height, width):
            length = min(max(length, _LEAST_CROP), longest)
        elif length < SMALL:
            length = min(length * math.ceil(_LEAST_WHOLE / length), longest)
        factor = length / max(part)
        shape = (max(round(part[0] * factor), 1), max(round(part[1] * factor), 1))
        return cls((height, width), (left, top, right, bottom), shape)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut off."""
        return self.window == (0, 0, self.image_shape[1], self.image_shape[0])

    @property
    def step(self) -> tuple[float, float]:
        """Pixels of the original for each of the panel, ``(x, y)``."""
        left, top, right, bottom = self.window
        return (right - left) / self.shape[1], (bottom - top) / self.shape[0]

    @property
    def rows(self) -> np.ndarray:
        """Where the centre of each row of the panel lies in the original: (height,) continuous positions."""
        return self.window[1] + (np.arange(self.shape[0]) + 0.5) * self.step[1]

    @property
    def columns(self) -> np.ndarray:
        """Where the centre of each column of the panel lies in the original: (width,) continuous positions."""
        return self.window[0] + (np.arange(self.shape[1]) + 0.5) * self.step[0]

    def picture(self, image: np.ndarray, smooth: bool = True) -> np.ndarray:
        """The part of an original of (H, W) or (H, W, 3) at the panel's size; the image itself where that is all.

        Args:
            image: An image, or a mask, of ``image_shape``; uint8 or float32.
            smooth: Whether pixels are interpolated where they are enlarged. Where they are made smaller they are
                averaged.
        """
        left, top, right, bottom = self.window
        part = image[top:bottom, left:right]
        if part.shape[:2] == self.shape:
            return part
        import cv2  # whoever only reckons with views needs no OpenCV

        shrinks = min(self.step) > 1
        large = cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST
        part = np.ascontiguousarray(part)
        return cv2.resize(part, self.shape[::-1], interpolation=cv2.INTER_AREA if shrinks else large)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4), x1 y1 x2 y2 of the original, in pixels of the panel; they may reach beyond it."""
        left, top = self.window[:2]
        x, y = self.step
        return (boxes - np.array([left, top, left, top], boxes.dtype)) / np.array([x, y, x, y], boxes.dtype)

    def shows(self, boxes: np.ndarray) -> np.ndarray:
        """Which of (N, 4) boxes of the original reach into the window: (N,) bool."""
        left, top, right, bottom = self.window
        across = (boxes[:, 0] < right) & (boxes[:, 2] > left)
        return across & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
