"""One image's labels from one file: YOLO's text, Pascal VOC's XML, LabelMe's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from featmap.errors import first_line
from featmap.ground_truth.labels import ImageLabels, Label, NotLabelsError, around, numbers

_SLACK = 1e-3  # rounding of shares that touch the edge


def read_yolo(text: str, names: Sequence[str] = ()) -> ImageLabels:
    """Lines of ``class cx cy w h``, or ``class x1 y1 x2 y2 x3 y3 …`` for a polygon, in shares of the image's sides.

    Args:
        text: The file.
        names: The classes by number, where they are known; else the numbers are the model's.
    """
    labels = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f'line {number}'
        if len(words) == 6:
            raise NotLabelsError(f'{where} has 6 values, as predictions with a confidence have; labels have 5')
        if len(words) < 5 or len(words) % 2 == 0:
            raise NotLabelsError(f'{where} is {line[:60]!r}, expected: class cx cy w h')
        kind, *shares = numbers(words, len(words), where)
        if kind != int(kind) or kind < 0:
            raise NotLabelsError(f'{where} begins with {words[0]}, expected the number of a class')
        if min(shares) < -_SLACK or max(shares) > 1 + _SLACK:
            raise NotLabelsError(f'{where} is {line[:60]!r}, expected shares of the image from 0 to 1')
        if len(shares) == 4:
            x, y, width, height = shares
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        else:
            box = around(zip(shares[::2], shares[1::2]))
        if names and int(kind) >= len(names):
            raise NotLabelsError(f'{where} is of class {int(kind)}, but {len(names)} classes are named beside it')
        labels.append(Label(names[int(kind)] if names else int(kind), box))
    return ImageLabels(tuple(labels), relative=True)


def read_voc(text: str) -> ImageLabels:
    """An ``annotation`` of Pascal VOC. Its pixels are counted from 1; boxes that are ``difficult`` are ignored."""
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise NotLabelsError('it declares entities, which labels have no use for')
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, RecursionError, ValueError) as error:
        raise NotLabelsError(f'it is no XML: {first_line(error)}') from error
    if root.tag != 'annotation':
        raise NotLabelsError(f'its root is <{root.tag[:40]}>, expected <annotation>')
    labels = []
    for number, item in enumerate(root.iter('object'), 1):
        name = (item.findtext('name') or '').strip()
        if not name:
            raise NotLabelsError(f'object {number} has no name')
        sides = [item.findtext(f'bndbox/{side}') for side in ('xmin', 'ymin', 'xmax', 'ymax')]
        left, top, right, bottom = numbers(sides, 4, f'bndbox of object {number}')
        difficult = (item.findtext('difficult') or '').strip() == '1'
        labels.append(Label(name, (left - 1, top - 1, right, bottom), ignored=difficult))
    return ImageLabels(tuple(labels), _size([root.findtext('size/width'), root.findtext('size/height')]))


def is_labelme(content: Any) -> bool:
    """Whether a JSON file's content is of LabelMe."""
    return isinstance(content, dict) and isinstance(content.get('shapes'), list)


def read_labelme(content: dict[str, Any]) -> ImageLabels:
    """The box around each shape of a file of LabelMe; shapes of fewer than two points are left out."""
    labels = []
    for number, shape in enumerate(content['shapes'], 1):
        if not isinstance(shape, dict) or not isinstance(shape.get('label'), str) or 'points' not in shape:
            raise NotLabelsError(f'shape {number} has no label or no points')
        if not isinstance(shape['points'], list):
            raise NotLabelsError(f'the points of shape {number} are no list')
        points = [numbers(point, 2, f'a point of shape {number}') for point in shape['points']]
        if shape.get('shape_type') == 'circle' and len(points) == 2:  # its centre and a point on it
            (x, y), (to_x, to_y) = points
            radius = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
            points = [(x - radius, y - radius), (x + radius, y + radius)]
        if len(points) > 1:
            labels.append(Label(shape['label'], around((point[0], point[1]) for point in points)))
    return ImageLabels(tuple(labels), _size([content.get('imageWidth'), content.get('imageHeight')]))


def _size(sides: list[Any]) -> tuple[int, int] | None:
    if None in sides:
        return None
    width, height = numbers(sides, 2, 'the size of the image')
    return (int(width), int(height)) if width > 0 and height > 0 else None
