"""What is read from a file of each format, and what is refused in one line."""

from __future__ import annotations

import pytest

from featmap.ground_truth.coco import read_coco
from featmap.ground_truth.formats import read_labelme, read_voc, read_yolo
from featmap.ground_truth.labels import ImageLabels, Label, NotLabelsError

VOC = """<annotation><size><width>100</width><height>80</height><depth>3</depth></size>
<object><name>dog</name><bndbox><xmin>1</xmin><ymin>11</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object>
<object><name> traffic light </name><difficult>1</difficult>
<bndbox><xmin>5.5</xmin><ymin>6</ymin><xmax>7</xmax><ymax>8</ymax></bndbox></object></annotation>"""


def coco(**changes):
    return {
        'images': [{'id': 7, 'file_name': 'a/dog.jpg', 'width': 100, 'height': 80}, {'id': 8, 'file_name': 'cat.jpg'}],
        'categories': [{'id': 18, 'name': 'dog'}, {'id': 1, 'name': 'person'}],
        'annotations': [
            {'id': 1, 'image_id': 7, 'category_id': 18, 'bbox': [10, 20, 30, 40]},
            {'id': 2, 'image_id': 7, 'category_id': 1, 'bbox': [0, 0, 5, 5], 'iscrowd': 1},
            {'id': 3, 'image_id': 7, 'category_id': 1, 'bbox': [0, 0, 0, 5], 'iscrowd': 0},
            {'id': 4, 'image_id': 7, 'category_id': 1, 'bbox': [1, 1, 5, 5], 'ignore': 1},
        ],
        **changes,
    }


def test_coco():
    assert read_coco(coco()) == {
        'a/dog.jpg': ImageLabels(
            (Label('dog', (10, 20, 40, 60)), Label('person', (0, 0, 5, 5), crowd=True),
             Label('person', (1, 1, 6, 6), ignored=True)),
            (100, 80),
        ),
        'cat.jpg': ImageLabels(),
    }  # fmt: skip


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'annotations': {}}, 'no list of annotations'),
        ({'images': [3]}, 'no list of images'),
        ({'categories': None}, 'no list of categories'),
        ({'images': [{'id': 7}]}, 'image 7 has no file_name'),
        ({'images': [{'file_name': 'x'}]}, 'an image has no id'),
        ({'images': [{'id': 7, 'file_name': 'x', 'width': 'y', 'height': 3}]}, 'the size of image 7 is'),
        ({'annotations': [{'id': 5, 'image_id': 9, 'category_id': 1}]}, 'annotation 5 is of image 9, which'),
        ({'annotations': [{'id': 5, 'image_id': 7, 'category_id': 2}]}, 'annotation 5 is of category 2, which'),
        ({'annotations': [{'id': 5, 'image_id': [7], 'category_id': 2}]}, 'an annotation has no image_id'),
        ({'annotations': [{'id': 5, 'image_id': 7, 'category_id': 1}]}, r'the bbox of annotation 5 is \[None\]'),
        ({'annotations': [{'id': 5, 'image_id': 7, 'category_id': 1, 'bbox': [1, 2, 3]}]}, 'expected 4 numbers'),
        ({'annotations': [{'id': 5, 'image_id': 7, 'category_id': 1, 'bbox': [1, 2, 3, float('nan')]}]}, 'expected 4'),
        ({'annotations': [{'id': 5, 'image_id': 7, 'category_id': 1, 'bbox': [1, 2, 3, True]}]}, 'expected 4 numbers'),
    ],
)
def test_broken_coco(changes, message):
    with pytest.raises(NotLabelsError, match=message):
        read_coco(coco(**changes))


def test_yolo():
    text = '1 0.5 0.5 0.2 0.4\n\n 0 0.1 0.1 0.3 0.1 0.2 0.6\n'
    made = read_yolo(text)
    assert made.relative
    assert [label.kind for label in made.labels] == [1, 0]
    assert made.labels[0].box == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert made.labels[1].box == pytest.approx((0.1, 0.1, 0.3, 0.6))
    assert [label.kind for label in read_yolo(text, ('cat', 'dog')).labels] == ['dog', 'cat']
    assert read_yolo('') == ImageLabels(relative=True)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('0 0.5 0.5 0.1 0.1 0.9', 'line 1 has 6 values, as predictions with a confidence have'),
        ('0 0.5 0.5 0.1', "line 1 is '0 0.5 0.5 0.1', expected: class cx cy w h"),
        ('0 1 1 1 1\ndog 0.5 0.5 0.1 0.1', 'line 2 is .*expected 5 numbers'),
        ('0.5 0.5 0.5 0.1 0.1', 'line 1 begins with 0.5, expected the number of a class'),
        ('-1 0.5 0.5 0.1 0.1', 'line 1 begins with -1'),
        ('0 100 200 30 40', 'expected shares of the image from 0 to 1'),
        ('0 nan 0.5 0.1 0.1', 'expected 5 numbers'),
        ('2 0.5 0.5 0.1 0.1', 'line 1 is of class 2, but 2 classes are named beside it'),
    ],
)
def test_broken_yolo(text, message):
    with pytest.raises(NotLabelsError, match=message):
        read_yolo(text, ('cat', 'dog'))


def test_voc_counts_from_one():
    assert read_voc(VOC) == ImageLabels(
        (Label('dog', (0, 10, 20, 30)), Label('traffic light', (4.5, 5, 7, 8), ignored=True)), (100, 80)
    )


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('<annotation>', 'no XML'),
        ('<html/>', 'its root is <html>, expected <annotation>'),
        ('<!DOCTYPE x [<!ENTITY a "b">]><annotation/>', 'declares entities'),
        (VOC.replace('<name>dog</name>', ''), 'object 1 has no name'),
        (VOC.replace('<xmax>7</xmax>', ''), 'bndbox of object 2 is'),
        (VOC.replace('100', 'wide'), 'the size of the image is'),
    ],
)
def test_broken_voc(text, message):
    with pytest.raises(NotLabelsError, match=message):
        read_voc(text)


def test_labelme():
    shapes = [
        {'label': 'dog', 'shape_type': 'rectangle', 'points': [[30, 40], [10, 20]]},
        {'label': 'cat', 'shape_type': 'polygon', 'points': [[1, 1], [5, 2], [3, 9]]},
        {'label': 'ball', 'shape_type': 'circle', 'points': [[50, 50], [53, 54]]},
        {'label': 'eye', 'shape_type': 'point', 'points': [[2, 2]]},
    ]
    made = read_labelme({'shapes': shapes, 'imageWidth': 100, 'imageHeight': 80})
    assert made == ImageLabels(
        (Label('dog', (10, 20, 30, 40)), Label('cat', (1, 1, 5, 9)), Label('ball', (45, 45, 55, 55))), (100, 80)
    )


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ({'label': 'dog'}, 'shape 1 has no label or no points'),
        (3, 'shape 1 has no label'),
        ({'label': 'dog', 'points': 3}, 'the points of shape 1 are no list'),
        ({'label': 'dog', 'points': [[1, 2], [3]]}, 'a point of shape 1 is'),
    ],
)
def test_broken_labelme(shape, message):
    with pytest.raises(NotLabelsError, match=message):
        read_labelme({'shapes': [shape]})
