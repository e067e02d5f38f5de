"""Ground truth in every format, for the search for files that a reader cannot take."""

from __future__ import annotations

import json
import random
from pathlib import Path

from featmap.ground_truth import open_ground_truth
from tests.mutating import mutate_bytes, mutate_value

Files = dict[str, bytes]

_COCO = {
    'images': [{'id': 1, 'file_name': 'a.jpg', 'width': 100, 'height': 60}],
    'categories': [{'id': 3, 'name': 'dog'}, {'id': 4, 'name': 'cat'}],
    'annotations': [
        {'id': 1, 'image_id': 1, 'category_id': 3, 'bbox': [1, 2, 30, 40], 'iscrowd': 0, 'area': 1200},
        {'id': 2, 'image_id': 1, 'category_id': 4, 'bbox': [5.5, 2, 0, 4], 'iscrowd': 1},
    ],
}
_LABELME = {
    'shapes': [
        {'label': 'dog', 'points': [[1, 2], [30, 40]], 'shape_type': 'rectangle'},
        {'label': 'cat', 'points': [[50, 20], [60, 20]], 'shape_type': 'circle'},
    ],
    'imageWidth': 100,
    'imageHeight': 60,
}
_VOC = (
    '<annotation><size><width>100</width><height>60</height></size><object><name>dog</name><difficult>1</difficult>'
    '<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>'
)
_LAUGHS = 'a: &a [x, x]\n' + ''.join(f'{new}: &{new} [*{old}, *{old}]\n' for old, new in zip('abcdefgh', 'bcdefghi'))


def labels(folder: Path) -> dict[str, Files]:
    """A file of each format."""
    yolo = b'0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.2 0.1 0.2 0.3\n'
    return {
        'coco': {'a.json': json.dumps(_COCO).encode()},
        'labelme': {'a.json': json.dumps(_LABELME).encode()},
        'voc': {'a.xml': _VOC.encode()},
        'yolo': {'a.txt': yolo, 'data.yaml': b'names:\n  0: dog\n  1: cat\n'},
        'yolo of a list': {'a.txt': yolo, 'classes.txt': b'dog\ncat\n'},
        'classes within classes': {'a.txt': yolo, 'data.yaml': f'{_LAUGHS}names: *i\n'.encode()},
        'entities': {'a.xml': b'<!DOCTYPE a [<!ENTITY x "xxxx">]><annotation>&x;</annotation>'},
        'deep xml': {'a.xml': b'<annotation>' + b'<a>' * 50_000},
        'deep json': {'a.json': b'[' * 100_000},
    }


def mutate_labels(rng: random.Random, files: Files) -> Files:
    """Values of JSON, bytes of all else."""
    name = rng.choice(list(files))
    if name.endswith('.json') and rng.random() < 0.8:
        return {**files, name: json.dumps(mutate_value(rng, json.loads(files[name]))).encode()}
    return {**files, name: mutate_bytes(rng, files[name])}


def read_labels(folder: Path) -> None:
    """Put into the classes of a model, for one image."""
    source = open_ground_truth(next(path for path in folder.glob('a.*')), ('dog', 'cat'))
    source.of('a.jpg', (60, 100))
    assert len(source.note) < 100_000
