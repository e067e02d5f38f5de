"""Raw outputs of models to what was found, with values worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featmap.errors import ConfigError
from featmap.geometry import ImageGeometry
from featmap.models.outputs import OutputReader, read_classification
from featmap.structures import Detections

HEIGHT, WIDTH = 20, 40
WHOLE = ImageGeometry.whole((HEIGHT, WIDTH))
# Twice as large, in the middle of a square: content at rows 20 to 60.
LETTERBOXED = ImageGeometry((HEIGHT, WIDTH), (80, 80), (2.0, 2.0), (0, 20))
FLIPPED = ImageGeometry((HEIGHT, WIDTH), (80, 80), (2.0, 2.0), (0, 20), (True, False))
# The middle 20 x 20 of it.
CROPPED = ImageGeometry((HEIGHT, WIDTH), (20, 20), (1.0, 1.0), (-10, 0))
NAMES = ('cat', 'dog', 'fox')
LOGITS = torch.tensor([[0.0, np.log(6), np.log(3)]])  # shares of 1 to 6 to 3


def read(output, geometry: ImageGeometry = WHOLE, **reader) -> Detections | None:
    found = OutputReader(**{'classes': NAMES, **reader}).read(output, [geometry])
    return None if found is None else found[0]


@pytest.mark.parametrize(
    'output',
    [
        None,
        (),
        [],
        {},
        'text',
        torch.zeros(0, 3),
        torch.zeros(1, 512),
        torch.zeros(1, 7, 5, 5),
        torch.zeros(1, 3, dtype=torch.long),
        (torch.zeros(1, 3), torch.zeros(1, 3)),
        {'last_hidden_state': torch.zeros(1, 5, 3), 'pooler_output': torch.zeros(1, 8)},
        {'out': torch.zeros(1, 2048, 4, 4)},
        [{'boxes': torch.zeros(0, 4)}],
        [{'boxes': torch.zeros(2, 5), 'scores': torch.zeros(2)}],
        [{'boxes': torch.zeros(2, 4), 'scores': torch.zeros(3)}],
        SimpleNamespace(logits=torch.zeros(1, 5, 9), pred_boxes=torch.zeros(1, 5, 4)),
        SimpleNamespace(logits=torch.zeros(1, 5, 4), pred_boxes=torch.zeros(1, 6, 4)),
        torch.zeros(2, 3),  # of another batch
        torch.zeros(2, 3, 4, 4),
    ],
)
def test_what_is_not_known_is_nothing(output):
    assert read(output) is None


@pytest.mark.parametrize(
    'output',
    [
        LOGITS,
        LOGITS.double(),
        LOGITS[..., None, None],
        SimpleNamespace(logits=LOGITS, hidden_states=(torch.ones(1, 3),)),
        {'logits': LOGITS, 'features': torch.ones(1, 3)},
        (LOGITS, torch.ones(1, 512)),
        {'head': (torch.ones(1, 3, 4, 4, 4), LOGITS)},
        torch.tensor([[0.1, 0.6, 0.3]]),  # probabilities
        LOGITS.softmax(1).log(),
    ],
)
def test_a_classifier(output):
    found = read(output)
    assert found.classification.labels.tolist() == [1, 2, 0]
    np.testing.assert_allclose(found.classification.scores, [0.6, 0.3, 0.1], rtol=1e-5)
    assert (found.kind, found.undrawn, found.count) == ('', (), 'dog 60.0%')
    assert (found.classification.kind, found.classification.of) == ('softmax', 3)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    for output in (LOGITS.to(dtype), LOGITS.softmax(1).to(dtype)):
        np.testing.assert_allclose(read(output).classification.scores, [0.6, 0.3, 0.1], atol=0.003)
    many = torch.linspace(0, 8, 1000)[None].softmax(1)
    found = read(many.to(dtype), classes=(), task='classification').classification
    np.testing.assert_allclose(found.scores, many[0].sort(descending=True)[0][:5], rtol=0.01)
    assert found.of == 1000


def test_each_image_of_a_batch_has_its_own():
    found = OutputReader(NAMES).read(torch.cat([LOGITS, -LOGITS]), [WHOLE, LETTERBOXED])
    assert [each.classification.labels[0] for each in found] == [1, 0]
    assert read_classification(torch.cat([LOGITS, -LOGITS]), NAMES, False, image=1).labels[0] == 0


def test_features_are_no_scores_unless_names_or_the_source_say_so():
    assert read(torch.ones(1, 512), classes=()) is None
    assert read_classification(torch.ones(1, 512), (), False) is None
    assert read(torch.ones(1, 512), classes=(), task='classification').count == 'class 0 0.2%'
    assert read_classification(LOGITS, (), True).labels.tolist() == [1, 2, 0]
    two = (LOGITS, torch.ones(1, 512))
    assert read(two, classes=(), task='classification') is None  # which of them?
    with pytest.raises(ConfigError, match='3 class names for a model that tells 4 classes apart'):
        read(torch.zeros(1, 4), task='classification')


@pytest.mark.parametrize(
    ('scores', 'chances'),
    [([0, np.log(3), -np.log(3)], [0.75, 0.5, 0.25]), ([0.5, 0.75, 0.25], [0.75, 0.5, 0.25])],
)
def test_classes_each_by_itself(scores, chances):
    found = read(torch.tensor([scores], dtype=torch.float32), scores='sigmoid').classification
    np.testing.assert_allclose(found.scores, chances, rtol=1e-6)
    assert (found.labels.tolist(), found.kind) == ([1, 0, 2], 'sigmoid')


def test_a_single_score_goes_through_a_sigmoid():
    found = read(torch.tensor([[np.log(4.0)]]), classes=('cat',)).classification
    np.testing.assert_allclose(found.scores, [0.8], rtol=1e-6)
    assert found.kind == 'sigmoid'


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_told(bad):
    found = read(torch.tensor([[1.0, 2.0, bad]]))
    assert found.classification is None
    assert found.count == 'class scores that are not finite not drawn'
    planes = torch.zeros(1, 3, 4, 4)
    planes[0, 1, 2, 2] = bad
    assert read(planes).count == 'semantic result that is not finite not drawn'
