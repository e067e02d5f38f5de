"""The best classes of an image: what is kept, and how they are told so that no two are taken for one another."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.classification import Classification, percent, short_name
from featmap.geometry import View
from featmap.structures import Detections

NAMES = ('tench, Tinca tinca', 'crane', 'great white shark, white shark', 'crane', 'maillot', 'maillot, tank suit', '')


def best(*scores: float, kind: str = 'softmax') -> Classification:
    return Classification.of_all(np.array(scores, np.float64), kind)


@pytest.mark.parametrize(
    ('scores', 'labels', 'kept'),
    [
        ([1.0], [0], [1.0]),
        ([0.25, 0.75], [1, 0], [0.75, 0.25]),
        ([0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1], [1, 3, 5, 0, 2], [0.2, 0.2, 0.2, 0.1, 0.1]),
    ],
)
def test_the_best_come_first_and_of_equals_the_lower_number(scores, labels, kept):
    found = best(*scores)
    assert found.labels.tolist() == labels
    assert (found.labels.dtype, found.scores.dtype, found.of) == (np.int64, np.float32, len(scores))
    np.testing.assert_allclose(found.scores, kept, rtol=1e-6)
    assert len(found) == min(len(scores), 5)


@pytest.mark.parametrize(
    ('labels', 'scores', 'more', 'said'),
    [
        ([], [], {}, 'expected 1 to 5'),
        (range(6), [0.1] * 6, {}, 'expected 1 to 5'),
        ([1, 1], [0.5, 0.4], {}, 'different'),
        ([1, 2], [0.4, 0.5], {}, 'best first'),
        ([1], [1.5], {}, 'expected 0 to 1'),
        ([1], [np.nan], {}, 'expected 0 to 1'),
        ([1, 2], [0.5], {}, 'as many whole numbers as floats'),
        ([0.5], [0.5], {}, 'as many whole numbers as floats'),
        ([1], [0.5], {'kind': 'logits'}, 'a logits classification'),
        ([-1], [0.5], {}, r'labels \[-1\]'),
        ([7], [0.5], {'of': 7}, 'of 7 classes'),
    ],
)
def test_what_is_no_classification(labels, scores, more, said):
    labels = np.array(labels, None if len(labels) else np.int64)
    with pytest.raises(ValueError, match=said):
        Classification(labels, np.array(scores, np.float32), **more)


@pytest.mark.parametrize(
    ('share', 'text'),
    [
        (0, '0.0%'), (1e-9, '<0.1%'), (0.00049, '<0.1%'), (0.0005, '0.1%'), (0.4567, '45.7%'), (0.9994, '99.9%'),
        (0.9999, '>99.9%'), (1, '100.0%'), (np.float32(0.932), '93.2%'),
    ],
)  # fmt: skip
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ('label', 'name'),
    [
        (0, 'tench'),
        (1, 'crane #1'),
        (2, 'great white shark'),
        (3, 'crane #3'),
        (4, 'maillot'),
        (5, 'maillot, tank suit'),
        (6, '#6'),
        (7, 'class 7'),
        (-1, 'class -1'),
    ],
)
def test_the_first_synonym_unless_another_class_has_it(label, name):
    assert short_name(label, NAMES) == name
    assert short_name(label, ()) == f'class {label}'


def test_no_two_classes_are_told_alike():
    assert len({short_name(label, NAMES) for label in range(len(NAMES))}) == len(NAMES)


def test_what_is_told_of_an_image():
    scores = np.zeros(7)
    scores[[1, 3, 0]] = 0.62, 0.3, 0.08
    found = Detections(classes=NAMES, kind='', classification=Classification.of_all(scores))
    assert found.count == 'crane #1 62.0%'
    assert repr(found).startswith('<Detections: crane #1 62.0%, crane #3 30.0%, tench 8.0%, ')
    assert found.classification.title == ('top 5', 'of 7 classes')
    assert found.seen(View.of((20, 20), 10)).classification is found.classification
    boxes = Detections(
        np.array([[0, 0, 5, 5]], np.float32), np.array([0.9]), np.array([0]), ('cat',), classification=best(1.0)
    )
    assert boxes.count == 'cat 100.0% · 1 detection'
    assert boxes.count_in(View((20, 20), (10, 10, 20, 20), (10, 10))) == 'cat 100.0% · 0 of 1 detection'
    assert repr(boxes) == '<Detections: cat 100.0% · 1 detection: 1 cat>'


@pytest.mark.parametrize(
    ('name', 'told'),
    [
        ('x' * 40, 'x' * 40),
        ('x' * 41, 'x' * 40 + '… #0'),
        ('two\n  lines\t', 'two lines'),
        ('a cat that sits upon a mat made of green straw', 'a cat that sits upon a mat made of green… #0'),
    ],
)
def test_a_label_stays_short_and_on_one_line(name, told):
    assert Detections(classes=(name,), kind='', classification=best(1.0)).count == f'{told} 100.0%'


def test_of_probabilities_that_need_not_add_up_it_is_said():
    assert best(0.9, 0.8, kind='sigmoid').title == ('top 2', 'each by itself (sigmoid)')
    assert best(0.6, 0.4).title == ('top 2',)
    assert repr(best(0.6, 0.4)) == '<Classification: #0 60.0%, #1 40.0%>'
