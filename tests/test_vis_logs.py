"""What MMEngine's vis backends get of an image, read back from what they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
from mmengine.registry import VISBACKENDS
from mmengine.visualization import TensorboardVisBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from featmap.building import visualizer_of
from featmap.inferencer import FeatMapInferencer
from featmap.options import Run
from featmap.rendering.scales import scales_of
from featmap.vis_backends import add_image
from featmap.vis_logs import add_to_logs
from featmap.visualizer import FeatMapVisualizer
from tests.inferencer_helpers import IMAGE, build
from tests.visualizer_helpers import GREY, RAMP, feature_map

CONVS = {'target_layers': ['backbone.stage1.type:Conv2d'], 'channel_reduction': None, 'topk': 3}


def decoded(data: bytes) -> np.ndarray:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return bgr[..., ::-1]


def events(folder: Path) -> EventAccumulator:
    (file,) = folder.rglob('events.out*')
    found = EventAccumulator(str(file), size_guidance={'images': 0})
    found.Reload()
    return found


class TestTensorboard:
    @pytest.fixture(scope='class')
    def vis(self, tmp_path_factory: pytest.TempPathFactory) -> FeatMapInferencer:
        folder = tmp_path_factory.mktemp('logs')
        return build(vis_backends=['TensorboardVisBackend'], save_dir=folder, **CONVS)

    @pytest.fixture(scope='class')
    def logged(self, vis: FeatMapInferencer) -> EventAccumulator:
        vis([IMAGE, IMAGE[::-1].copy()], step=5)
        vis.visualizer.close()
        return events(Path(vis._save_dir))  # type: ignore[arg-type]

    def test_each_layer_has_a_tag_and_each_image_a_step(self, vis: Any, logged: EventAccumulator) -> None:
        names = [target.name for target in vis.targets]
        assert len(names) > 3
        assert sorted(logged.Tags()['images']) == sorted(f'image/{name}' for name in names)
        for name in names:
            assert [event.step for event in logged.Images(f'image/{name}')] == [5, 6]

    def test_a_layers_picture_is_that_of_the_layer_alone(self, vis: Any, logged: EventAccumulator) -> None:
        whole = vis.with_options(vis_backends=[])(IMAGE)
        for target in vis.targets[:3]:
            (item,) = [each for each in whole.maps if each.layer == target.name]
            alone = vis.visualizer.draw_maps(IMAGE, [item], whole.predictions, title='image').image
            event = logged.Images(f'image/{target.name}')[0]
            assert (event.height, event.width) == alone.shape[:2]
            np.testing.assert_array_equal(decoded(event.encoded_image_string), alone)

    def test_what_is_written_is_what_the_writer_itself_would_write(self, tmp_path: Path) -> None:
        image = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
        ours, theirs = (TensorboardVisBackend(str(tmp_path / name)) for name in ('ours', 'theirs'))
        add_image(ours, 'dog/neck.0 #1', image, 3)
        theirs.add_image('dog/neck.0 #1', image, 3)
        for backend in (ours, theirs):
            backend.close()
        (one,), (other,) = (events(tmp_path / name).Images('dog/neck.0 #1') for name in ('ours', 'theirs'))
        assert (one.step, one.height, one.width) == (other.step, other.height, other.width) == (3, 31, 47)
        np.testing.assert_array_equal(decoded(one.encoded_image_string), image)
        np.testing.assert_array_equal(decoded(other.encoded_image_string), image)

    def test_a_backend_of_ones_own_and_another_writer_are_called(self, tmp_path: Path) -> None:
        class Own(TensorboardVisBackend):
            def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
                self.got = name, step

        own = Own(str(tmp_path))
        add_image(own, 'dog/neck', GREY, 4)
        assert own.got == ('dog/neck', 4)
        other = TensorboardVisBackend(str(tmp_path))
        other._env_initialized, other._tensorboard = True, MagicMock()
        add_image(other, 'dog/neck', GREY, 5)
        assert other._tensorboard.add_image.call_args.args == ('dog/neck', GREY, 5)


def test_a_backend_is_known_where_nothing_else_has_imported_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(VISBACKENDS.module_dict)
    monkeypatch.setattr(VISBACKENDS, '_module_dict', {})  # as in a process that has not imported any

    def imported(name: str) -> None:
        assert name == 'mmengine.visualization'
        VISBACKENDS._module_dict.update(known)

    monkeypatch.setattr('featmap.building.import_module', imported)
    run = Run.of({'vis_backends': ['TensorboardVisBackend']})
    assert list(visualizer_of(run, {'vis_backends'}, tmp_path)._vis_backends) == ['TensorboardVisBackend']


class Kept:
    """A vis backend that keeps what it is given."""

    def __init__(self) -> None:
        self.pictures: dict[str, np.ndarray] = {}

    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        assert step == 7
        self.pictures[name] = image


def log(
    maps: list[Any], name: str = 'folder/dog.jpg', **options: Any
) -> tuple[FeatMapVisualizer, dict[str, np.ndarray]]:
    visualizer, kept = FeatMapVisualizer(**options), Kept()
    visualizer._vis_backends = {'Kept': kept}
    renderings = visualizer.draw_sheets(GREY, maps, None, name)
    tags = add_to_logs(visualizer, name, GREY, maps, None, renderings, step=7)
    assert tags == list(kept.pictures)
    return visualizer, kept.pictures


class TestTags:
    def test_one_layer_is_the_picture_itself(self) -> None:
        maps = [feature_map(RAMP, layer='neck', path=f'[{index}]') for index in range(2)]
        visualizer, pictures = log(maps)
        assert list(pictures) == ['dog']
        np.testing.assert_array_equal(pictures['dog'], visualizer.draw_maps(GREY, maps, title='folder/dog.jpg').image)

    def test_outputs_and_calls_of_a_layer_stay_together(self) -> None:
        maps = [feature_map(RAMP, layer=layer, call=call, calls=2) for call in (0, 1) for layer in ('neck', 'head.0')]
        visualizer, pictures = log(maps)
        assert list(pictures) == ['dog/neck', 'dog/head.0']
        expected = visualizer.draw_maps(GREY, maps[::2], title='folder/dog.jpg').image
        np.testing.assert_array_equal(pictures['dog/neck'], expected)

    def test_pages_of_a_layer(self) -> None:
        planes = np.arange(70 * 16, dtype=np.float32).reshape(70, 4, 4)
        _, pictures = log([feature_map(planes, layer='neck'), feature_map(RAMP, layer='stem')])
        assert list(pictures) == ['dog/neck_1', 'dog/neck_2', 'dog/stem']
        assert list(log([feature_map(planes, layer='neck')])[1]) == ['dog_1', 'dog_2']

    def test_a_scale_is_shared_by_layers_that_have_pictures_of_their_own(self) -> None:
        low, high = feature_map(RAMP, layer='a'), feature_map(np.add(RAMP, 3.0), layer='b')
        alone = log([low])[1]['dog']
        np.testing.assert_array_equal(log([low, high])[1]['dog/a'], alone)
        visualizer, pictures = log([low, high], norm='image')
        scales = scales_of([low, high], visualizer.look.norm)[:1]
        assert (scales[0][0].low, scales[0][0].high) == (0, 6)
        expected = visualizer.draw_maps(GREY, [low], title='folder/dog.jpg', scales=scales).image
        np.testing.assert_array_equal(pictures['dog/a'], expected)


def test_panels_of_very_many_layers_are_small() -> None:
    image = np.zeros((500, 1000, 3), np.uint8)
    visualizer = FeatMapVisualizer()
    assert visualizer.view(image, None, []).shape == (500, 1000)
    geometry = feature_map(RAMP).geometry
    maps = [feature_map(np.zeros((5, 4, 4)), geometry, layer=str(index)) for index in range(13)]
    assert visualizer.view(image, None, maps).shape == (160, 320)
    assert FeatMapVisualizer(panel_size=700).view(image, None, maps).shape == (350, 700)


def test_the_local_backend_gets_names_of_files(tmp_path: Path) -> None:
    vis = build(vis_backends=['LocalVisBackend'], save_dir=tmp_path, **CONVS)
    vis(IMAGE, step=2)
    written = {path.name: path for path in tmp_path.rglob('*.png')}
    assert sorted(written) == sorted(f'image.{target.name}_2.png' for target in vis.targets)
    assert cv2.imread(str(written['image.backbone.stage1.0.conv_2.png'])).ndim == 3
    vis.visualizer.add_image('../../over/there', GREY)
    assert (tmp_path / 'vis_data' / 'vis_image' / 'over.there_0.png').exists()
