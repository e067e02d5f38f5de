"""Classifiers as mmpretrain has them: the best classes of an image, and the stages of a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import nn

from featmap.default_layers import backbone_of
from featmap.geometry import ImageGeometry
from featmap.models.openmmlab.answering import answers_of
from featmap.models.openmmlab.build import scope_of
from featmap.models.openmmlab.class_scores import class_scores
from featmap.models.openmmlab.image_place import ImagePlace
from featmap.models.openmmlab.predictions import Reader

NAMES = ('tench, Tinca tinca', 'goldfish', 'shark', 'ray', 'cock', 'hen', 'ostrich')
PLACE = ImagePlace.as_told(ImageGeometry.whole((20, 30)))


class LinearClsHead(nn.Module):
    pass


class MultiLabelClsHead(nn.Module):
    pass


class CSRAClsHead(MultiLabelClsHead):
    pass


class Classifier(nn.Module):
    def __init__(self, head: nn.Module | None) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 1)
        if head is not None:
            self.head = head


def read(head: nn.Module, **fields: Any) -> Any:
    sample = BaseDataElement()
    for name, value in fields.items():
        sample.set_field(value, name)
    return Reader.of(Classifier(head), NAMES, (), 0.3).read(sample, PLACE)


def test_the_best_five_with_their_names() -> None:
    scores = torch.tensor([0.1, 0.05, 0.4, 0.25, 0.15, 0.05, 0.0])
    found = read(LinearClsHead(), pred_score=scores, pred_label=scores.argmax(0, keepdim=True))
    assert found.classification.labels.tolist() == [2, 3, 4, 0, 1]
    assert found.classification.scores.tolist() == pytest.approx([0.4, 0.25, 0.15, 0.1, 0.05])
    assert (found.classification.kind, found.classification.of) == ('softmax', 7)
    assert found.count == 'shark 40.0%'
    assert found.classification.brief(found.classes, 4).endswith('tench 10.0%')


@pytest.mark.parametrize('head', [MultiLabelClsHead(), CSRAClsHead()])
def test_several_labels_are_each_by_itself(head: nn.Module) -> None:
    scores = torch.tensor([0.9, 0.8, 0.1, 0.0, 0.0, 0.3, 0.2])
    found = read(head, pred_score=scores, pred_label=torch.tensor([0, 1])).classification
    assert found.kind == 'sigmoid'
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.3, 0.2, 0.1])


def test_what_is_no_score_of_classes() -> None:
    assert read(LinearClsHead(), pred_score=torch.full((7,), torch.nan)).classification is None
    found = read(LinearClsHead(), pred_score=torch.rand(3, 7), pred_label=torch.tensor([1]))
    assert (found.classification, found.undrawn) == (None, ('score',))
    assert read(LinearClsHead(), pred_label=torch.tensor([1])).undrawn == ('label',)


def test_a_config_that_names_no_scope_is_of_the_package_that_ships_it(tmp_path: Path) -> None:
    for path, scope in (
        ('site-packages/mmpretrain/.mim/configs/dinov2/vit.py', 'mmpretrain'),
        ('site-packages/other/.mim/configs/vit.py', 'mmdet'),
        ('configs/vit.py', 'mmdet'),
    ):
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.touch()
        assert scope_of(Config({'model': {}}, filename=file)) == scope
        assert scope_of(Config({'default_scope': 'mmseg'}, filename=file)) == 'mmseg'


def test_the_backbone_of_a_classifier_is_not_what_is_looked_at_first() -> None:
    assert backbone_of(Classifier(None)) is not None
    assert backbone_of(Classifier(LinearClsHead())) is None


class ScoringHead(LinearClsHead):
    """As mmpretrain's: its scores go through a softmax on their way into data samples."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 7)

    def predict(self, features: torch.Tensor, samples: list[Any]) -> list[Any]:
        return self._get_predictions(self.fc(features), samples)

    def _get_predictions(self, cls_score: torch.Tensor, samples: list[Any]) -> list[Any]:
        for sample, scores in zip(samples, cls_score.softmax(dim=1)):
            sample.set_field(scores, 'pred_score')
        return samples


def test_answers_are_logits() -> None:
    torch.manual_seed(0)
    model = Classifier(ScoringHead())
    features = torch.randn(2, 4, requires_grad=True)
    samples = [BaseDataElement(), BaseDataElement()]
    with class_scores(model) as kept:
        model.head.predict(features, samples)
    assert '_get_predictions' not in vars(model.head)
    reader = Reader.of(model, NAMES, (), 0.3)
    answers = answers_of(samples[1], PLACE, reader, class_scores=kept[0][1])
    assert (answers.kind, answers.activation) == ('classes', 'softmax')
    torch.testing.assert_close(answers.logits, model.head.fc(features)[1])
    gradient = torch.autograd.grad(answers.logits[3], features, retain_graph=True)[0]
    torch.testing.assert_close(gradient, torch.stack([torch.zeros(4), model.head.fc.weight[3].detach()]))
    best = answers.detections.classification
    torch.testing.assert_close(answers.logits.softmax(dim=0).detach()[best.labels], torch.from_numpy(best.scores))
    # Of a head that makes samples in a way of its own there are the probabilities.
    without = answers_of(samples[1], PLACE, reader, raw=True)
    torch.testing.assert_close(without.logits, answers.logits.log_softmax(dim=0))
    assert without.detections is None


def test_several_labels_have_sigmoids() -> None:
    sample = BaseDataElement()
    sample.set_field(torch.tensor([0.9, 0.8, 0.1, 0.0, 0.0, 0.3, 0.2]), 'pred_score')
    reader = Reader.of(Classifier(MultiLabelClsHead()), NAMES, (), 0.3)
    answers = answers_of(sample, PLACE, reader)
    assert answers.activation == 'sigmoid'
    torch.testing.assert_close(answers.logits.sigmoid(), sample.pred_score, atol=2e-6, rtol=0)


def test_other_models_have_no_such_scores() -> None:
    with class_scores(Classifier(None)) as kept:
        pass
    assert kept == []
    sample = BaseDataElement()
    assert answers_of(sample, PLACE, Reader(NAMES)).kind == ''
