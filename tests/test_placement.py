"""How recorded maps lie: asked of the first forward of an input size, remembered for the others, guessed last."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featmap.extractor import MapExtractor
from featmap.geometry import Cells
from featmap.inferencer import FeatMapInferencer
from featmap.layers import resolve
from featmap.layouts import maps_of
from featmap.placement import Placement
from featmap.recorder import ActivationRecorder
from featmap.tracing import PlaceTrace
from tests.conftest import CHECKPOINT, CONFIG, hooks

SIZE = 'test_dataloader.dataset.pipeline.1.scale'


class Levels(nn.Module):
    """SSD's last levels: stride 32 of 300 pixels, then unpadded; and a map from nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, stride=32, padding=1)
        self.shared = nn.Conv2d(2, 2, 3, stride=2, padding=1)
        self.last = nn.Conv2d(2, 2, 3)
        self.lost = nn.Identity()

    def forward(self, x: Tensor) -> None:
        x = self.stem(x)
        x = self.shared(x)
        self.last(self.shared(x))
        self.last(x)
        self.lost(torch.rand(1, 2, 19, 19))


def placed(net: nn.Module, placement: Placement, shape: tuple[int, int]) -> dict[str, Cells]:
    def consume(target, output):
        return [placement.cells(target, item) for item in maps_of(output, shape)]

    recorder = ActivationRecorder(net, ['stem', 'shared', 'last', 'lost'], consume)
    x = torch.rand(1, 1, *shape)
    with torch.no_grad(), placement.watched(x, recorder.calls), recorder:
        net(x)
    return {f'{record.target.name}#{record.call}': record.value[0] for record in recorder.records}


def test_every_call_has_its_own_place_and_what_is_unknown_is_a_guess() -> None:
    net = Levels()
    placement = Placement(net)
    first = placed(net, placement, (300, 300))
    assert first == {
        'stem#0': Cells((32, 32), (0, 0), known=True),
        'shared#0': Cells((64, 64), (0, 0), known=True),
        'shared#1': Cells((128, 128), (0, 0), known=True),
        'last#0': Cells((128, 128), (1, 1), known=True),  # from 3 cells to 1: the one in the middle
        'last#1': Cells((64, 64), (1, 1), known=True),
        'lost#0': Cells((16, 16), (0, 0), known=False),
    }
    assert placed(net, placement, (300, 300)) == first
    assert hooks(net) == 0


def test_only_the_first_forward_of_a_size_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []
    enter = PlaceTrace.__enter__
    monkeypatch.setattr(PlaceTrace, '__enter__', lambda self: traced.append(self._inputs.shape[2:]) or enter(self))
    net = Levels()
    placement = Placement(net)
    for shape in ((300, 300), (300, 300), (320, 300), (300, 300), (320, 300)):
        placed(net, placement, shape)
    assert traced == [(300, 300), (320, 300)]


def test_a_forward_that_fails_is_not_remembered() -> None:
    net = Levels()
    placement = Placement(net)
    x = torch.rand(1, 1, 300, 300)
    with pytest.raises(RuntimeError, match='broken'), placement.watched(x, lambda target: 1):
        raise RuntimeError('broken')
    assert placed(net, placement, (300, 300))['stem#0'].known


def test_tokens_take_the_grid_of_their_patches() -> None:
    """7 x 9 patches of 20 pixels: no stride of a power of two, or of a known ViT, has as many."""
    net = nn.Sequential(nn.Conv2d(1, 4, 20, stride=20), nn.Flatten(2))
    placement, (target,) = Placement(net), resolve(net, ['1'])
    found = []

    def consume(target, output):
        tokens = output.transpose(1, 2)
        for item in maps_of(tokens, (150, 190), layout_of=placement.layouts_of(target)):
            found.append((tuple(item.features.shape), placement.cells(target, item)))

    recorder = ActivationRecorder(net, [target], consume)
    x = torch.rand(1, 1, 150, 190)
    for _ in range(2):
        with torch.no_grad(), placement.watched(x, recorder.calls), recorder:
            net(x)
    assert found == [((1, 4, 7, 9), Cells((20, 20), (0, 0), known=True))] * 2


def test_pictures_of_a_pipeline_that_rounds_down() -> None:
    """What the shipped detector puts out is known, for inputs of any size."""
    options = {
        'test_dataloader.dataset.pipeline.1.scale': (160, 160),
        'test_dataloader.dataset.pipeline.2.scale': (160, 160),
    }
    inferencer = FeatMapInferencer(
        CONFIG, CHECKPOINT, device='cpu', cfg_options=options, target_layers=['backbone', 'neck'], boxes=False
    )
    extractor: MapExtractor = inferencer.extractor
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    first, second = extractor.extract(image)[0], extractor.extract(image)[0]
    for maps in (first, second):
        assert [item.stride for item in maps] == [(s, s) for s in (8, 16, 32)] * 2
        assert all(item.stride_known and item.offset == (0, 0) for item in maps)
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one.values, other.values)
    places = {output[2] + output[0].name: place for output, place in extractor.placement._seen[160, 160].places.items()}
    # By hand: the even stem is centred, every convolution of stride 2 moves by half an input pixel of its own.
    for path, shift in (('[0]', -3), ('[1]', -7), ('[2]', -15)):
        place = places[f'{path}backbone']
        assert (place.rows.low, place.rows.high, place.columns.low, place.columns.high) == (shift,) * 4
    assert (places['[0]neck'].columns.low, places['[0]neck'].columns.high) == (-15, -3)
