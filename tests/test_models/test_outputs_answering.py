"""Answers that stay joined to the graph, against what is read of the same outputs for drawing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featmap.models.outputs import OutputReader
from featmap.models.outputs.answering import answers_in
from tests.test_models.test_outputs import CROPPED, FLIPPED, HEIGHT, LETTERBOXED, WHOLE, WIDTH

ANIMALS = ('cat', 'dog', 'fox')


def answer(output, *places, raw=None, **settings):
    places = places or (WHOLE,)
    answers = answers_in(output, places, OutputReader(**{'classes': ANIMALS, **settings}), raw)
    assert len(answers) == len(places)
    return answers[0] if len(places) == 1 else answers


def shown(answers):
    return answers.boxes[answers.shown].detach().numpy(), answers.scores[answers.shown].detach().numpy()


@pytest.mark.parametrize('place', [WHOLE, LETTERBOXED, FLIPPED, CROPPED])
def test_boxes_of_the_original_with_gradients(place):
    boxes = torch.tensor([[10.0, 30, 50, 50], [10, 35, 30, 45], [1, 31, 5, 39]], requires_grad=True)
    scores = torch.tensor([0.9, 0.2, 0.8], requires_grad=True)
    answers = answer([{'boxes': boxes, 'scores': scores * 1, 'labels': torch.tensor([2, 1, 0])}], place)
    found = answers.detections
    assert (answers.kind, answers.classes, answers.labels.tolist()) == ('boxes', ANIMALS, [2, 1, 0])
    assert len(answers.shown) == len(found)
    drawn, strengths = shown(answers)
    np.testing.assert_allclose(drawn.clip(0, [WIDTH, HEIGHT] * 2), found.boxes, atol=1e-4)
    np.testing.assert_allclose(strengths, found.scores)
    assert answers.labels[answers.shown].tolist() == found.labels.tolist()
    assert torch.autograd.grad(answers.scores[0].log(), scores, retain_graph=True)[0].tolist() == pytest.approx(
        [1 / 0.9, 0, 0]
    )
    left = torch.autograd.grad(answers.boxes[0, 0], boxes)[0]
    # A mirrored image has its left side where the input has its right one.
    assert left[0].tolist() == pytest.approx([0, 0, -0.5, 0] if place is FLIPPED else [1 / place.scale[0], 0, 0, 0])
    assert not left[1:].any()


def test_no_boxes():
    given = {'boxes': torch.zeros(0, 4), 'scores': torch.zeros(0)}
    answers = answer([given])
    assert (answers.kind, answers.boxes.shape, answers.shown.tolist()) == ('boxes', (0, 4), [])
    assert (answers.labels.dtype, len(answers.detections)) == (torch.long, 0)


def queries(kind):
    torch.manual_seed(0)
    logits = torch.randn(1, 6, 3 + (kind == 'softmax'), requires_grad=True)
    centres = torch.rand(1, 6, 4) * 0.4 + 0.3
    return logits, SimpleNamespace(logits=logits * 2, pred_boxes=centres)


@pytest.mark.parametrize('kind', ['softmax', 'sigmoid'])
def test_object_queries(kind):
    logits, output = queries(kind)
    answers = answer(output, LETTERBOXED)
    boxes, scores = shown(answers)
    assert len(answers.detections) > 2
    np.testing.assert_allclose(boxes.clip(0, [WIDTH, HEIGHT] * 2), answers.detections.boxes, atol=1e-4)
    np.testing.assert_allclose(scores, answers.detections.scores, atol=1e-6)
    gradient = torch.autograd.grad(answers.scores[answers.shown[0]].log(), logits)[0][0]
    assert len(gradient.any(dim=1).nonzero()) == 1  # of one query


@pytest.mark.parametrize('kind', ['softmax', 'sigmoid'])
def test_every_class_of_every_query_above_a_score(kind):
    _, output = queries(kind)
    raw = answer(output, raw=0.1)
    logits = output.logits[0].detach()
    chances = logits.softmax(dim=1)[:, :3] if kind == 'softmax' else logits.sigmoid()
    assert len(raw.scores) == int((chances > 0.1).sum()) > 6
    assert raw.detections is None
    assert not len(raw.shown)
    assert sorted(raw.scores.tolist()) == sorted(chances[chances > 0.1].tolist())
    final = answer(output)
    for box, score, label in zip(final.boxes, final.scores, final.labels):
        same = (raw.boxes == box).all(dim=1) & (raw.scores == score) & (raw.labels == label)
        assert same.sum() == (score > 0.1)


def test_class_scores_are_logits():
    scores = torch.tensor([[1.0, 3.0, -2.0]], requires_grad=True)
    answers = answer({'logits': scores})
    assert (answers.kind, answers.activation, answers.logits.tolist()) == ('classes', 'softmax', [1, 3, -2])
    assert torch.autograd.grad(answers.logits[1], scores)[0].tolist() == [[0, 1, 0]]
    assert answers.detections.classification.labels[0] == 1


@pytest.mark.parametrize('kind', ['softmax', 'sigmoid'])
def test_of_probabilities_the_logits_are_found_again(kind):
    wanted = torch.tensor([1.0, 3.0, -2.0])
    chances = (wanted.softmax(dim=0) if kind == 'softmax' else wanted.sigmoid())[None].requires_grad_()
    answers = answer(chances, scores=kind, task='classification')
    assert answers.activation == kind
    back = answers.logits.softmax(dim=0) if kind == 'softmax' else answers.logits.sigmoid()
    torch.testing.assert_close(back, chances[0])
    torch.testing.assert_close(answers.logits[0] - answers.logits[1], wanted[0] - wanted[1])
    assert torch.autograd.grad(answers.logits[1], chances)[0][0, 1] > 1


def test_a_single_score_and_a_certain_one():
    single = answer(torch.tensor([[0.7]]), classes=('dot',))
    assert (single.activation, single.logits.tolist()) == ('sigmoid', [pytest.approx(0.7)])
    certain = answer(torch.tensor([[1.0, 0.0, 0.0]]))
    assert certain.logits.isfinite().all()


def test_planes_of_classes():
    planes = torch.randn(1, 3, 4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    answers = answer({'out': planes * 1}, LETTERBOXED)
    assert (answers.kind, answers.activation) == ('segments', 'softmax')
    torch.testing.assert_close(answers.planes, planes[0])
    assert answers.detections.segments.shape == (HEIGHT, WIDTH)
    assert torch.autograd.grad(answers.planes[2, 1, 1], planes)[0].sum() == 1
    raw = answer({'out': planes}, raw=0.001)
    assert raw.planes is not None
    assert raw.detections is None


def test_planes_that_are_probabilities():
    wanted = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    answers = answer(wanted.softmax(dim=1))
    torch.testing.assert_close(answers.planes.softmax(dim=0), wanted[0].softmax(dim=0))
    single = answer(wanted[:, :1].sigmoid(), classes=('dot',))
    assert single.activation == 'sigmoid'
    torch.testing.assert_close(single.planes, wanted[0, :1])
    logits = answer(wanted[:, :1], classes=('dot',))
    torch.testing.assert_close(logits.planes, wanted[0, :1])


def test_mask_queries_have_gradients():
    names = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    masks = torch.randn(1, 5, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    output = SimpleNamespace(class_queries_logits=names, masks_queries_logits=masks)
    answers = answer(output)
    shares = torch.einsum('qk,qhw->khw', names[0].softmax(dim=1)[:, :3], masks[0].sigmoid())
    torch.testing.assert_close(answers.planes.exp(), shares)
    for gradient in torch.autograd.grad(answers.planes[0].mean(), (names, masks)):
        assert gradient.abs().max() > 0


def test_each_image_of_a_batch_has_its_own():
    scores = torch.tensor([[1.0, 2, 3], [3, 2, 1]])
    first, second = answer({'logits': scores, 'scale': torch.ones(())}, WHOLE, WHOLE)
    assert (first.logits.tolist(), second.logits.tolist()) == (scores[0].tolist(), scores[1].tolist())
    assert second.output['logits'].tolist() == [[3, 2, 1]]
    assert second.output['scale'].shape == ()
    given = [{'boxes': torch.zeros(count, 4), 'scores': torch.ones(count)} for count in (1, 2)]
    assert [len(each.output[0]['scores']) for each in answer(given, WHOLE, WHOLE)] == [1, 2]


def test_what_is_of_no_known_kind():
    answers = answer('what?')
    assert (answers.kind, answers.output, answers.detections) == ('', 'what?', None)
    assert repr(answers) == '<Answers: of no known kind>'
