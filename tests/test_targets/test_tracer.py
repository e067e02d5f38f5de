"""Traces through heads small enough to see through: each score is put together in the test."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featmap.answers import Answers, RawLayer
from featmap.errors import TargetError
from featmap.geometry import ImageGeometry
from featmap.gradients import GradientRecorder
from featmap.meaning import Meaning
from featmap.targets import Scene, Trace, Tracer, choose, parse_target, traced_layers
from tests.conftest import hooks

CLASSES = ('dog', 'cat')
SIZE = (16, 24)


class Known:
    """Two anchors a cell: (2 × classes), (2 × objectness); two levels of 4 and 8 pixels."""

    strides = (4.0, 8.0)

    def of(self, path: str, channels: int) -> Meaning:
        if path.startswith('[0]'):
            return Meaning('cls', '', CLASSES, (0, 1), anchors=2, activation='sigmoid')
        return Meaning('obj', '', ('objectness',), scores=(0,), anchors=2, activation='sigmoid')


class Rows:
    """Rows of two classes and background, and of boxes."""

    def of(self, path: str, channels: int) -> Meaning:
        if path == '[0]':
            return Meaning('cls', '', (*CLASSES, 'background'), (0, 1), activation='softmax')
        return Meaning('box')


class Neck(nn.Module):
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return image[:, :, ::4, ::4] * 1, image[:, :, ::8, ::8] * 1


class Dense(nn.Module):
    """Raw predictions are sums of the image's channels: class scores of each anchor, then objectness."""

    def __init__(self) -> None:
        super().__init__()
        made = torch.Generator().manual_seed(0)
        self.classes, self.objectness = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1)
        for part in (self.classes, self.objectness):
            part.weight.data = torch.randn(part.weight.shape, generator=made)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        return [self.classes(each) for each in maps], [self.objectness(each) for each in maps]


class Regional(nn.Module):
    """Two numbers and background, and boxes, of each region."""

    def forward(self, cut: Tensor) -> tuple[Tensor, Tensor]:
        means = cut.mean(dim=(2, 3))
        return means, means[:, :1] * torch.ones(4)


class Cutter(nn.Module):
    """Cuts region 0 and 2 out of the first map, region 1 out of the second."""

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        made = torch.zeros(3, 3, 2, 2)
        for region, level in enumerate((0, 1, 0)):
            made[region] = maps[level][0, :, :2, :2]
        return made


class Detector(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.neck, self.bbox_head = Neck(), head

    def forward(self, image: Tensor) -> Any:
        return self.bbox_head(self.neck(image))


class TwoStages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neck, self.roi_head = Neck(), nn.Module()
        self.roi_head.bbox_roi_extractor, self.roi_head.bbox_head = Cutter(), Regional()

    def forward(self, image: Tensor) -> Any:
        return self.roi_head.bbox_head(self.roi_head.bbox_roi_extractor(self.neck(image)))


def ran(model: nn.Module, layers: list[RawLayer]) -> tuple[Any, Tracer]:
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    recorder = GradientRecorder(model, traced_layers(model, layers))
    model.requires_grad_(False)
    with recorder, torch.enable_grad():
        output = model(image)
    assert not hooks(model)
    return output, Tracer(layers, recorder.kept, SIZE)


@pytest.fixture
def dense() -> tuple[Any, Tracer]:
    model = Detector(Dense())
    return ran(model, [RawLayer('bbox_head', model.bbox_head, 'dense', Known())])


def scene_of(score: Tensor, tracer: Tracer, box: Tensor | None = None, label: int = 1) -> Scene:
    box = torch.tensor([[1.0, 2, 20, 10]]) if box is None else box
    return Scene(
        Answers('boxes', box, score.reshape(1), torch.tensor([label]), torch.tensor([0]), classes=CLASSES),
        ImageGeometry(SIZE, SIZE),
        tracer,
    )


def test_a_cell_an_anchor_and_a_level(dense: tuple[Any, Tracer]) -> None:
    (scores, objectness), tracer = dense
    # Level 1, row 1, column 2, anchor 1, cat.
    raw_class, raw_object = scores[1][0, 3, 1, 2], objectness[1][0, 1, 1, 2]
    score = raw_class.sigmoid() * raw_object.sigmoid()
    scene = scene_of(score, tracer)
    (chosen,) = choose(parse_target('box:0'), scene)
    assert chosen.trace == Trace(
        'dense', 'bbox_head', '[0][1]', 'neck[1]', 8.0, cells=((1, 2),), anchor=1, anchors=2, class_index=1
    )
    assert str(chosen.trace) == 'neck[1] · stride 8 · cell (1, 2) · anchor 1'
    for part, raw in (('class', raw_class), ('objectness', raw_object)):
        scalar = choose(parse_target('box:0', part), scene)[0].scalar
        assert float(scalar.detach()) == pytest.approx(math.log(1 / (1 + math.exp(-float(raw.detach())))), rel=1e-5)


def test_a_score_of_no_objectness_has_only_the_parts_that_it_has(dense: tuple[Any, Tracer]) -> None:
    (scores, _), tracer = dense
    bare = Tracer([RawLayer('bbox_head', tracer.layers[0].module, 'dense')], [], SIZE)
    assert not bare.known
    scene = scene_of(scores[0][0, 0, 0, 0].sigmoid(), tracer, label=0)
    assert choose(parse_target('top'), scene)[0].trace.anchor == 0
    box = torch.zeros(1, 4)
    with pytest.raises(TargetError, match='the left side of box 0 lies on the edge of the image, where the model cuts'):
        choose(parse_target('top', 'left'), scene_of(scores[0][0, 0, 0, 0].sigmoid(), tracer, box))
    inside = torch.tensor([[5.0, 5, 9, 9]])
    with pytest.raises(TargetError, match='the left side of box 0 has no gradient: the model detaches its boxes'):
        choose(parse_target('top', 'left'), scene_of(scores[0][0, 0, 0, 0].sigmoid(), tracer, inside))


def test_all_leaves_out_sides_on_the_edge(dense: tuple[Any, Tracer]) -> None:
    (scores, _), tracer = dense
    raw = scores[0][0, 0, 1, 1]
    edges = torch.stack([raw, raw, raw + 40, raw + 9]).clamp(min=0)
    box = torch.stack([edges[0].clamp(max=0), edges[1].clamp(max=0), edges[2].clamp(max=24), edges[3]])[None]
    (chosen,) = choose(parse_target('top', 'all'), scene_of(raw.sigmoid(), tracer, box, 0))
    assert [part.part for part in chosen.parts] == ['score', 'bottom']
    assert chosen.notes == ('without left, top, right, on the edge of the image',)
    assert chosen.label.startswith('box 0 · score and sides · dog ')


def test_scores_made_of_several_predictions_are_refused_by_the_name_of_the_head(dense: tuple[Any, Tracer]) -> None:
    (scores, _), tracer = dense
    voted = scores[0][0, 0, :, 0].sigmoid().mean()
    with pytest.raises(TargetError) as error:
        choose(parse_target('box:0'), scene_of(voted, tracer))
    assert str(error.value) == (
        'box 0 cannot be traced: its score is made of 4 raw predictions of bbox_head (Dense), expected one; methods '
        "that need no gradient work: method=['drise']"
    )
    scene = scene_of(voted, tracer)
    (chosen,) = choose(parse_target('box:0'), Scene(scene.answers, scene.geometry, tracer, gradients=False))
    assert chosen.trace is None
    assert chosen.notes[0].startswith('not traced: box 0 cannot be traced: its score is made of 4')


def test_a_score_that_depends_on_nothing(dense: tuple[Any, Tracer]) -> None:
    (scores, _), tracer = dense
    saturated = (scores[0][0, 0, 0, 0] * 0).sigmoid()
    with pytest.raises(TargetError, match=r'its score is 0.5 and its gradient zero in all of bbox_head \(Dense\)'):
        choose(parse_target('box:0'), scene_of(saturated, tracer))


def test_what_is_not_finite_counts_as_nothing(dense: tuple[Any, Tracer]) -> None:
    (scores, _), tracer = dense
    overflow = (scores[0][0, 1, 2, 2] * 0 + 1e5).exp()
    score = torch.stack([scores[1][0, 0, 0, 0].sigmoid(), overflow])[0]  # 0 · inf in the backward
    assert tracer.find(score.log(), 'box 0').trace.cells == ((0, 0),)


def test_two_corners(dense: tuple[Any, Tracer]) -> None:
    model = Detector(Dense())
    model.bbox_head.objectness = nn.Conv2d(3, 4, 1)
    (first, second), tracer = ran(model, [RawLayer('bbox_head', model.bbox_head, 'dense')])
    score = (first[0][0, 1, 0, 1].sigmoid() + second[0][0, 1, 3, 4].sigmoid()) / 2
    scene = scene_of(score, tracer)
    (chosen,) = choose(parse_target('box:0'), scene)
    assert chosen.trace.cell is None
    assert str(chosen.trace) == 'neck[0] · stride ≈ 4 · cells (0, 1) and (3, 4)'
    with pytest.raises(TargetError, match='have one score, that of the class'):
        choose(parse_target('box:0', 'class'), scene)


@pytest.mark.parametrize(('region', 'feature', 'stride'), [(0, 'neck[0]', 4), (1, 'neck[1]', 8), (2, 'neck[0]', 4)])
def test_a_proposal_and_the_map_that_it_was_cut_out_of(region: int, feature: str, stride: int) -> None:
    model = TwoStages()
    (logits, _), tracer = ran(model, [RawLayer('roi_head.bbox_head', model.roi_head.bbox_head, 'region', Rows())])
    scene = scene_of(logits.softmax(dim=1)[region, 1], tracer)
    (chosen,) = choose(parse_target('box:0'), scene)
    assert str(chosen.trace) == f'{feature} · stride ≈ {stride} · proposal {region}'
    of_class = choose(parse_target('box:0', 'class'), scene)[0].scalar
    assert float(of_class.detach()) == pytest.approx(float(chosen.scalar.detach()), rel=1e-5)
    with pytest.raises(TargetError, match=r"explain_part='objectness': roi_head.bbox_head has none"):
        choose(parse_target('box:0', 'objectness'), scene)


def test_an_object_query() -> None:
    class Queries(nn.Module):
        def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            rows = maps[0][0].flatten(1).T[:5]  # (5, 3)
            return torch.stack([rows, rows * 2])[:, None], torch.stack([rows[:, :1], rows[:, :1]])[:, None]

    model = Detector(Queries())
    (logits, _), tracer = ran(model, [RawLayer('bbox_head', model.bbox_head, 'query', Rows())])
    scene = scene_of(logits[-1, 0, 3].softmax(dim=0)[1], tracer)
    (chosen,) = choose(parse_target('box:0'), scene)
    assert chosen.trace == Trace('query', 'bbox_head', '[0]', query=3, class_index=1)
    assert str(chosen.trace) == 'bbox_head · query 3'
    of_class = choose(parse_target('box:0', 'class'), scene)[0].scalar
    assert float(of_class.detach()) == pytest.approx(float(chosen.scalar.detach()), rel=1e-5)


def test_a_head_that_runs_once_for_each_level() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neck, self.bbox_head = Neck(), nn.Conv2d(3, 4, 1)

        def forward(self, image: Tensor) -> list[Tensor]:
            return [self.bbox_head(each) for each in self.neck(image)]

    model = Shared()
    (_, second), tracer = ran(model, [RawLayer('bbox_head', model.bbox_head, 'dense')])
    trace = tracer.find(second[0, 2, 1, 0].sigmoid().log(), 'box 0').trace
    assert (trace.feature, trace.stride, trace.cell) == ('neck[1]', 8, (1, 0))


def test_probabilities_that_a_head_puts_out_already() -> None:
    class Probable(Dense):
        def forward(self, maps: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
            scores, objectness = super().forward(maps)
            return [each.sigmoid() for each in scores], objectness

    model = Detector(Probable())
    (scores, _), tracer = ran(model, [RawLayer('bbox_head', model.bbox_head, 'dense', Known())])
    value = scores[0][0, 2, 3, 3]
    (chosen,) = choose(parse_target('box:0', 'class'), scene_of(value * 1, tracer, label=0))
    assert float(chosen.scalar.detach()) == pytest.approx(math.log(float(value.detach())), rel=1e-5)
