"""The object query that stands for a pixel, by the boxes that the model puts out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featmap.attention import BoxWatch
from featmap.errors import DrawError, LayerError
from featmap.geometry import ImageGeometry
from tests.attention_helpers import Detr
from tests.conftest import hooks

# Centre and size, in shares of the content: all of it, its left half, a tenth around the middle, its right edge.
BOXES = torch.tensor([[0.5, 0.5, 1, 1], [0.25, 0.5, 0.5, 1], [0.5, 0.5, 0.1, 0.1], [0.95, 0.5, 0.1, 1], [0, 0, 0, 0]])
WHOLE = ImageGeometry.whole((32, 48))


def watched(model: nn.Module) -> BoxWatch:
    watch = BoxWatch(model)
    with watch, torch.no_grad():
        model(torch.rand(1, 3, 32, 48))
    assert hooks(model) == 0
    return watch


@pytest.mark.parametrize(
    ('geometry', 'pixel', 'query'),
    [
        (WHOLE, (40, 3), 0),
        (WHOLE, (3, 3), 1),
        (WHOLE, (24, 16), 2),
        (WHOLE, (47, 0), 3),
        # 20 x 40 pixels of 96 x 64 in all, 12 rows of padding above: shares are of the content.
        (ImageGeometry((40, 96), (32, 48), (0.5, 0.5), (0, 6)), (48, 20), 2),
        (ImageGeometry((40, 96), (32, 48), (0.5, 0.5), (0, 6)), (20, 39), 1),
        (ImageGeometry((32, 48), (32, 48), flip=(True, False)), (47, 3), 1),
        (ImageGeometry((32, 48), (32, 48), flip=(True, False)), (0, 3), 3),
        # The middle of 96 x 64 pixels is cut out: shares are of what is left.
        (ImageGeometry((64, 96), (32, 48), (1.0, 1.0), (-24, -16)), (70, 20), 3),
        (ImageGeometry((64, 96), (32, 48), (1.0, 1.0), (-24, -16)), (47, 31), 2),
    ],
)
def test_the_smallest_box_that_holds_the_pixel(geometry, pixel, query):
    assert watched(Detr(BOXES)).query_at(pixel, geometry, 5) == query


def test_a_pixel_in_no_box_is_refused():
    with pytest.raises(LayerError) as caught:
        watched(Detr(BOXES[2:])).query_at((3, 3), WHOLE, 3)
    assert str(caught.value) == 'none of the boxes of 3 object queries holds 3,3: query N asks for one by its number'
    with pytest.raises(DrawError, match='lies outside of the image'):
        watched(Detr(BOXES)).query_at((48, 3), WHOLE, 5)


@pytest.mark.parametrize('boxes', [None, BOXES * 48, BOXES[:4], BOXES[:, :3]])
def test_without_boxes_of_all_queries_it_says_what_is_missing(boxes):
    with pytest.raises(LayerError, match='puts out no boxes of its 5 object queries to find 3,3 in: query N asks'):
        watched(Detr(boxes)).query_at((3, 3), WHOLE, 5)


class Head(nn.Module):
    """Scores and boxes of each decoder layer, as OpenMMLab's heads put them out."""

    def forward(self, x):
        return torch.rand(3, 1, 5, 4) * 9, torch.stack([BOXES.flip(0)[None], BOXES.flip(0)[None], BOXES[None]])


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bbox_head = Head()

    def forward(self, x):
        self.bbox_head(x)
        return 'results'


def test_the_last_layer_of_a_part_of_the_model_counts():
    assert watched(Detector()).query_at((3, 3), WHOLE, 5) == 1


class Named(nn.Module):
    def forward(self, x):
        return {'pred_boxes': BOXES[None], 'reference_points': BOXES.flip(0)[None]}


def test_what_is_called_boxes_stands_above_what_only_looks_so():
    assert watched(Named()).query_at((3, 3), WHOLE, 5) == 1


def test_an_old_forward_is_forgotten():
    model = Detr(BOXES)
    watch = watched(model)
    model.boxes = None
    with watch, torch.no_grad():
        model(torch.rand(1, 3, 32, 48))
    with pytest.raises(LayerError):
        watch.query_at((3, 3), WHOLE, 5)
