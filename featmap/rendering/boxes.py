"""Detections over a picture."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from featmap.rendering.text import draw_lines, font_size, line_height, text_width
from featmap.structures import Detections


def class_color(label: int) -> tuple[int, int, int]:
    """A bright RGB colour for a class number; neighbours differ by the golden angle in hue."""
    red, green, blue = colorsys.hsv_to_rgb((0.13 + label * 0.61803) % 1.0, 0.85, 0.95)
    return int(red * 255), int(green * 255), int(blue * 255)


def line_width(shape: tuple[int, ...]) -> int:
    """A line width in pixels that suits a picture of this (height, width)."""
    return max(round(min(shape[:2]) / 240), 1)


def draw_boxes(image: np.ndarray, detections: Detections, tags: bool = True) -> np.ndarray:
    """A copy of the (H, W, 3) RGB image with boxes, the best on top: with class and score, or thin and bare."""
    picture = np.ascontiguousarray(image).copy()
    width = line_width(image.shape) if tags else max(line_width(image.shape) // 2, 1)
    for index in np.argsort(detections.scores, kind='stable'):
        left, top, right, bottom = (round(float(edge)) for edge in detections.boxes[index])
        color = class_color(int(detections.labels[index]))
        if tags:  # a white edge sets the box off the image; on a heat map it would hide what is there
            cv2.rectangle(picture, (left, top), (right, bottom), (255, 255, 255), width + 2, cv2.LINE_AA)
        cv2.rectangle(picture, (left, top), (right, bottom), color, width, cv2.LINE_AA)
        if tags:
            text = f'{detections.name(index)} {detections.scores[index]:.2f}'
            _draw_tag(picture, text, left, top, color)
    return picture


def _draw_tag(picture: np.ndarray, text: str, left: int, top: int, color: tuple[int, int, int]) -> None:
    """Write ``text`` on a plate of ``color`` above the corner, moved to lie inside the picture."""
    height, width = picture.shape[:2]
    size = max(round(font_size(height, width) * 0.7), 9)
    tag_height = min(line_height(size) + 2, height)
    tag_width = min(text_width(text, size) + 6, width)
    dark = (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) > 140
    tag = draw_lines(
        [text],
        size,
        (tag_height, tag_width),
        color=(0, 0, 0) if dark else (255, 255, 255),
        background=color,
        margin=3,
    )
    x = min(max(left, 0), width - tag_width)
    y = min(top - tag_height if top >= tag_height else max(top, 0), height - tag_height)
    picture[y : y + tag_height, x : x + tag_width] = tag
