"""Which layer is explained on where none is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featmap.errors import LayerError
from featmap.explained_layers import choose_layers
from featmap.explaining import Explaining
from featmap.fusing import fused
from featmap.models.openmmlab.detector import Detector
from featmap.models.source import find_source
from featmap.options import Run
from featmap.targets import parse_target
from tests.conftest import CHECKPOINT, CONFIG


class Net(nn.Module):
    """Stages of strides 2, 4 and 8, the last of which ends in an activation, and a head: of the image or of pixels."""

    def __init__(self, whole: bool = True) -> None:
        super().__init__()
        self.classes, self.whole = ('a', 'b', 'c', 'd'), whole
        self.stage1 = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU())
        self.stage3 = nn.Conv2d(4, 4, 3, 2, 1)
        self.act = nn.ReLU()
        self.head = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        planes = self.head(self.act(self.stage3(self.stage2(self.stage1(x)))))
        return planes.mean((2, 3)) if self.whole else planes


def network(module: nn.Module):
    return find_source(None, None, module).open(Run.of({'input_size': '64'}))


@pytest.mark.parametrize(('stride', 'expected'), [(8, 'stage3'), (16, 'stage3'), (4, 'stage2'), (1, 'stage1')])
def test_the_end_of_the_stage_or_the_nearest_finer_one(stride: int, expected: str) -> None:
    assert choose_layers(network(Net()), [stride]) == (expected,)


def test_a_layer_stands_for_all_strides_that_have_none() -> None:
    assert choose_layers(network(Net()), [4, 8, 16]) == ('stage2', 'stage3')


def test_what_holds_all_stages_is_none_of_them() -> None:
    class Staged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = nn.Sequential(*(nn.Conv2d(3 if not n else 4, 4, 3, 2, 1) for n in range(4)))

        def forward(self, x: Tensor) -> Tensor:
            return self.stages(x).mean((2, 3))

    assert choose_layers(network(Staged()), [4, 8, 16]) == ('stages.1', 'stages.2', 'stages.3')


def test_of_a_detector_it_is_of_the_backbone() -> None:
    layers = choose_layers(Detector(CONFIG, CHECKPOINT, 'cpu'), [4, 8, 16])
    assert layers == ('backbone.stage1', 'backbone.stage2', 'backbone.stage3')


@pytest.mark.parametrize(('whole', 'kind'), [(True, 'classes'), (False, 'segments')])
def test_classes_of_images_and_of_pixels_are_explained_on_several_stages(whole: bool, kind: str) -> None:
    torch.manual_seed(0)
    net = network(Net(whole))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    explaining = Explaining(net, parse_target('top'))
    explained = explaining(image)
    [found] = explained.explanations
    assert net.respond(net.prepare([image]))[0].kind == kind
    assert (found.method, [item.layer for item in found.maps]) == ('layercam', ['stage2', 'stage3'])
    apart = Explaining(net, parse_target('top'), fuse='none')(image).explanations
    np.testing.assert_allclose(found.heat, fused([one.heat for one in apart], 'product'), atol=1e-6)


def test_a_net_without_a_map() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2))
    with pytest.raises(LayerError, match='puts out a map'):
        choose_layers(network(flat), [8])
