"""Detections over a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from featmap.rendering.tags import place_tags
from featmap.rendering.text import draw_lines, enlarged, font_size, line_height, text_width
from featmap.structures import Detections

_LEAST_AREA, _LEAST_SIDE = 100 * 100, 40  # pixels; tags would cover a smaller picture
_BRIGHT = 0.95  # the value of HSV
_TAG = 0.7  # of the text size of labels


def class_color(label: int) -> tuple[int, int, int]:
    """A bright RGB colour for a class number; neighbours differ by the golden angle in hue."""
    red, green, blue = colorsys.hsv_to_rgb((0.13 + label * 0.61803) % 1.0, 0.85, _BRIGHT)
    return int(red * 255), int(green * 255), int(blue * 255)


def color_of(detections: Detections, label: int) -> tuple[int, int, int]:
    """The RGB colour of a class: the data set's where it has one, else :func:`class_color`."""
    return detections.palette[label] if 0 <= label < len(detections.palette) else class_color(label)


def bright(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """An RGB colour of the same hue that can be seen as a thin line on a heat map, whose own colours may be dark."""
    if max(color) >= _BRIGHT * 255 - 1:
        return color
    hue, saturation, _ = colorsys.rgb_to_hsv(*(part / 255 for part in color))
    red, green, blue = colorsys.hsv_to_rgb(hue, min(saturation, 0.85), _BRIGHT)
    return int(red * 255), int(green * 255), int(blue * 255)


def has_dark_ink(color: tuple[int, int, int]) -> bool:
    """Whether text on a plate of this RGB colour is black rather than white, by the plate's luma."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140


def line_width(shape: tuple[int, ...]) -> int:
    """A line width in pixels that suits a picture of this (height, width): 3 at most, as it is seen on a screen."""
    return max(round(min(min(shape[:2]) / 240, 3 * enlarged(shape))), 1)


def has_room_for_tags(shape: tuple[int, ...]) -> bool:
    """Whether tags would not cover a picture of this (height, width); a panorama may be low."""
    return shape[0] * shape[1] >= _LEAST_AREA and min(shape[:2]) >= _LEAST_SIDE


def tag_size(shape: tuple[int, ...]) -> int:
    """The text size in pixels of tags on a picture of this (height, width)."""
    return max(round(font_size(*shape[:2]) * _TAG), 9)


def draw_boxes(image: np.ndarray, detections: Detections, tags: bool = True) -> np.ndarray:
    """A copy of the (H, W, 3) RGB image with boxes, the best on top: with class and score, or thin and bare."""
    picture = np.ascontiguousarray(image).copy()
    width = line_width(image.shape) if tags else max(line_width(image.shape) // 2, 1)
    order = np.argsort(detections.scores, kind='stable')
    for index in order if detections.boxed else ():
        left, top, right, bottom = (round(float(edge)) for edge in detections.boxes[index])
        color = color_of(detections, int(detections.labels[index]))
        color = color if tags else bright(color)
        line = max(min(width, round(min(right - left, bottom - top) / 8)), 1)  # thick lines would hide a small box
        if tags and line > 1:  # a white edge sets the box off the image; on a heat map it would hide what is there
            cv2.rectangle(picture, (left, top), (right, bottom), (255, 255, 255), line + 2, cv2.LINE_AA)
        elif tags:  # on one side of a thin line, which would be lost between two edges, and not on what is in the box
            cv2.rectangle(picture, (left - 1, top - 1), (right + 1, bottom + 1), (255, 255, 255), 1)
        cv2.rectangle(picture, (left, top), (right, bottom), color, line, cv2.LINE_AA)
    if tags:
        order = order[::-1]  # the best chooses its place first
        texts = [f'{detections.name(index)} {detections.scores[index]:.2f}' for index in order]
        colors = [color_of(detections, int(detections.labels[index])) for index in order]
        draw_tags(picture, detections.boxes[order], texts, colors)
    return picture


def draw_tags(
    picture: np.ndarray, boxes: np.ndarray, texts: Sequence[str], colors: Sequence[tuple[int, int, int]]
) -> None:
    """Write each text on a plate of its RGB colour at the corner of its box, where :func:`place_tags` finds room.

    The first chooses its place first, and lies on top where there is no room. On a small picture, which they would
    cover, there are none.

    Args:
        picture: (H, W, 3) RGB uint8, which is written to.
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the picture.
        texts: N of them.
        colors: Likewise.
    """
    height, width = picture.shape[:2]
    if not has_room_for_tags(picture.shape) or not len(boxes):
        return
    size = tag_size(picture.shape)
    tag_height = min(line_height(size) + 2, height)
    widths = np.array([min(text_width(text, size) + 6, width) for text in texts])
    places, _ = place_tags(np.round(boxes).astype(np.int64), widths, tag_height, (height, width))
    for text, color, (x, y, end_x, end_y) in reversed([*zip(texts, colors, places.astype(np.int64).tolist())]):
        ink = (0, 0, 0) if has_dark_ink(color) else (255, 255, 255)
        picture[y:end_y, x:end_x] = draw_lines([text], size, (end_y - y, end_x - x), ink, color, margin=3)
