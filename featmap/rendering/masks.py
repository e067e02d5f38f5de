"""Everything that a model found, over a picture: segments, instance masks, boxes."""

from __future__ import annotations

import cv2
import numpy as np

from featmap.masks import Segments
from featmap.rendering.boxes import bright, color_of, draw_boxes, line_width
from featmap.structures import Detections

FILL, _SEGMENTS = 0.35, 0.5  # opacities: an instance stays recognisable, and a class is known by its colour


def draw_results(image: np.ndarray, detections: Detections, full: bool = True) -> np.ndarray:
    """A copy of an (H, W, 3) RGB image with what the model found in it.

    Args:
        image: The original, or a panel of its size.
        detections: Masks and boxes of this size.
        full: Whether to fill masks, and to write class and score at each box. Otherwise contours alone: of segments
            where there are some, else of masks, else of boxes, so that the heat under them can be seen.
    """
    picture = np.ascontiguousarray(image)
    if detections.segments is not None:
        picture = draw_segments(picture, detections, fill=full)
    elif detections.masks is not None:
        picture = draw_masks(picture, detections, fill=full)
    elif not full:
        return draw_boxes(picture, detections, tags=False)
    if full and len(detections):
        return draw_boxes(picture, detections)
    return image.copy() if picture is image else picture


def draw_masks(image: np.ndarray, detections: Detections, fill: bool = True) -> np.ndarray:
    """A copy of an RGB image with the contours of instance masks, the best on top, and where asked lightly filled."""
    picture, masks = image.copy(), detections.masks
    assert masks is not None
    width = max(line_width(image.shape) * 2 // 3 if fill else (line_width(image.shape) + 1) // 2, 1)
    order = np.argsort(detections.scores, kind='stable')
    colors = [color_of(detections, int(label)) for label in detections.labels]
    parts = {int(index): masks.part(index) for index in order}
    for index in order if fill else ():
        left, top, right, bottom = masks.windows[index]
        under = picture[top:bottom, left:right]
        if under.size:
            mixed = cv2.addWeighted(under, 1 - FILL, np.full_like(under, colors[index]), FILL, 0)
            np.copyto(under, mixed, where=parts[index][..., None])
    for index in order:
        lines = contours(parts[index], (int(masks.windows[index, 0]), int(masks.windows[index, 1])))
        # No white edge as boxes have: the fill sets the line off the image, and a small mask would be all edge.
        cv2.drawContours(picture, lines, -1, colors[index] if fill else bright(colors[index]), width, cv2.LINE_AA)
    return picture


def contours(mask: np.ndarray, corner: tuple[int, int] = (0, 0)) -> list[np.ndarray]:
    """The outer and inner outlines of an (h, w) bool mask whose ``(left, top)`` corner is given: (M, 1, 2) x, y."""
    if not mask.any():
        return []
    return list(cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=corner)[0])


def draw_segments(image: np.ndarray, detections: Detections, fill: bool = True) -> np.ndarray:
    """A copy of an RGB image with segments in the colours of their classes, or with their borders alone."""
    assert detections.segments is not None
    width = line_width(image.shape) if fill else max(line_width(image.shape) // 2, 1)
    over = segments_over(detections, detections.segments, fill, width)
    opacity = over[..., 3:]
    mixed = cv2.addWeighted(image, 1 - _SEGMENTS, over[..., :3].copy(), _SEGMENTS, 0) if fill else image
    return np.where(opacity == 0, image, np.where(opacity == 255, over[..., :3], mixed))


def segments_over(detections: Detections, segments: Segments, fill: bool = True, width: int = 1) -> np.ndarray:
    """What is laid over a picture of the segments' size: (H, W, 4) RGBA uint8, borders opaque, the rest half so or not.

    Args:
        detections: Tells the colours of classes.
        segments: At the picture's size.
        fill: Whether to colour more than borders.
        width: Of borders, in pixels, on either side.
    """
    numbers = segments.numbers
    colors = [color_of(detections, label) for label in segments.labels]
    table = np.array([(0, 0, 0), *(color if fill else bright(color) for color in colors)], dtype=np.uint8)
    kernel = np.ones((2 * ((width + 1) // 2) + 1,) * 2, np.uint8)
    # Beyond the picture there is no border; OpenCV's own is neither the least nor the most.
    border = cv2.dilate(numbers, kernel) != cv2.erode(numbers, kernel)
    opacity = np.where(border, 255, round(_SEGMENTS * 255) if fill else 0) * (numbers > 0)
    return np.dstack([table[numbers], opacity.astype(np.uint8)])
