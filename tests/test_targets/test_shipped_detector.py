"""Every detection of the shipped detector, explained from beginning to end on its demo image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import TargetError
from featmap.gradients import GradientRecorder
from featmap.models.openmmlab.detector import Detector
from featmap.targets import Chosen, Scene, Tracer, choose, parse_target, traced_layers
from featmap.targets.chosen import box_iou, fit
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, hooks


class Shipped:
    """The detector, the demo image, and the scenes of one forward each."""

    def __init__(self, left: int = 0) -> None:
        self.detector = Detector(CONFIG, CHECKPOINT, 'cpu')
        self.image = np.ascontiguousarray(np.asarray(Image.open(IMAGE).convert('RGB'))[:, left:])
        self.layers = self.detector.raw_layers()
        with torch.no_grad():
            self.raw_answers = self.detector.respond(self.detector.prepare([self.image]), raw=1e-3)[0]
            self.final_answers = self.detector.respond(self.detector.prepare([self.image]))[0]
        self.recorder, self.scene = self.asked(None)

    def asked(self, raw: float | None) -> tuple[GradientRecorder, Scene]:
        model = self.detector.model
        batch = self.detector.prepare([self.image])
        recorder = GradientRecorder(model, traced_layers(model, self.layers))
        with torch.enable_grad():
            answers = self.detector.respond(batch, recorder, raw=raw)[0]
        tracer = Tracer(self.layers, recorder.kept, batch.input_shape)
        final = self.final_answers if raw else None
        return recorder, Scene(
            answers, batch.geometries[0], tracer, self.detector.score_thr, final, lambda: self.raw_answers
        )

    def choose(self, **asked: object) -> list[Chosen]:
        return choose(parse_target(**asked), self.scene)


@pytest.fixture(scope='module')
def shipped() -> Shipped:
    return Shipped()


@pytest.fixture(scope='module')
def raw_scene(shipped: Shipped) -> Scene:
    return shipped.asked(1e-3)[1]


def decoded(shipped: Shipped, chosen: Chosen) -> tuple[np.ndarray, float]:
    """Box, in pixels of the original, and score of the raw prediction that a trace names, by YOLOv5's formulas."""
    trace = chosen.trace
    level = ('neck[0]', 'neck[1]', 'neck[2]').index(trace.feature)
    head = next(each for each in shipped.recorder.kept if each.target.name == 'bbox_head').tensors
    row, column = trace.cell
    cls, box, obj = (head[f'[{kind}][{level}]'][0, :, row, column].detach() for kind in range(3))
    classes = len(cls) // 3
    score = cls[trace.anchor * classes + trace.class_index].sigmoid() * obj[trace.anchor].sigmoid()
    x, y, w, h = box[trace.anchor * 4 : trace.anchor * 4 + 4].sigmoid() * 2
    width, height = shipped.detector.model.bbox_head.prior_generator.base_sizes[level][trace.anchor]
    u, v = (x - 0.5 + column) * trace.stride, (y - 0.5 + row) * trace.stride
    w, h = w**2 * width / 2, h**2 * height / 2
    x1, y1 = shipped.scene.geometry.to_image(float(u - w), float(v - h))
    x2, y2 = shipped.scene.geometry.to_image(float(u + w), float(v + h))
    rows, columns = shipped.image.shape[:2]
    return np.clip([x1, y1, x2, y2], 0, [columns, rows, columns, rows]), float(score)


def test_each_detection_comes_from_the_raw_prediction_that_its_trace_names(shipped: Shipped) -> None:
    found = shipped.detector.predict(shipped.detector.prepare([shipped.image]))[0]
    every = shipped.choose(explain='boxes')
    assert len(every) == len(found) == 19
    for rank, chosen in enumerate(every):
        box, score = decoded(shipped, chosen)
        np.testing.assert_allclose(box, found.boxes[rank], atol=0.5)
        np.testing.assert_allclose(chosen.box, found.boxes[rank], atol=0.5)
        assert abs(score - found.scores[rank]) < 1e-4
        assert abs(chosen.score - found.scores[rank]) < 1e-4
        assert chosen.index == rank
        assert chosen.class_index == found.labels[rank]
        assert float(chosen.scalar.detach().exp()) == pytest.approx(score, abs=1e-4)
        assert chosen.trace.stride_known
    assert len({(each.trace.feature, each.trace.cells, each.trace.anchor) for each in every}) == 19
    assert not hooks(shipped.detector.model)


def test_the_label_says_what_it_is_and_where_it_comes_from(shipped: Shipped) -> None:
    first = shipped.choose(explain='box:0')[0]
    assert first.title == 'box 0 · house 0.97 ← neck[0] · stride 8 · cell (55, 5) · anchor 1'
    assert shipped.choose(explain='top')[0].title == first.title
    assert shipped.choose(explain='box:1', part='left')[0].label == 'box 1 · left side · balloon 0.95'


def test_class_and_objectness_make_the_score(shipped: Shipped) -> None:
    for rank in (0, 4, 18):
        score, of_class, objectness = (
            float(shipped.choose(explain=f'box:{rank}', part=part)[0].scalar.detach())
            for part in ('score', 'class', 'objectness')
        )
        assert of_class < 0
        assert objectness < 0
        assert of_class + objectness == pytest.approx(score, abs=1e-4)


def test_sides_point_outward_and_all_has_each(shipped: Shipped) -> None:
    whole = shipped.choose(explain='box:1', part='all')[0]
    assert [part.part for part in whole.parts] == ['score', 'left', 'top', 'right', 'bottom']
    assert whole.scalar is whole.parts[0].scalar
    x1, y1, x2, y2 = whole.box
    sides = [float(part.scalar.detach()) for part in whole.parts[1:]]
    np.testing.assert_allclose(sides, [-x1, -y1, x2, y2], rtol=1e-6)
    assert whole.notes == ()


def test_a_class_is_the_sum_of_its_detections(shipped: Shipped) -> None:
    answers = shipped.scene.answers
    label = answers.classes.index('balloon')
    ranks = [rank for rank, number in enumerate(answers.shown.tolist()) if int(answers.labels[number]) == label]
    for text in ('class:balloon', f'class:{label}', 'class:Balloon'):
        chosen = shipped.choose(explain=text)[0]
        each = [shipped.choose(explain=f'box:{rank}')[0] for rank in ranks]
        assert float(chosen.scalar.detach()) == pytest.approx(sum(float(one.scalar.detach()) for one in each), rel=1e-5)
        assert chosen.traces == tuple(one.trace for one in each)
        assert chosen.trace is None
        assert len(chosen.boxes) == len(ranks) > 1
        assert chosen.title == f'class balloon · {len(ranks)} detections'


def test_measures_itself_in_the_same_forward_and_nothing_on_black(shipped: Shipped) -> None:
    batch = shipped.detector.prepare([shipped.image])
    with torch.no_grad():
        both = shipped.detector.respond(
            batch.repeated(torch.cat([batch.inputs, torch.zeros_like(batch.inputs)])), raw=1e-3
        )
    for chosen in (shipped.choose(explain='box:3')[0], shipped.choose(explain='class:kite')[0]):
        same, black = chosen.measure(both).tolist()
        scores = [one.score for one in shipped.choose(explain='boxes') if one.class_index == chosen.class_index]
        assert same == pytest.approx(chosen.score if chosen.index is not None else sum(scores), abs=2e-3)
        assert black < 0.3


@pytest.mark.parametrize(
    ('asked', 'said'),
    [
        ({'explain': 'box:19'}, "explain='box:19': the image has only box:0 to box:18; a lower score_thr keeps more"),
        ({'explain': 'class:baloon'}, 'no such class; it knows balloon, kite'),
        ({'explain': 'class:99'}, 'the model has 8 classes, 0 to 7'),
        ({'explain': 'class:ball-class:kite'}, 'of a classifier or a segmentation'),
        ({'explain': 'class:ball', 'part': 'left'}, "is about one box: explain='box:14' is the first ball"),
        ({'explain': 'top', 'at': '3,3'}, 'at says where in a segmentation, and this model gives detections'),
    ],
)
def test_says_what_is_not_there(shipped: Shipped, asked: dict[str, str], said: str) -> None:
    with pytest.raises(TargetError, match=said) as error:
        shipped.choose(**asked)
    assert '\n' not in str(error.value)


def test_an_object_that_was_suppressed(shipped: Shipped, raw_scene: Scene) -> None:
    """The next best raw prediction of a detected object is one that non-maximum suppression took away."""
    first = shipped.choose(explain='box:4')[0]
    raw = shipped.raw_answers
    overlaps = box_iou(torch.from_numpy(first.box), raw.boxes)
    rivals = (raw.labels == first.class_index) & (raw.scores < first.score - 1e-3) & (raw.scores >= 0.3)
    number = int(torch.where(rivals & (overlaps > 0.5), raw.scores, 0).argmax())
    corners = raw.boxes[number].tolist()
    (chosen,) = choose(parse_target(box=corners, box_class='lighthouse'), raw_scene)
    assert chosen.title.startswith(f'missed lighthouse · {float(raw.scores[number]):.2f} ← neck[')
    assert chosen.notes[2] == f'suppressed by box 4, IoU {float(overlaps[number]):.2f}'
    assert chosen.trace != first.trace
    assert chosen.scalar.requires_grad
    np.testing.assert_allclose(chosen.box, corners, atol=0.5)


def test_an_object_that_is_found_and_one_below_the_threshold(shipped: Shipped, raw_scene: Scene) -> None:
    first = shipped.choose(explain='box:4')[0]
    (same,) = choose(parse_target(box=first.box), raw_scene)
    assert same.trace == first.trace
    assert 'not missed: it is box 4' in same.notes
    raw = shipped.raw_answers
    count = int((raw.labels == first.class_index).sum())
    assert same.notes[0].endswith(f'rank 1 of {count} raw predictions of its class')
    # The best prediction under the threshold of which there is no better one in the same place.
    weak = next(
        number
        for number in raw.scores.argsort(descending=True).tolist()
        if raw.scores[number] < 0.3
        and int(fit(raw, raw.boxes[number].numpy(), int(raw.labels[number])).argmax()) == number
    )
    name = raw.classes[int(raw.labels[weak])]
    (missed,) = choose(parse_target(box=raw.boxes[weak].tolist(), box_class=name), raw_scene)
    assert missed.score == pytest.approx(float(raw.scores[weak]), abs=1e-4)
    assert f'score {missed.score:.3g} < 0.3' in missed.notes
    assert missed.trace is not None


def test_a_side_that_the_edge_of_the_image_holds() -> None:
    cut = Shipped(left=100)  # through the lighthouse
    found = cut.choose(explain='class:lighthouse')[0]
    assert found.box[0] == 0
    asked = f'box:{found.index}'
    with pytest.raises(
        TargetError, match=f'the left side of box {found.index} lies on the edge of the image, where the'
    ):
        cut.choose(explain=asked, part='left')
    whole = cut.choose(explain=asked, part='all')[0]
    assert [part.part for part in whole.parts] == ['score', 'top', 'right', 'bottom']
    assert whole.notes == ('without left, on the edge of the image',)
