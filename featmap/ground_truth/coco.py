"""Labels of many images in one JSON file of COCO's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featmap.ground_truth.labels import ImageLabels, Label, NotLabelsError, numbers


def is_coco(content: Any) -> bool:
    """Whether a JSON file's content is of COCO's format, or meant to be."""
    return isinstance(content, Mapping) and 'images' in content and 'annotations' in content


def read_coco(content: Mapping[str, Any]) -> dict[str, ImageLabels]:
    """The labels of each image by its ``file_name``. Boxes without an area, which COCO itself has, are left out."""
    for part in ('images', 'annotations', 'categories'):
        if not isinstance(content.get(part), list) or not all(isinstance(item, Mapping) for item in content[part]):
            raise NotLabelsError(f'it has no list of {part}')
    names = {_key(item, 'id', 'a category'): str(item.get('name')) for item in content['categories']}
    of_image: dict[Any, list[Label]] = {}
    sizes: dict[Any, tuple[int, int] | None] = {}
    files: dict[Any, str] = {}
    for image in content['images']:
        number = _key(image, 'id', 'an image')
        if not isinstance(image.get('file_name'), str):
            raise NotLabelsError(f'image {number} has no file_name')
        of_image[number], files[number], sizes[number] = [], image['file_name'], None
        if image.get('width') and image.get('height'):
            width, height = numbers([image['width'], image['height']], 2, f'the size of image {number}')
            sizes[number] = int(width), int(height)
    for item in content['annotations']:
        number = item.get('id', '?')
        image, kind = _key(item, 'image_id', 'an annotation'), _key(item, 'category_id', 'an annotation')
        if image not in of_image or kind not in names:
            missing = f'image {image}' if image not in of_image else f'category {kind}'
            raise NotLabelsError(f'annotation {number} is of {missing}, which the file does not have')
        left, top, width, height = numbers(item.get('bbox'), 4, f'the bbox of annotation {number}')
        if width > 0 and height > 0:
            box = (left, top, left + width, top + height)
            crowd, ignored = bool(item.get('iscrowd')), bool(item.get('ignore'))
            of_image[image].append(Label(names[kind], box, crowd, ignored))
    return {files[number]: ImageLabels(tuple(labels), sizes[number]) for number, labels in of_image.items()}


def _key(item: Mapping[str, Any], name: str, what: str) -> int | str:
    value = item.get(name)
    if not isinstance(value, (int, str)):
        raise NotLabelsError(f'{what} has no {name}')
    return value
