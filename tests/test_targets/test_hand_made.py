"""Targets of hand-made answers: numbers that can be followed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from featmap.answers import Answers
from featmap.errors import OptionError, TargetError
from featmap.geometry import ImageGeometry
from featmap.masks import Segments
from featmap.structures import Detections
from featmap.targets import Chosen, Scene, choose, parse_target
from featmap.targets.chosen import box_iou
from featmap.targets.names import class_number

GEOMETRY = ImageGeometry((40, 60), (40, 60))
CLASSES = ('dog', 'cat', 'hot dog')


def boxes(rows: list[tuple[Any, ...]], shown: list[int] | None = None) -> Answers:
    """Answers of (x1, y1, x2, y2, score, label), inside a graph."""
    table = torch.tensor([row[:5] for row in rows], dtype=torch.float32).reshape(-1, 5).requires_grad_() * 1
    labels = torch.tensor([row[5] for row in rows], dtype=torch.long)
    picked = torch.tensor(range(len(rows)) if shown is None else shown, dtype=torch.long)
    return Answers('boxes', table[:, :4], table[:, 4], labels, picked, classes=CLASSES)


def classes(logits: list[float], activation: str = 'softmax') -> Answers:
    made = torch.tensor(logits).requires_grad_() * 1
    return Answers('classes', logits=made, activation=activation, classes=CLASSES)


def planes(values: Tensor, **more: Any) -> Answers:
    return Answers('segments', planes=values.requires_grad_() * 1, classes=CLASSES, **more)


def one(answers: Answers, scene: dict[str, Any] | None = None, **asked: Any) -> Chosen:
    (chosen,) = choose(parse_target(**asked), Scene(answers, GEOMETRY, **(scene or {})))
    return chosen


def test_iou() -> None:
    box = torch.tensor([0.0, 0, 10, 10])
    others = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [0, 0, 0, 0], [2, 2, 4, 4]])
    assert box_iou(box, others).tolist() == pytest.approx([1, 1 / 3, 0, 0, 0.04])
    assert box_iou(box, others[:0]).tolist() == []


def test_a_detection_without_a_known_head() -> None:
    answers = boxes([(0, 0, 10, 10, 0.5, 0), (20, 0, 30, 10, 0.8, 1)])
    chosen = one(answers, explain='top')
    assert float(chosen.scalar.detach()) == pytest.approx(math.log(0.8))
    assert chosen.title == 'box 1 · cat 0.80'
    assert chosen.box.tolist() == [20, 0, 30, 10]
    assert chosen.notes == ('not traced: it is not known which layer puts out raw predictions',)
    later = boxes([(20, 0, 30, 10, 0.9, 0), (20, 0, 30, 20, 0.6, 1), (20, 0, 30, 10, 0.2, 1)])
    assert chosen.measure([later, boxes([]), answers]).tolist() == pytest.approx([0.3, 0, 0.8])


def test_only_what_is_shown_has_a_rank() -> None:
    answers = boxes([(0, 0, 10, 10, 0.1, 0), (20, 0, 30, 10, 0.8, 1)], shown=[1])
    assert one(answers, explain='box:0').class_index == 1
    with pytest.raises(TargetError, match="explain='box:1': the image has only box:0; a lower score_thr"):
        one(answers, explain='box:1')


def test_nothing_above_the_threshold_says_which_would_show_something() -> None:
    raw = boxes([(0, 0, 10, 10, 0.2149, 0), (0, 0, 10, 10, 0.05, 1)])
    with pytest.raises(TargetError) as error:
        one(boxes([]), {'raw': lambda: raw}, explain='boxes')
    assert str(error.value) == (
        "explain='boxes': nothing is found above 0.3; the best there is, dog, has 0.215: score_thr=0.21 shows it"
    )
    found = boxes([(0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.7, 0)])
    with pytest.raises(TargetError) as error:
        one(found, {'raw': lambda: raw}, explain='class:cat')
    assert str(error.value) == (
        "explain='class:cat': no cat is found above 0.3, but dog ×2; the best there is, cat, has 0.05: "
        'score_thr=0.05 shows it'
    )
    with pytest.raises(TargetError, match='not even the raw predictions have one'):
        one(boxes([]), {'raw': lambda: boxes([])}, explain='top')
    with pytest.raises(TargetError, match=r'no cat is found above 0\.3, and nothing else; the best'):
        one(boxes([]), {'raw': lambda: raw}, explain='class:cat')


def test_no_threshold_is_named_that_would_not_show_it() -> None:
    raw = boxes([(0, 0, 10, 10, 0.04, 0), (0, 0, 10, 10, 0.6, 1)])
    with pytest.raises(TargetError, match=r'the model itself drops what is below 0\.05, explain_box explains it'):
        one(boxes([]), {'raw': lambda: raw, 'own_score_thr': 0.05}, explain='class:dog')
    with pytest.raises(TargetError, match=r'cat, has 0\.6: the model suppressed it, explain_box explains it where'):
        one(boxes([]), {'raw': lambda: raw, 'own_score_thr': 0.05}, explain='class:cat')


def test_scores_that_have_no_gradient() -> None:
    answers = boxes([(0, 0, 10, 10, 0.5, 0)])
    blocked = Answers('boxes', answers.boxes.detach(), answers.scores.detach(), answers.labels, answers.shown)
    with pytest.raises(TargetError, match=r'something in the model blocks it .*; methods that need no gradient work'):
        one(blocked, explain='box:0')
    with pytest.raises(
        TargetError, match=r'has no gradient in side\.conv: it does not depend on that, or something in'
    ):
        one(blocked, {'layers': ('side.conv',)}, explain='box:0')
    assert one(blocked, {'gradients': False}, explain='box:0').score == 0.5


def test_an_improbable_class_has_a_score_that_is_not_zero() -> None:
    assert one(classes([6.0, 0, 0]), explain='class:cat').label == 'cat · 0.002'
    assert one(classes([6.0, 0, 0]), explain='class:dog').label == 'dog · 1.00'


@pytest.mark.parametrize(
    ('final', 'score', 'notes'),
    [
        ([], 0.11, ('score 0.11 < 0.3',)),
        ([(2, 0, 12, 10, 0.9, 0)], 0.5, ('suppressed by box 0, IoU 0.67',)),
        ([(30, 0, 40, 10, 0.9, 0), (2, 0, 12, 10, 0.9, 1)], 0.5, ('suppressed by box 1 (cat), IoU 0.67',)),
        ([(30, 0, 40, 10, 0.9, 0)], 0.5, ('not among the detections, though none overlaps: the model keeps so many',)),
        ([(30, 0, 40, 10, 0.9, 0), (0, 0, 10, 10, 0.5, 0)], 0.5, ('not missed: it is box 1',)),
    ],
)  # fmt: skip
def test_a_missed_object_and_what_became_of_it(final: Any, score: float, notes: tuple[str, ...]) -> None:
    raw = boxes([(30, 0, 40, 10, 0.9, 0), (0, 0, 10, 10, score, 0), (0, 0, 10, 9, 0.02, 0), (0, 0, 10, 10, 0.01, 1)])
    chosen = one(raw, {'final': boxes(final)}, box='0,0,10,8', box_class='dog')
    assert chosen.title == f'missed dog · {score:.2f}'
    assert float(chosen.scalar.detach()) == pytest.approx(math.log(score))
    assert chosen.box.tolist() == [0, 0, 10, 10]
    assert chosen.index is None
    ranked = (
        f'score {score:g}, rank 2 of 3 raw predictions of its class',
        'IoU 0.80 with the box that was asked about',
    )
    assert chosen.notes[:-1] == (*ranked, *notes)


def test_a_missed_object_that_is_seen_as_something_else() -> None:
    raw = boxes([(0, 0, 10, 10, 0.1, 0), (0, 0, 10, 9, 0.62, 1)])
    assert 'cat 0.62 there' in one(raw, box='0,0,10,10', box_class='dog').notes
    assert one(raw, box='0,0,10,10').class_index == 1  # the class that fits best


def test_a_missed_object_where_next_to_nothing_is_predicted() -> None:
    raw = boxes([(0, 0, 10, 10, 0.1, 0)])
    notes = one(raw, box='8,8,30,30', box_class='dog').notes
    assert notes[2] == 'no prediction of dog overlaps more than 0.2'
    with pytest.raises(TargetError, match=r'of cat overlaps it at all; the best of another, dog, has 0\.10, IoU 1'):
        one(raw, box='0,0,10,10', box_class='cat')
    with pytest.raises(TargetError, match='lies outside of the image of 60×40 pixels'):
        one(raw, box='60,0,70,10', box_class='dog')
    with pytest.raises(TargetError, match='no such class; it knows dog, cat, hot dog'):
        one(raw, box='0,0,10,10', box_class='dgo')


@pytest.mark.parametrize(
    ('name', 'number'),
    [('dog', 0), ('Dog', 0), ('1', 1), ('crane, bird', 2), ('Grus', 3), ('tench', 4), ('2', 2)],
)
def test_a_class_by_name_synonym_or_number(name: str, number: int) -> None:
    assert class_number(name, ('dog', 'cat', 'crane, bird', 'crane, Grus', 'tench, Tinca tinca')) == number


def test_classes_that_are_none_or_several() -> None:
    with pytest.raises(TargetError, match="2 classes are called 'crane': class:0, class:1"):
        class_number('crane', ('crane, bird', 'crane, machine'))
    with pytest.raises(TargetError, match='3 classes, 0 to 2'):
        class_number('3', (), 3)
    with pytest.raises(TargetError, match='names of the classes are not known'):
        class_number('dog', (), 3)


def test_a_class_of_a_whole_image() -> None:
    answers = classes([1.0, 3.0, 0.0])
    chosen = one(answers, explain='top')
    assert chosen.title == f'cat · {math.exp(3) / (math.e + math.exp(3) + 1):.2f}'
    assert float(chosen.scalar.detach()) == 3
    again = one(answers, explain='class:dog')
    assert float(again.scalar.detach()) == 1
    assert again.measure([classes([0.0, 0.0, 0.0]), answers]).tolist() == pytest.approx([1 / 3, again.score])
    assert one(classes([1.0, 3.0, 0.0], 'sigmoid'), explain='class:2').score == 0.5


def test_one_class_rather_than_another() -> None:
    chosen = one(classes([1.0, 3.0, 0.0]), explain='class:dog-class:cat')
    assert chosen.name == 'dog rather than cat'
    assert float(chosen.scalar.detach()) == -2
    assert chosen.score == pytest.approx(math.e / (math.e + math.exp(3)))
    with pytest.raises(TargetError, match='is one class twice'):
        one(classes([1.0, 3.0, 0.0]), explain='class:dog-class:0')


@pytest.mark.parametrize(
    ('asked', 'said'),
    [
        (
            {'explain': 'box:0'},
            "is about detections, and this model gives classes of a whole image; explain='class:NAME'",
        ),
        ({'explain': 'top', 'part': 'left'}, 'is about detections, which this model does not give'),
        ({'explain': 'top', 'at': '3,3'}, 'says where in a segmentation, and this model gives classes of the whole'),
    ],
)
def test_what_is_about_detections_or_pixels(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(TargetError, match=said):
        one(classes([0.0, 1.0, 2.0]), **asked)


def two_regions() -> Tensor:
    """(3, 4, 6) planes, of 10 pixels a cell: dog in the left half, cat in the right, one cell of hot dog."""
    values = torch.zeros(3, 4, 6)
    values[0, :, :3] = 2
    values[1, :, 3:] = 4
    values[2, 0, 5] = 5
    return values


def test_the_region_where_a_class_is_predicted() -> None:
    chosen = one(planes(two_regions()), explain='class:cat')
    assert chosen.region.shape == (40, 60)
    assert chosen.region.sum() == 11 * 100
    assert not chosen.region[:10, 50:].any()
    assert not chosen.region[:, :30].any()
    assert float(chosen.scalar.detach()) == 4
    high = math.exp(4) / (math.exp(4) + 2)
    assert chosen.score == pytest.approx(high)
    assert chosen.title == f'cat · in its region {high:.2f}'
    assert one(planes(two_regions()), explain='top').class_index == 0  # 12 cells against 11
    rather = one(planes(two_regions()), explain='class:cat-class:dog')
    assert rather.name == 'cat rather than dog'
    assert rather.measure([planes(torch.zeros(3, 4, 6))]).tolist() == [0.5]


def test_the_region_is_what_is_drawn_where_that_is_known() -> None:
    numbers = np.zeros((40, 60), np.uint8)
    numbers[:10, :10] = 1
    drawn = Detections(segments=Segments(numbers, (1,)))
    chosen = one(planes(two_regions(), detections=drawn), explain='top')
    assert chosen.class_index == 1
    assert chosen.region.sum() == 100
    assert float(chosen.scalar.detach()) == 0


def test_a_pixel_of_a_segmentation() -> None:
    chosen = one(planes(two_regions()), at='59,0')
    assert chosen.class_index == 2
    assert float(chosen.scalar.detach()) == 5
    assert chosen.region.sum() == 1
    assert one(planes(two_regions()), explain='class:cat', at='59,0').title.startswith('cat · at 59,0 ')
    with pytest.raises(Exception, match='lies outside of the image of 60×40'):
        one(planes(two_regions()), at='60,0')


def test_a_mask(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), bool)
    mask[:, 25:40] = True  # 5 columns of dog, 10 of cat
    chosen = one(planes(two_regions()), explain='class:cat', mask=mask)
    assert float(chosen.scalar.detach()) == pytest.approx(4 * 10 / 15)
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / 'mask.png')
    from_file = one(planes(two_regions()), mask=str(tmp_path / 'mask.png'))
    assert from_file.class_index == 1  # most of it is predicted so
    np.testing.assert_array_equal(from_file.region, mask)
    with pytest.raises(TargetError, match='is empty, expected pixels that are white'):
        one(planes(two_regions()), mask=~mask & mask)
    with pytest.raises(TargetError, match='the array is of 3×2 pixels, expected 60×40 as the image'):
        one(planes(two_regions()), mask=np.ones((2, 3), bool))


def test_a_class_that_is_predicted_nowhere() -> None:
    values = two_regions()
    values[2] = -9
    with pytest.raises(TargetError, match='hot dog is predicted nowhere in the image, only dog, cat; at X,Y or'):
        one(planes(values), explain='class:hot dog')


def test_a_mask_in_a_letterboxed_input() -> None:
    letterboxed = ImageGeometry((40, 60), (60, 60), offset=(0, 10))
    values = torch.zeros(3, 6, 6)
    values[0, 1:5] = 1  # content lies in rows 10 to 50 of 60
    values[1, [0, 5]] = 9
    (chosen,) = choose(parse_target('class:dog'), Scene(planes(values), letterboxed))
    assert chosen.region.all()
    assert float(chosen.scalar.detach()) == 1


def test_a_function_of_the_output() -> None:
    made = torch.tensor([[1.0, 2.0]]).requires_grad_() * 2
    answers = Answers(output={'logits': made})

    def second(output: Any) -> Tensor:
        return output['logits'][0, 1]

    chosen = one(answers, explain=second)
    assert chosen.title == 'second · 4'
    assert chosen.scalar.requires_grad
    assert chosen.measure([answers, Answers(output={'logits': torch.ones(1, 2)})]).tolist() == [4, 1]


@pytest.mark.parametrize(
    ('function', 'said'),
    [
        (lambda output: output['x'], 'cannot take the output, a dict: KeyError'),
        (lambda output: output['logits'], r'gives torch.float32 \(2,\), expected a float tensor of one number'),
        (lambda output: 3.0, 'gives float, expected'),
        (lambda output: output['logits'].detach().sum(), 'without a gradient'),
    ],
)
def test_a_function_that_gives_something_else(function: Any, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        one(Answers(output={'logits': torch.ones(2).requires_grad_() * 1}), explain=function)


def test_an_answer_of_no_known_kind() -> None:
    with pytest.raises(TargetError, match='gives an answer of no known kind: a function of its output explains it'):
        one(Answers(output=torch.zeros(2, 3, 4)), explain='top')
    with pytest.raises(OptionError):
        parse_target(3)


def test_of_many_classes_the_nearest_are_named() -> None:
    many = [f'kind {number}' for number in range(20)]
    with pytest.raises(
        TargetError, match='class:kind 91: the model knows no such class; nearest: kind 9, kind 1, kind 19'
    ):
        class_number('kind 91', many)
