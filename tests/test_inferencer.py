"""The whole way from an image to its picture, as a Python user goes it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import LayerError, OptionError, SourceError
from featmap.inferencer import FeatMapInferencer
from featmap.results import Result
from featmap.sources import Source
from featmap.structures import Rendering
from tests.conftest import hooks
from tests.inferencer_helpers import IMAGE, build, names


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
        'image', [IMAGE.astype(np.float32), np.zeros((4, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8)]
    )
    def test_arrays_that_are_no_image(self, vis: FeatMapInferencer, image: np.ndarray) -> None:
        with pytest.raises(OptionError, match=r'ndarray of shape .* was given as the image: expected a path, a URL'):
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
    found = type(extractor)(vis.network, ['neck.*', 'neck.out_layers.*'], extractor.reducer, 'x', boxes=False)
    maps, _ = found.extract(IMAGE)
    assert {item.layer for item in maps} >= {f'neck.out_layers.{level}' for level in range(3)}
