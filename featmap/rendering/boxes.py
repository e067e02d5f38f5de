"""Detections over a picture."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from featmap.rendering.text import draw_lines, font_size, line_height, text_width
from featmap.structures import Detections

_LEAST_SIDE = 100  # pixels; tags would cover a smaller image


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
    order = np.argsort(detections.scores, kind='stable')
    for index in order:
        left, top, right, bottom = (round(float(edge)) for edge in detections.boxes[index])
        color = class_color(int(detections.labels[index]))
        if tags:  # a white edge sets the box off the image; on a heat map it would hide what is there
            cv2.rectangle(picture, (left, top), (right, bottom), (255, 255, 255), width + 2, cv2.LINE_AA)
        cv2.rectangle(picture, (left, top), (right, bottom), color, width, cv2.LINE_AA)
    if tags and min(image.shape[:2]) >= _LEAST_SIDE:
        taken: list[tuple[int, int, int, int]] = []
        for index in order[::-1]:  # the best chooses its place first
            _draw_tag(picture, detections, int(index), taken)
    return picture


def _draw_tag(picture: np.ndarray, detections: Detections, index: int, taken: list[tuple[int, int, int, int]]) -> None:
    """Write class and score on a plate at the corner of the box where it covers the least of other plates."""
    height, width = picture.shape[:2]
    color = class_color(int(detections.labels[index]))
    text = f'{detections.name(index)} {detections.scores[index]:.2f}'
    size = max(round(font_size(height, width) * 0.7), 9)
    tag_height = min(line_height(size) + 2, height)
    tag_width = min(text_width(text, size) + 6, width)
    left, top, right, bottom = (round(float(edge)) for edge in detections.boxes[index])
    corners = [
        (left, top - tag_height), (right - tag_width, top - tag_height), (left, bottom), (right - tag_width, bottom),
        (left, top), (right - tag_width, bottom - tag_height),
    ]  # fmt: skip
    places = []
    for x, y in corners:
        x, y = min(max(x, 0), width - tag_width), min(max(y, 0), height - tag_height)
        places.append((x, y, x + tag_width, y + tag_height))
    x, y, end_x, end_y = min(places, key=lambda place: sum(_shared(place, other) for other in taken))
    taken.append((x, y, end_x, end_y))
    dark = (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) > 140
    ink = (0, 0, 0) if dark else (255, 255, 255)
    tag = draw_lines([text], size, (tag_height, tag_width), color=ink, background=color, margin=3)
    picture[y:end_y, x:end_x] = tag


def _shared(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    """How many pixels two rectangles (left, top, right, bottom) have in common."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
