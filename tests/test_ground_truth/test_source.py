"""Which labels belong to an image, and how they come into the model's classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from featmap.errors import SourceError
from featmap.ground_truth import open_ground_truth
from featmap.ground_truth.paths import PathIndex
from tests.test_ground_truth.test_formats import VOC, coco

CLASSES = ('person', 'Traffic Light', 'dog')
SHAPE = (80, 100)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace('__', '/').replace('_txt', '.txt').replace('_xml', '.xml').replace(
            '_json', '.json'
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
    return folder


def boxes(source, location, shape=SHAPE) -> list[tuple]:
    made = source.of(location, shape)
    assert made.boxes.dtype == np.float32
    return [(int(label), *box.astype(float).round(3)) for label, box in zip(made.labels, made.boxes)]


def test_coco_by_class_and_image_name(tmp_path):
    source = open_ground_truth(write(tmp_path, gt_json=json.dumps(coco())) / 'gt.json', CLASSES)
    for location in ('/data/a/dog.jpg', 'dog.jpg', 'https://x.org/a/dog.jpg?size=3', r'C:\data\a\dog.jpg'):
        made = source.of(location, SHAPE)
        assert made.labels.tolist() == [2, 0, 0]
        assert made.crowd.tolist() == [False, True, False]
        assert made.ignored.tolist() == [False, False, True]
    assert len(source.of('cat.jpg', SHAPE)) == 0
    assert source.note == ''
    with pytest.raises(SourceError, match=r"gt\.json' has nothing for 'cow\.jpg'"):
        source.of('cow.jpg', SHAPE)
    with pytest.raises(
        SourceError, match=r'for an image of 100x80, but .* has 80x100; it was labelled before it was tur'
    ):
        source.of('dog.jpg', (100, 80))
    with pytest.raises(SourceError, match=r'has 50x40$'):
        source.of('dog.jpg', (40, 50))


def test_classes_that_the_model_does_not_have(tmp_path):
    path = write(tmp_path, gt_json=json.dumps(coco())) / 'gt.json'
    source = open_ground_truth(path, ('dog',))
    made = source.of('a/dog.jpg', SHAPE)
    assert (made.labels.tolist(), made.left_out) == ([0], 2)
    assert source.note == '2 boxes of the ground truth are of a class that the model does not have: person'
    assert open_ground_truth(path, ('DOG', 'dog')).of('dog.jpg', SHAPE).labels.tolist() == [1]


def test_yolo_of_one_image(tmp_path):
    path = write(tmp_path, dog_txt='2 0.5 0.5 0.2 0.4\n5 0.1 0.1 0.1 0.1') / 'dog.txt'
    source = open_ground_truth(path, CLASSES)
    assert boxes(source, 'dog.jpg') == [(2, 40, 24, 60, 56)]
    assert source.note.endswith('the model does not have: number 5')
    assert boxes(source, 'dog.jpg', (8, 10)) == [(2, 4, 2.4, 6, 5.6)]
    with pytest.raises(SourceError, match='is of one image; for several give the folder'):
        source.of('cat.jpg', SHAPE)


def test_a_folder_of_yolo(tmp_path):
    write(tmp_path, labels__a__dog_txt='1 0.5 0.5 0.2 0.4', labels__b__dog_txt='0 0.5 0.5 1 1', data__x_txt='')
    (tmp_path / 'data.yaml').write_text('names: {0: traffic_light, 1: dog}')
    source = open_ground_truth(tmp_path / 'labels', CLASSES)
    assert boxes(source, '/set/images/a/dog.jpg') == [(2, 40, 24, 60, 56)]
    assert boxes(source, '/set/images/b/dog.png') == [(1, 0, 0, 100, 80)]
    assert boxes(source, '/set/images/b/nothing.png') == []
    with pytest.raises(SourceError, match=r"2 entries that 'dog\.jpg' may be: a/dog\.txt, b/dog\.txt"):
        source.of('dog.jpg', SHAPE)
    assert boxes(open_ground_truth(tmp_path, CLASSES), '/set/images/b/dog.jpg') == [(1, 0, 0, 100, 80)]


def test_classes_txt_beside_labels(tmp_path):
    write(tmp_path, dog_txt='1 0.5 0.5 0.2 0.4', classes_txt='zebra\ndog\n')
    assert boxes(open_ground_truth(tmp_path, CLASSES), 'dog.jpg') == [(2, 40, 24, 60, 56)]
    assert boxes(open_ground_truth(tmp_path / 'dog.txt', CLASSES), 'dog.jpg') == [(2, 40, 24, 60, 56)]


def test_folders_of_voc_and_labelme_and_coco(tmp_path):
    voc = write(tmp_path / 'voc', Annotations__dog_xml=VOC, readme_txt='hello')
    made = open_ground_truth(write(voc, Annotations__cat_xml=VOC), CLASSES).of('dog.jpg', SHAPE)
    assert (made.labels.tolist(), made.ignored.tolist()) == ([2, 1], [False, True])
    shape = {'label': 'dog', 'points': [[30, 40], [10, 20]]}
    labelme = write(tmp_path / 'labelme', dog_json=json.dumps({'shapes': [shape]}))
    assert boxes(open_ground_truth(labelme, CLASSES), 'x/dog.jpg') == [(2, 10, 20, 30, 40)]
    assert boxes(open_ground_truth(labelme / 'dog.json', CLASSES), 'x/any.jpg') == [(2, 10, 20, 30, 40)]
    with pytest.raises(SourceError, match="nothing for 'cat"):
        open_ground_truth(labelme, CLASSES).of('cat.jpg', SHAPE)
    whole = write(tmp_path / 'coco', _annotations_json=json.dumps(coco()), readme_txt='1\n2', notes_txt='')
    assert len(open_ground_truth(whole, CLASSES).of('a/dog.jpg', SHAPE)) == 3
    write(whole, annotations__train_json=json.dumps(coco()))
    with pytest.raises(SourceError, match='holds 2 JSON files: name one of them'):
        open_ground_truth(whole, CLASSES)


def test_boxes_end_at_the_image(tmp_path):
    path = write(tmp_path, dog_txt='0 0.05 0.5 0.2 1') / 'dog.txt'
    assert boxes(open_ground_truth(path, CLASSES), 'dog.jpg') == [(0, 0, 0, 15, 80)]


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('gt.json', '{', 'is no JSON'),
        ('gt.json', '[' * 100_000, 'is no JSON'),
        ('gt.json', '[1, 2]', 'of no known format; expected COCO'),
        ('gt.json', '{"images": [], "annotations": 3, "categories": []}', 'it has no list of annotations'),
        ('gt.xml', '<a/>', 'cannot be read: its root is <a>'),
        ('gt.txt', 'hello', "cannot be read: line 1 is 'hello'"),
        ('gt.csv', 'a,b', 'of no known format'),
        ('gt.txt', b'\xff\xfe\x00', 'cannot be read: it is no text'),
    ],
)  # fmt: skip
def test_what_is_no_ground_truth(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceError, match=message) as caught:
        open_ground_truth(tmp_path / name, CLASSES)
    assert '\n' not in str(caught.value)


def test_nothing_there(tmp_path):
    with pytest.raises(SourceError, match=r"'.*nowhere' does not exist; expected COCO"):
        open_ground_truth(tmp_path / 'nowhere', CLASSES)
    with pytest.raises(SourceError, match='holds no labels; expected COCO'):
        open_ground_truth(tmp_path, CLASSES)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('names: 3', 'has no names'),
        ('names: [', 'is no YAML'),
        ('names: {0: a, 2: b}', 'has no names'),
        ('names: [[a]]', 'has no names'),
    ],
)
def test_lists_of_classes_that_are_none(tmp_path, text, message):
    write(tmp_path, dog_txt='0 0.5 0.5 0.2 0.4')
    (tmp_path / 'data.yaml').write_text(text)
    with pytest.raises(SourceError, match=message):
        open_ground_truth(tmp_path / 'dog.txt', CLASSES)


def test_the_path_that_ends_most_alike():
    index = PathIndex(['a/1.jpg', 'b/1.jpg', 'c/b/1.jpg', 'images/v1.2.jpg'], 'x', with_suffix=True)
    assert index.nearest('/data/a/1.jpg') == 'a/1.jpg'
    assert index.nearest('/data/c/b/1.jpg') == 'c/b/1.jpg'
    assert index.nearest('/labels/v1.2.jpg') == 'images/v1.2.jpg'
    assert index.nearest('v1.jpg') is None
    with pytest.raises(SourceError, match='2 entries'):
        index.nearest('/data/x/b/1.jpg')
    with pytest.raises(SourceError, match='3 entries'):
        index.nearest('1.jpg')
