"""What detectors built as torchvision's answer, joined to the graph, and before anything is suppressed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from featmap.gradients import GradientRecorder
from featmap.models.outputs import OutputReader
from featmap.models.preprocessing import Preprocessing
from featmap.models.torchvision_detectors import Resized, TorchvisionDetector
from featmap.models.torchvision_heads import raw_layers

pytestmark = pytest.mark.usefixtures('stand_ins')
NAMES = ('__background__', 'cat', 'dog')
SIZE = 64


class Tiny(nn.Module):
    """One anchor of 24 pixels at each cell of 16: the shifts of its corners, and two classes by their sigmoid."""

    def __init__(self):
        super().__init__()
        from torchvision.models.detection.tiny import Transform

        torch.manual_seed(0)
        self.transform = Transform(SIZE, SIZE)
        self.backbone = nn.Conv2d(3, 4, 16, 16)
        self.head = nn.Module()
        self.head.classification_head, self.head.regression_head = nn.Module(), nn.Module()
        self.head.classification_head.cls_logits = nn.Conv2d(4, 3, 1)
        self.head.classification_head.num_classes = 3
        self.head.regression_head.bbox_reg = nn.Conv2d(4, 4, 1)
        self.head.classification_head.cls_logits.weight.data *= 12
        self.score_thresh, self.nms_thresh, self.detections_per_img = 0.6, 0.05, 4

    def forward(self, images):
        images, _ = self.transform(images)
        features = self.backbone(images.tensors)
        scores = self.head.classification_head.cls_logits(features).flatten(2).transpose(1, 2).sigmoid()
        shifts = self.head.regression_head.bbox_reg(features).flatten(2).transpose(1, 2)
        found = self.postprocess_detections(scores, shifts, features.shape[-2:])
        return self.transform.postprocess(found, images.image_sizes, images.image_sizes)

    def postprocess_detections(self, scores, shifts, cells):
        rows, columns = torch.meshgrid(*(torch.arange(size) * 16.0 for size in cells), indexing='ij')
        corner = torch.stack([columns, rows, columns + 24, rows + 24], -1).view(-1, 4)
        found = []
        for each, shift in zip(scores, shifts):
            places, labels = (each > self.score_thresh).nonzero(as_tuple=True)
            values, boxes = each[places, labels], (corner + shift)[places]
            kept = []
            for index in values.argsort(descending=True).tolist():
                if all(iou(boxes[index], boxes[other]) <= self.nms_thresh for other in kept):
                    kept.append(index)
            kept = kept[: self.detections_per_img]
            found.append({'boxes': boxes[kept], 'scores': values[kept], 'labels': labels[kept]})
        return found


def iou(one, other):
    low, high = torch.maximum(one[:2], other[:2]), torch.minimum(one[2:], other[2:])
    common = (high - low).clamp(min=0).prod()
    return common / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common)


@pytest.fixture
def detector():
    module = Tiny()
    to_tensor = Resized(lambda image: torch.from_numpy(image).permute(2, 0, 1).float() / 255, module.transform)
    reader = OutputReader(NAMES, score_thr=0.7, task='detection')
    return TorchvisionDetector(module, Preprocessing(to_tensor), reader, device=torch.device('cpu'))


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def test_final_answers_are_the_detections(detector, image):
    found = detector.predict(detector.prepare([image]))[0]
    recorder = GradientRecorder(detector.model, ['backbone'])
    with torch.enable_grad():
        answers = detector.respond(detector.prepare([image]), recorder)[0]
    assert 2 < len(found) == len(answers.shown) <= 4
    shown = answers.shown
    np.testing.assert_allclose(answers.scores[shown].detach(), found.scores, atol=1e-5)
    cut = answers.boxes[shown].detach().numpy().clip(0, [64, 48] * 2)
    np.testing.assert_allclose(cut, found.boxes, atol=1e-3)
    gradient = recorder.gradients(answers.scores[0].log())[0]['']
    assert len(gradient[0].any(dim=0).nonzero()) == 1  # of one cell
    assert all(each.requires_grad for each in detector.model.parameters())


def test_raw_predictions(detector, image):
    with torch.no_grad():
        final = detector.respond(detector.prepare([image]))[0]
        raw = detector.respond(detector.prepare([image]), raw=0.01)[0]
    assert raw.detections is None
    assert len(raw.scores) > 2 * len(final.scores)
    assert 0.01 < float(raw.scores.min()) < 0.6
    for box, score, label in zip(final.boxes, final.scores, final.labels):
        assert ((raw.boxes - box).abs().amax(dim=1) < 1e-3).logical_and(raw.labels == label).any()
        assert (raw.scores - score).abs().min() < 1e-6
    model = detector.model
    assert (model.score_thresh, model.nms_thresh, model.detections_per_img) == (0.6, 0.05, 4)
    assert 'postprocess_detections' not in vars(model)
    assert type(model.transform).__name__ == 'Transform'


def test_nothing_is_left_behind_by_an_error(detector, image):
    detector.model.postprocess_detections = None
    with pytest.raises(Exception, match='NoneType'):
        detector.respond(detector.prepare([image]), raw=0.01)
    assert detector.model.score_thresh == 0.6
    assert type(detector.model.transform).__name__ == 'Transform'


def test_other_forms_of_an_image(detector, image):
    batch = detector.prepare([image])
    both = batch.repeated(torch.cat([batch.inputs, torch.zeros_like(batch.inputs)]))
    with torch.no_grad():
        first, second = detector.respond(both, raw=0.01)
        alone = detector.respond(batch, raw=0.01)[0]
    torch.testing.assert_close(first.scores, alone.scores)
    assert not torch.equal(second.scores[:4], first.scores[:4])


def test_the_layers_of_raw_predictions(detector):
    scores, boxes = detector.raw_layers()
    assert (scores.name, scores.kind, scores.level) == ('head.classification_head.cls_logits', 'dense', None)
    assert scores.module is detector.model.head.classification_head.cls_logits
    meaning = scores.head.of('', 9)
    assert (meaning.attributes, meaning.anchors, meaning.activation) == (NAMES, 3, 'sigmoid')
    assert (boxes.head.of('', 12).kind, boxes.head.of('', 12).anchors) == ('box', 3)
    assert boxes.head.of('', 5).reason


def named(**parts):
    """Nested modules by their dotted names."""
    top = nn.Module()
    for name, part in parts.items():
        *path, last = name.split('__')
        owner = top
        for key in path:
            if key not in owner._modules:
                owner.add_module(key, nn.Module())
            owner = owner._modules[key]
        owner.add_module(last, part)
    return top


def test_of_two_stages_the_second():
    predictor = named(cls_score=nn.Linear(4, 3), bbox_pred=nn.Linear(4, 12))
    model = named(rpn__head=nn.Conv2d(1, 1, 1), roi_heads__box_predictor=predictor)
    (layer,) = raw_layers(model, NAMES)
    assert (layer.name, layer.kind) == ('roi_heads.box_predictor', 'region')
    meaning = layer.head.of('[0]', 3)
    assert (meaning.attributes, meaning.classes, meaning.activation) == (NAMES, (1, 2), 'softmax')
    assert layer.head.of('[1]', 12).kind == 'box'
    (unnamed,) = raw_layers(model)
    assert unnamed.head.of('[0]', 3).attributes == ('class 0', 'class 1', 'class 2')
    (without,) = raw_layers(model, NAMES[1:])
    assert without.head.of('[0]', 3).attributes == ('background', 'cat', 'dog')


def test_a_layer_for_each_level():
    model = named(
        head__classification_head__module_list=nn.ModuleList([nn.Conv2d(1, 6, 1), nn.Conv2d(1, 12, 1)]),
        head__regression_head__module_list=nn.ModuleList([nn.Conv2d(1, 8, 1), nn.Conv2d(1, 16, 1)]),
    )
    model.head.classification_head.num_columns = 3
    layers = raw_layers(model, NAMES)
    assert [layer.level for layer in layers] == [0, 1, 0, 1]
    assert [layer.head.of('', channels).anchors for layer, channels in zip(layers, (6, 12, 8, 16))] == [2, 4, 2, 4]
    assert layers[0].head.of('', 6).classes == (1, 2)


def test_what_is_built_otherwise_has_none():
    assert raw_layers(nn.Sequential(nn.Conv2d(1, 1, 1)), NAMES) == []
