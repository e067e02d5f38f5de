"""Reducers and visualizers by their names, the user's own among them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from featmap.errors import DrawError, OptionError
from featmap.inferencer import FeatMapInferencer
from featmap.recorder import ActivationRecorder
from featmap.reducers import Reducer
from featmap.registry import REDUCERS, VISUALIZERS
from featmap.structures import Rendering
from featmap.visualizer import FeatMapVisualizer
from tests.conftest import hooks
from tests.inferencer_helpers import IMAGE, build, with_featmap


@pytest.fixture
def register() -> Iterator[Any]:
    """Registers in a registry for the time of a test."""
    added = []

    def add(registry: Any, name: str, module: Any) -> Any:
        registry.register_module(name=name, module=module)
        added.append((registry, name))
        return module

    yield add
    for registry, name in added:
        del registry.module_dict[name]


def opacity(inferencer: FeatMapInferencer) -> float:
    """How opaque the heat is, told from a picture of black and white pixels."""
    image = np.zeros((60, 100, 3), np.uint8)
    image[::2] = 255
    result = inferencer.draw(image)
    panel = result.rendering.panels[1]
    rows = result.image[panel.y + 20 : panel.y + 40, panel.x + 20 : panel.x + 80].astype(float)
    return 1 - (rows[::2] - rows[1::2]).mean() / 255


class TestReducers:
    def test_channels(self) -> None:
        result = build(target_layers=['neck'], channel_reduction=None, topk=4)(IMAGE)
        assert [len(item) for item in result.maps] == [4, 4, 4]
        assert len(result.rendering.panels) == 1 + 3 * 4
        for item in result.maps:
            assert len(set(item.channels)) == 4

    def test_one_of_the_users(self, register: Any) -> None:
        class Spread(Reducer):
            def __init__(self, power: float = 1) -> None:
                self.power = power

            def __call__(self, features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
                assert not features.requires_grad
                assert weights.shape == features.shape[1:]
                return features.std(dim=0) ** self.power

        register(REDUCERS, 'spread', Spread)
        once = build(target_layers=['neck'], channel_reduction='spread')(IMAGE).maps
        twice = build(with_featmap(channel_reduction={'type': 'spread', 'power': 2}), target_layers='neck')(IMAGE).maps
        assert {item.reducer for item in (*once, *twice)} == {'spread'}
        for item, squared in zip(once, twice):
            np.testing.assert_allclose(item.values**2, squared.values, rtol=1e-5)

    def test_it_is_told_where_the_padding_is(self, register: Any) -> None:
        seen = []

        def look(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            seen.append(weights.clone())
            return features.mean(0)

        register(REDUCERS, 'look', look)
        build(target_layers=['neck[0]'], channel_reduction='look')(IMAGE)
        # 100x60 becomes 160x96 in 160x160: 32 rows of padding above and below, which are 4 cells.
        expected = torch.zeros(20, 20)
        expected[4:16] = 1
        assert torch.equal(seen[0], expected)

    def test_it_keeps_what_the_layer_put_out_though_the_next_one_overwrites_it(self, register: Any) -> None:
        def first_channels(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return features[:2]  # the layer's own memory

        register(REDUCERS, 'first_channels', first_channels)
        inferencer = build(target_layers=['backbone.stem.bn'], channel_reduction='first_channels')
        assert inferencer.model.backbone.stem.activate.inplace
        with ActivationRecorder(inferencer.model, ['backbone.stem.bn']) as recorder:
            inferencer.network.predict(inferencer.network.prepare([IMAGE]))
        values = inferencer(IMAGE).maps[0].values
        np.testing.assert_array_equal(values, recorder.records[0].value[0, :2].numpy())

    def test_one_that_fails_leaves_no_hooks(self, register: Any) -> None:
        def fail(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError('mine')

        register(REDUCERS, 'fail', fail)
        inferencer = build(channel_reduction='fail')
        with pytest.raises(DrawError, match='the reducer fail failed: ZeroDivisionError: mine'):
            inferencer(IMAGE)
        assert hooks(inferencer.model) == 0
        assert inferencer.extractor._batch is None


class TestVisualizers:
    def test_one_of_the_users(self, register: Any) -> None:
        class Framed(FeatMapVisualizer):
            def __init__(self, name: str, frame: int = 0, **kwargs: Any) -> None:
                super().__init__(name, **kwargs)
                self.frame = frame

            def draw_maps(self, *args: Any, **kwargs: Any) -> Rendering:
                rendering = super().draw_maps(*args, **kwargs)
                rendering.image[:] = self.frame
                return rendering

        register(VISUALIZERS, 'Framed', Framed)
        cfg = with_featmap(visualizer={'type': 'Framed', 'frame': 7}, alpha=0.125)
        inferencer = build(cfg)
        assert isinstance(inferencer.visualizer, Framed)
        assert inferencer.options.look.alpha == 0.125
        assert (inferencer(IMAGE).image == 7).all()

    def test_its_own_arguments_stand_where_no_option_was_given(self) -> None:
        settings = {'alpha': 0.125, 'labels': False}
        assert opacity(build(visualizer=settings, boxes=False)) == pytest.approx(0.125, abs=0.05)
        assert opacity(build(visualizer=settings, boxes=False, alpha=0.75)) == pytest.approx(0.75, abs=0.05)
        without_labels = build(with_featmap(visualizer=settings), alpha=0.75)(IMAGE)
        assert without_labels.image.shape == (2 * 62 + 2, 2 * 102 + 2, 3)

    def test_two_inferencers_do_not_share_one(self) -> None:
        first, second = build(alpha=0.25, boxes=False), build(alpha=0.75, boxes=False)
        assert opacity(first) == pytest.approx(0.25, abs=0.05)
        assert opacity(second) == pytest.approx(0.75, abs=0.05)

    @pytest.mark.parametrize(
        ('visualizer', 'message'),
        [
            ({'type': 'NoSuchVisualizer'}, 'cannot be built.*NoSuchVisualizer'),
            ({'frame': 7}, "a visualizer has no option 'frame'; nearest: "),
            ({'type': 'mmengine.Visualizer'}, 'cannot be built'),
            ({'type': 'os.getcwd'}, 'os.getcwd is not registered'),
        ],
    )
    def test_not_to_be_used(self, visualizer: dict[str, Any], message: str) -> None:
        with pytest.raises(OptionError, match=message):
            build(visualizer=visualizer)

    def test_vis_backends_are_written_to(self, tmp_path: Path) -> None:
        inferencer = build(vis_backends=['LocalVisBackend'], save_dir=tmp_path, target_layers=['neck'])
        results = inferencer([IMAGE, IMAGE[:50]], step=4)
        inferencer.visualizer.close()
        written = sorted(tmp_path.rglob('*.png'))
        assert [path.name for path in written] == ['image_4.png', 'image_5.png']
        for path, result in zip(written, results):
            np.testing.assert_array_equal(np.asarray(Image.open(path)), result.image)

    @pytest.mark.parametrize('name', ['backend_module.Backend', 'mmengine.backend_module.Backend', 'os.getcwd'])
    def test_a_name_that_is_not_registered_is_not_imported(self, tmp_path, monkeypatch, name) -> None:
        (tmp_path / 'backend_module.py').write_text('raise SystemExit("imported")')
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(OptionError, match='no vis backend is called'):
            build(vis_backends=[name])
        assert 'backend_module' not in sys.modules

    def test_a_registered_name_may_have_its_scope(self, tmp_path) -> None:
        inferencer = build(vis_backends=['mmengine.LocalVisBackend'], save_dir=tmp_path, target_layers=['neck'])
        assert list(inferencer.visualizer._vis_backends) == ['LocalVisBackend']

    def test_an_unknown_vis_backend_is_named(self) -> None:
        with pytest.raises(OptionError, match="'LocalBackend'; nearest: LocalVisBackend"):
            build(vis_backends=['LocalBackend'])

    def test_whatever_default_scope_another_library_has_set(self, tmp_path: Path) -> None:
        with DefaultScope.overwrite_default_scope('mmdet'):
            inferencer = build(vis_backends=['LocalVisBackend'], save_dir=tmp_path, target_layers=['neck'])
        assert type(inferencer.visualizer) is FeatMapVisualizer

    def test_nothing_is_written_unasked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        build()(IMAGE)
        assert list(tmp_path.iterdir()) == []
