"""Finding out what a file or folder of ground truth is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from featmap.errors import SourceError, first_line
from featmap.ground_truth.coco import is_coco, read_coco
from featmap.ground_truth.formats import is_labelme, read_labelme, read_voc, read_yolo
from featmap.ground_truth.labels import ImageLabels, NotLabelsError
from featmap.ground_truth.paths import PathIndex
from featmap.ground_truth.source import TruthSource

_EXPECTED = (
    "expected COCO's JSON, YOLO's .txt, Pascal VOC's .xml or LabelMe's .json of one image, or a folder of such files"
)
_SUFFIXES = ('.txt', '.xml', '.json')
_CLASS_LISTS = ('classes.txt', 'obj.names', 'data.yaml', 'data.yml', 'dataset.yaml', 'dataset.yml')
_LARGEST = 2**30  # bytes of a file; labels of COCO's training images take 450 MB


def open_ground_truth(path: str | os.PathLike[str], classes: Sequence[str] = ()) -> TruthSource:
    """Ground truth from a file or a folder, put into the classes of a model by their names.

    A file is COCO's JSON, or YOLO's ``.txt``, Pascal VOC's ``.xml`` or LabelMe's ``.json`` for one image. A folder
    holds one COCO file, or a file for each image, in it or below it, which belongs to the image whose path ends most
    like its own (``labels/a/dog.txt`` to ``images/a/dog.jpg``). Numbers in YOLO's files are named by a ``classes.txt``
    or ``data.yaml`` in the folder or up to two above, else they are the model's own; an image without a file of YOLO's
    has no objects, as is the custom there.

    Raises:
        SourceError: there is nothing, or nothing of these formats.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise SourceError(f'the ground truth {str(path)!r} does not exist; {_EXPECTED}')
    if path.is_dir():
        return TruthSource(_folder(path), str(path), classes)
    content = _json(path) if path.suffix.lower() == '.json' else None
    labels = _of_coco(path, content) if is_coco(content) else _of_one_image(path, content)
    return TruthSource(labels, str(path), classes)


def _of_coco(path: Path, content: Any) -> Callable[[str], ImageLabels]:
    images = _checked(path, lambda: read_coco(content))
    index = PathIndex(images, str(path), with_suffix=True)

    def find(location: str) -> ImageLabels:
        key = index.nearest(location)
        if key is None:
            raise _none_for(location, path)
        return images[key]

    return find


def _of_one_image(path: Path, content: Any) -> Callable[[str], ImageLabels]:
    labels = _read_file(path, _class_names(path.parent) if path.suffix.lower() == '.txt' else (), content)
    seen: set[str] = set()

    def find(location: str) -> ImageLabels:
        seen.add(location)
        if len(seen) > 1:
            raise SourceError(f'the ground truth {str(path)!r} is of one image; for several give the folder')
        return labels

    return find


def _folder(folder: Path) -> Callable[[str], ImageLabels]:
    by_suffix: dict[str, list[Path]] = {suffix: [] for suffix in _SUFFIXES}
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() in by_suffix and not path.name.startswith('.') and path.name not in _CLASS_LISTS:
            by_suffix[path.suffix.lower()].append(path)
    lists = by_suffix['.json']
    if lists and is_coco(content := _json(lists[0])):
        if len(lists) > 1:
            raise SourceError(f'the ground truth {str(folder)!r} holds {len(lists)} JSON files: name one of them')
        return _of_coco(lists[0], content)
    suffix = max(_SUFFIXES, key=lambda each: len(by_suffix[each]))
    files = {path.relative_to(folder).as_posix(): path for path in by_suffix[suffix]}
    if not files:
        raise SourceError(f'the ground truth {str(folder)!r} holds no labels; {_EXPECTED}')
    index = PathIndex(files, str(folder), with_suffix=False)
    names = _class_names(folder) or _class_names(next(iter(files.values())).parent) if suffix == '.txt' else ()

    def find(location: str) -> ImageLabels:
        key = index.nearest(location)
        if key is not None:
            return _read_file(files[key], names)
        if suffix == '.txt' and location:
            return ImageLabels(relative=True)
        raise _none_for(location, folder)

    return find


def _none_for(location: str, path: Path) -> SourceError:
    if not location:
        return SourceError(
            f'the ground truth {str(path)!r} is for images by their names, and standard input or '
            'an array has none: give a path'
        )
    return SourceError(f'the ground truth {str(path)!r} has nothing for {location!r}; images are told by their names')


def _read_file(path: Path, names: Sequence[str], content: Any = None) -> ImageLabels:
    """The labels in a file for one image."""
    suffix = path.suffix.lower()
    if suffix == '.txt':
        return _checked(path, lambda: read_yolo(_text(path), names))
    if suffix == '.xml':
        return _checked(path, lambda: read_voc(_text(path)))
    if suffix == '.json':
        content = _json(path) if content is None else content
        if is_labelme(content):
            return _checked(path, lambda: read_labelme(content))
    raise SourceError(f'the ground truth {str(path)!r} is of no known format; {_EXPECTED}')


def _checked(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except NotLabelsError as error:
        raise SourceError(f'the ground truth {str(path)!r} cannot be read: {error}') from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise SourceError(f'the ground truth {str(path)!r} is larger than {_LARGEST >> 20} MB; give a part of it')
        return path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'it is no text'
        raise SourceError(f'the ground truth {str(path)!r} cannot be read: {reason}; {_EXPECTED}') from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise SourceError(f'the ground truth {str(path)!r} is no JSON: {first_line(error)}') from error


def _class_names(folder: Path) -> tuple[str, ...]:
    """The classes that a list in the folder, or up to two above, names by number; empty where there is none."""
    for place in (folder, *list(folder.resolve().parents)[:2]):
        for name in _CLASS_LISTS:
            if (place / name).is_file():
                return _listed(place / name)
    return ()


def _listed(path: Path) -> tuple[str, ...]:
    text = _text(path)
    if path.suffix.lower() not in ('.yaml', '.yml'):
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SourceError(f'the list of classes {str(path)!r} is no YAML: {first_line(error)}') from error
    names = content.get('names') if isinstance(content, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, (str, int)) for name in names):
        raise SourceError(f'the list of classes {str(path)!r} has no names, a list or numbers with names')
    return tuple(map(str, names))
