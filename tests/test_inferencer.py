"""The whole way from an image to its picture, as a Python user goes it."""

from __future__ import annotations

import copy
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from torch import nn

from featmap import inferencer as inferencer_module
from featmap.errors import ConfigError, LayerError, MissingPackageError, OptionError, SourceError
from featmap.inferencer import FeatMapInferencer
from featmap.models.config import load_config
from featmap.models.mmcv_ops import ensure_ops
from featmap.recorder import ActivationRecorder
from featmap.reducers import Reducer
from featmap.registry import REDUCERS, VISUALIZERS
from featmap.results import Result
from featmap.sources import Source
from featmap.structures import Rendering
from featmap.visualizer import FeatMapVisualizer

YOLOV5 = 'mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py'
SMALL = {
    'test_dataloader.dataset.pipeline.1.scale': (160, 160),
    'test_dataloader.dataset.pipeline.2.scale': (160, 160),
    'model.test_cfg.nms_pre': 100,
    'model.test_cfg.score_thr': 1e-6,
}
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)


def build(config: Any = YOLOV5, **options: Any) -> FeatMapInferencer:
    options.setdefault('cfg_options', SMALL if isinstance(config, str) else None)
    return FeatMapInferencer(config, **{'device': 'cpu', 'score_thr': 1e-6, **options})


def with_featmap(**settings: Any) -> Config:
    """The small config with a ``featmap`` dict."""
    cfg = load_config(YOLOV5, SMALL)
    cfg.featmap = settings
    return cfg


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def opacity(inferencer: FeatMapInferencer) -> float:
    """How opaque the heat is, told from a picture of black and white pixels."""
    image = np.zeros((60, 100, 3), np.uint8)
    image[::2] = 255
    result = inferencer.draw(image)
    panel = result.rendering.panels[1]
    rows = result.image[panel.y + 20 : panel.y + 40, panel.x + 20 : panel.x + 80].astype(float)
    return 1 - (rows[::2] - rows[1::2]).mean() / 255


def names(result: Result) -> list[str]:
    return [item.name for item in result.maps]


@pytest.fixture(scope='module')
def vis() -> Iterator[FeatMapInferencer]:
    """One inferencer that draws backbone and neck, with boxes."""
    inferencer = build(target_layers=['backbone', 'neck'])
    yield inferencer
    assert hooks(inferencer.model) == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ('b/img2.png', 'a/img10.png', 'a/img2.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(IMAGE).save(tmp_path / name)
    return tmp_path


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


class TestImages:
    def test_an_array(self, vis: FeatMapInferencer) -> None:
        result = vis(IMAGE)
        assert isinstance(result, Result)
        assert result.name == 'image'
        assert names(result) == ['backbone[0]', 'backbone[1]', 'backbone[2]', 'neck[0]', 'neck[1]', 'neck[2]']
        assert [item.stride for item in result.maps] == [(s, s) for s in (8, 16, 32)] * 2
        assert [item.shape[1:] for item in result.maps] == [(20, 20), (10, 10), (5, 5)] * 2
        assert {item.geometry.image_shape for item in result.maps} == {(60, 100)}
        assert isinstance(result.rendering, Rendering)
        assert result.image is result.rendering.image
        assert len(result.rendering.panels) == 7
        assert len(result.predictions) > 0

    @pytest.mark.parametrize('of', [str, Path])
    def test_a_path(self, vis: FeatMapInferencer, folder: Path, of: type) -> None:
        result = vis(of(folder / 'a' / 'img2.png'))
        assert isinstance(result, Result)
        assert result.name == 'img2.png'
        np.testing.assert_array_equal(result.maps[0].values, vis(IMAGE).maps[0].values)

    def test_a_source(self, vis: FeatMapInferencer, folder: Path) -> None:
        assert vis(Source(str(folder / 'a' / 'img2.png'), 'some/name.png')).name == 'some/name.png'

    def test_a_folder_and_a_glob_in_natural_order(self, vis: FeatMapInferencer, folder: Path) -> None:
        assert [result.name for result in vis(folder)] == ['a/img2.png', 'a/img10.png', 'b/img2.png']
        assert [result.name for result in vis(f'{folder}/a/*.png')] == ['img2.png', 'img10.png']

    def test_a_folder_or_glob_of_one_image_gives_a_list_all_the_same(
        self, vis: FeatMapInferencer, folder: Path
    ) -> None:
        assert [result.name for result in vis(folder / 'b')] == ['img2.png']
        assert [result.name for result in vis(f'{folder}/b/*.png')] == ['img2.png']

    def test_several_of_all_kinds(self, vis: FeatMapInferencer, folder: Path) -> None:
        results = vis([IMAGE[:40], folder / 'a', (str(folder / 'b' / 'img2.png'),)])
        assert [result.name for result in results] == ['image', 'img2.png', 'img10.png', 'img2.png']
        assert results[0].maps[0].geometry.image_shape == (40, 100)
        assert len(vis([IMAGE])) == 1
        assert vis([]) == []

    def test_what_is_not_there(self, vis: FeatMapInferencer, folder: Path) -> None:
        with pytest.raises(SourceError, match=r"'no\.png'"):
            vis(folder / 'no.png')

    @pytest.mark.parametrize(
        'image', [IMAGE[..., 0], IMAGE[..., :1], IMAGE.astype(np.float32), np.zeros((4, 5, 4), np.uint8)]
    )
    def test_arrays_that_are_no_rgb_image(self, vis: FeatMapInferencer, image: np.ndarray) -> None:
        with pytest.raises(OptionError, match=r'expected an RGB image of shape \(H, W, 3\) and uint8, got'):
            vis(image)

    def test_the_image_is_not_written_to(self, vis: FeatMapInferencer) -> None:
        image = IMAGE.copy()
        vis(image)
        np.testing.assert_array_equal(image, IMAGE)

    def test_the_same_image_gives_the_same_picture(self, vis: FeatMapInferencer) -> None:
        first = vis(IMAGE).image
        vis(IMAGE[::-1, ::-1])
        np.testing.assert_array_equal(vis(IMAGE).image, first)
        np.testing.assert_array_equal(build(target_layers=['backbone', 'neck'])(IMAGE).image, first)


def test_saving(vis: FeatMapInferencer, tmp_path: Path) -> None:
    result = vis(IMAGE)
    path = result.save(tmp_path / 'picture.png')
    assert path == tmp_path / 'picture.png'
    np.testing.assert_array_equal(np.asarray(Image.open(path)), result.image)
    assert [entry.name for entry in tmp_path.iterdir()] == ['picture.png']
    assert result.save(tmp_path / 'deeper' / 'no_suffix').suffix == '.png'


class TestSettings:
    def test_defaults(self) -> None:
        settings = FeatMapInferencer(YOLOV5, device='cpu', cfg_options=SMALL).settings
        assert (settings.target_layers, settings.channel_reduction, settings.score_thr) == (
            ('backbone',), 'select_max', 0.3)  # fmt: skip

    def test_the_configs_dict(self) -> None:
        cfg = with_featmap(target_layers=['neck'], channel_reduction='squeeze_mean', alpha=0.0, labels=False)
        result = build(cfg)(IMAGE)
        assert names(result) == ['neck[0]', 'neck[1]', 'neck[2]']
        assert {item.reducer for item in result.maps} == {'squeeze_mean'}
        assert result.image.shape == (2 * 62 + 2, 2 * 102 + 2, 3)

    def test_options_win_over_it(self) -> None:
        cfg = with_featmap(target_layers=['neck'], channel_reduction='squeeze_mean', alpha=0.25, score_thr=0.9)
        before = copy.deepcopy(cfg.to_dict())
        inferencer = build(cfg, target_layers=['backbone.stage1'], channel_reduction=None, topk=3, score_thr=0.7)
        assert inferencer.settings.alpha == 0.25
        assert inferencer.settings.score_thr == inferencer.detector.score_thr == 0.7
        result = inferencer(IMAGE)
        assert names(result) == ['backbone.stage1']
        assert result.maps[0].reducer == 'topk'
        assert len(result.maps[0]) == len(set(result.maps[0].channels)) == 3
        assert cfg.to_dict() == before

    def test_overrides_of_the_config_reach_it(self) -> None:
        inferencer = build(with_featmap(), cfg_options={'featmap.target_layers': ['neck'], 'featmap.topk': 2})
        assert inferencer.settings.target_layers == ('neck',)
        assert inferencer.settings.topk == 2

    def test_overrides_of_the_config_reach_the_network(self) -> None:
        options = {**SMALL, 'model.backbone.widen_factor': 0.125, 'model.neck.widen_factor': 0.125}
        options['model.bbox_head.head_module.widen_factor'] = 0.125
        inferencer = build(target_layers=['neck'], cfg_options=options)
        assert [item.shape for item in inferencer(IMAGE).maps] == [(32, 20, 20), (64, 10, 10), (128, 5, 5)]
        assert inferencer(IMAGE).maps[0].geometry.input_shape == (160, 160)

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            ({'target_layer': ['neck']}, "no option 'target_layer'; nearest: target_layers"),
            ({'alpha': 2}, 'alpha=2.0: expected a number from 0 to 1'),
            ({'channel_reduction': 'squeze_mean'}, "no reducer is called 'squeze_mean'; nearest: squeeze_mean"),
        ],
    )
    def test_slips_are_found_before_a_model_is_built(
        self, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inferencer_module, 'Detector', lambda *args, **kwargs: pytest.fail('it was built'))
        with pytest.raises(OptionError, match=message):
            build(**options)
        with pytest.raises(OptionError, match=message):
            build(with_featmap(**options))

    def test_no_such_config_device_or_layer(self) -> None:
        with pytest.raises(ConfigError, match='yolov5_nn'):
            build('mmyolo::yolov5/yolov5_nn.py')
        with pytest.raises(ConfigError, match='there is no device cuda:99'):
            build(device='cuda:99')
        with pytest.raises(LayerError, match=r"no layer 'backbone\.stage9'; nearest: backbone\.stage"):
            build(target_layers=['backbone.stage9'])


class TestLayers:
    def test_in_the_order_asked_for(self) -> None:
        result = build(target_layers=['neck', 'backbone.stage4', 'backbone.stage1'])(IMAGE)
        assert names(result) == ['neck[0]', 'neck[1]', 'neck[2]', 'backbone.stage4', 'backbone.stage1']
        assert [item.stride[0] for item in result.maps] == [8, 16, 32, 32, 4]

    def test_one_output_of_several(self, vis: FeatMapInferencer) -> None:
        result = build(target_layers=['neck[2]', 'neck[0]'])(IMAGE)
        assert names(result) == ['neck[2]', 'neck[0]']
        whole = vis(IMAGE).maps
        np.testing.assert_array_equal(result.maps[0].values, whole[5].values)
        np.testing.assert_array_equal(result.maps[1].values, whole[3].values)

    def test_every_call_of_a_layer_under_its_own_name(self) -> None:
        result = build(target_layers=['backbone.stage4.2.poolings', 'backbone.stage4.2'])(IMAGE)
        pool = 'backbone.stage4.2.poolings'
        assert names(result) == [f'{pool}#0', f'{pool}#1', f'{pool}#2', 'backbone.stage4.2']
        assert [panel.label.split(' ')[0] for panel in result.rendering.panels[1:]] == names(result)
        # Each is the maximum over a larger neighbourhood than the one before.
        first, second, third, _ = build(
            target_layers=[pool, 'neck'], channel_reduction='squeeze_mean'
        )(IMAGE).maps[:4]  # fmt: skip
        assert (second.values >= first.values).all()
        assert (third.values >= second.values).all()
        assert second.values.sum() > first.values.sum()

    def test_every_level_of_a_shared_layer_at_its_own_stride(self) -> None:
        resize = {'test_dataloader.dataset.pipeline.1.scale': (128, 96)}
        layer = 'bbox_head.cls_convs.0'
        retinanet = build('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', target_layers=[layer], cfg_options=resize)
        result = retinanet(IMAGE)
        assert names(result) == [f'{layer}#{number}' for number in range(5)]
        assert [item.stride for item in result.maps] == [(s, s) for s in (8, 16, 32, 64, 128)]

    def test_a_layer_that_never_runs(self) -> None:
        inferencer = build(target_layers=['neck.out_layers'])
        with pytest.raises(LayerError, match=r'neck\.out_layers \(ModuleList\) was never run.*neck\.out_layers\.0'):
            inferencer(IMAGE)
        assert hooks(inferencer.model) == 0

    def test_an_output_that_there_is_not(self) -> None:
        inferencer = build(target_layers=['neck[7]'])
        with pytest.raises(LayerError, match=r'neck has no output \[7\]: it puts out \[0\], \[1\], \[2\]'):
            inferencer(IMAGE)
        assert hooks(inferencer.model) == 0


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
            inferencer.detector.predict(inferencer.detector.prepare([IMAGE]))
        values = inferencer(IMAGE).maps[0].values
        np.testing.assert_array_equal(values, recorder.records[0].value[0, :2].numpy())

    def test_one_that_fails_leaves_no_hooks(self, register: Any) -> None:
        def fail(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError('mine')

        register(REDUCERS, 'fail', fail)
        inferencer = build(channel_reduction='fail')
        with pytest.raises(ZeroDivisionError, match='mine'):
            inferencer(IMAGE)
        assert hooks(inferencer.model) == 0
        assert inferencer.extractor._batch is None


class TestBoxes:
    def test_without_boxes_the_maps_are_the_same(self, vis: FeatMapInferencer) -> None:
        inferencer = build(target_layers=['backbone', 'neck'], boxes=False)
        calls = []
        inferencer.model.bbox_head.register_forward_hook(lambda *args: calls.append(1))
        expected = vis(IMAGE)
        for _ in range(2):  # the second forward may stop sooner
            result = inferencer(IMAGE)
            assert result.predictions is None
            assert names(result) == names(expected)
            for item, other in zip(result.maps, expected.maps):
                np.testing.assert_array_equal(item.values, other.values)
        assert not calls
        assert hooks(inferencer.model) == 1

    def test_the_title_counts_them(self, vis: FeatMapInferencer) -> None:
        result = vis(IMAGE)
        assert f'{len(result.predictions)} detection' in result.rendering.panels[0].label
        assert 'detection' not in build(boxes=False)(IMAGE).rendering.panels[0].label

    def test_only_those_from_the_threshold_up(self) -> None:
        scores = np.sort(build(score_thr=1e-6)(IMAGE).predictions.scores)
        middle = float(scores[len(scores) // 2])
        kept = build(score_thr=middle)(IMAGE).predictions
        assert 0 < len(kept) < len(scores)
        assert kept.scores.min() >= np.float32(middle)


class TestMissingOp:
    @pytest.fixture
    def no_nms(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if not ensure_ops():
            pytest.skip('this mmcv has its compiled ops')
        import mmcv.ops  # noqa: F401

        monkeypatch.delattr(sys.modules['mmcv._ext'], 'nms')

    @pytest.mark.usefixtures('no_nms')
    def test_in_the_head(self) -> None:
        inferencer = build(target_layers=['neck'])
        with pytest.raises(
            MissingPackageError, match=r"'nms'.*mim install.*; --no-boxes \(boxes=False\) draws"
        ) as caught:
            inferencer(IMAGE)
        assert '\n' not in str(caught.value)
        assert hooks(inferencer.model) == 0
        assert names(build(target_layers=['neck'], boxes=False)(IMAGE)) == ['neck[0]', 'neck[1]', 'neck[2]']

    def test_before_the_wanted_layer(self) -> None:
        inferencer = build(target_layers=['neck'])

        def lacks(*args: Any) -> None:
            raise MissingPackageError("the op 'carafe_forward' needs full mmcv")

        inferencer.model.backbone.register_forward_hook(lacks)
        with pytest.raises(MissingPackageError, match=r"^the op 'carafe_forward' needs full mmcv$"):
            inferencer(IMAGE)


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
        assert inferencer.settings.alpha == 0.125
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
            ({'frame': 7}, "cannot be built.*'frame'"),
            ({'type': 'mmengine.Visualizer'}, 'cannot be built'),
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


class TestMany:
    def test_nothing_grows(self, vis: FeatMapInferencer) -> None:
        def state() -> tuple[int, int, list[str], int]:
            gc.collect()
            tensors = sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())
            modules = sum(len(vars(module)) for module in vis.model.modules())
            return tensors, modules, sorted(vars(vis)), hooks(vis.model)

        def some_images() -> None:
            for number in range(5):
                vis(IMAGE[: 40 + number])
            vis(IMAGE)

        some_images()  # what is kept for each image size, at most 64 small weights, is there from here on
        before = state()
        for _ in range(3):
            some_images()
        assert state() == before
        assert vis.extractor._batch is None

    def test_it_goes_on_after_a_failure(self, vis: FeatMapInferencer, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = vis(IMAGE).image
        with monkeypatch.context() as patch:
            patch.setattr(vis.model.neck, 'forward', lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                vis(IMAGE)
        assert hooks(vis.model) == 0
        assert vis.extractor._batch is None
        np.testing.assert_array_equal(vis(IMAGE).image, expected)


def test_weights_of_a_checkpoint(tmp_path: Path) -> None:
    random = build(target_layers=['neck'], channel_reduction='squeeze_mean')
    weights = random.model.state_dict()
    weights = {name: value * 2 if name.endswith('out_layers.0.main_conv.conv.weight') else value
               for name, value in weights.items()}  # fmt: skip
    weights['backbone.stem.conv.weight'] = weights['backbone.stem.conv.weight'] * 3
    meta = {'dataset_meta': {'classes': ('red', 'green')}}
    torch.save({'state_dict': weights, 'meta': meta}, tmp_path / 'some.pth')
    loaded = build(checkpoint=tmp_path / 'some.pth', target_layers=['neck'], channel_reduction='squeeze_mean')
    assert torch.equal(loaded.model.backbone.stem.conv.weight, weights['backbone.stem.conv.weight'])
    assert loaded.detector.classes == ('red', 'green')
    assert not np.array_equal(loaded(IMAGE).maps[0].values, random(IMAGE).maps[0].values)


def test_a_reducer_that_writes_to_its_weights_spoils_nothing(vis: FeatMapInferencer, monkeypatch) -> None:
    before = vis(IMAGE)
    monkeypatch.setattr(vis.extractor, 'reducer', lambda features, weights: features.mean(0) * weights.mul_(0))
    vis(IMAGE)
    monkeypatch.undo()
    np.testing.assert_array_equal(vis(IMAGE).image, before.image)


def test_a_pattern_passes_over_layers_that_never_run_or_put_out_no_map(vis: FeatMapInferencer) -> None:
    from featmap.layers import resolve

    names = [target.name for target in resolve(vis.model, ['neck.*', 'neck.out_layers.*'])]
    assert 'neck.out_layers' in names
    extractor = vis.extractor
    found = type(extractor)(vis.detector, ['neck.*', 'neck.out_layers.*'], extractor.reducer, 'x', boxes=False)
    maps, _ = found.extract(IMAGE)
    assert {item.layer for item in maps} >= {f'neck.out_layers.{level}' for level in range(3)}
