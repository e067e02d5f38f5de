"""Layers that put out the classes and boxes of object queries, by their names and how many numbers they give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from featmap.gradients import GradientRecorder
from featmap.models.network import Network
from featmap.models.outputs import OutputReader
from featmap.models.preprocessing import Declared, Preprocessing
from featmap.models.query_heads import raw_layers
from featmap.targets.tracer import Tracer, traced_layers

NAMES = ('cat', 'dog')


class TinyDetr(nn.Module):
    """Queries look at all cells of one map, and then at one another, twice over."""

    def __init__(self, numbers):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Conv2d(3, 8, 8, 8)
        self.queries = nn.Parameter(torch.randn(5, 8) * 3)
        self.layers = nn.ModuleList([nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2)])
        self.class_embed = nn.ModuleList([nn.Linear(8, numbers) for _ in range(2)])
        self.bbox_embed = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        self.mixing = nn.Linear(8, numbers)

    def forward(self, pixels):
        cells = self.backbone(pixels).flatten(2).transpose(1, 2)
        queries = self.queries.expand(len(pixels), -1, -1)
        logits = []
        for layer, scored in zip(self.layers, self.class_embed):
            queries = queries + layer(queries, cells, cells)[0]
            queries = queries + layer(queries, queries, queries)[0]
            logits.append(scored(queries))
        return {'logits': logits[-1], 'pred_boxes': self.bbox_embed(queries).sigmoid(), 'before': logits[0]}


def network(numbers):
    reader = OutputReader(NAMES, score_thr=0.01)
    return Network(TinyDetr(numbers), Preprocessing(Declared(32)), reader, device=torch.device('cpu'))


@pytest.mark.parametrize('numbers', [2, 3])
def test_an_answer_is_traced_to_its_query(numbers):
    detr = network(numbers)
    layers = detr.raw_layers()
    assert [layer.name for layer in layers] == ['class_embed.0', 'class_embed.1', 'bbox_embed']
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    recorder = GradientRecorder(detr.model, traced_layers(detr.model, layers))
    with torch.enable_grad():
        answers = detr.respond(detr.prepare([image]), recorder)[0]
    tracer = Tracer(layers, recorder.kept, (32, 32))
    number = int(answers.shown[1])
    found = tracer.find(answers.scores[number].log(), 'box 1', int(answers.labels[number]))
    assert (found.trace.kind, found.trace.layer) == ('query', 'class_embed.1')
    chances = answers.output['logits'][0].detach()
    chances = chances.softmax(dim=1)[:, :2] if numbers == 3 else chances.sigmoid()
    row, label = np.unravel_index(int((chances - answers.scores[number].detach()).abs().argmin()), chances.shape)
    assert (found.trace.query, int(answers.labels[number])) == (row, label)
    assert tracer.depends(answers.boxes[number, 0])


def test_what_the_numbers_mean():
    with_none = raw_layers(TinyDetr(3), 2, NAMES)[0].head.of('', 3)
    assert (with_none.attributes, with_none.classes) == (('cat', 'dog', 'background'), (0, 1))
    assert with_none.activation == 'softmax'
    each = raw_layers(TinyDetr(2), 2, NAMES)[0].head.of('', 2)
    assert (each.attributes, each.classes, each.activation) == (NAMES, (0, 1), 'sigmoid')


def test_nothing_is_claimed_of_other_models():
    assert raw_layers(TinyDetr(3), 0) == []
    assert raw_layers(TinyDetr(3), 80) == []
    assert raw_layers(nn.Sequential(nn.Linear(4, 2)), 2, NAMES) == []
    reader = OutputReader(NAMES, task='classification')
    told = Network(TinyDetr(2), Preprocessing(Declared(32)), reader, device=torch.device('cpu'))
    assert told.raw_layers() == []


def test_the_last_layer_of_a_classifier_is_no_head_of_queries():
    model = nn.Sequential(nn.Flatten())
    model.add_module('classifier', nn.Linear(12, 2))
    assert raw_layers(model, 2, NAMES) == []
