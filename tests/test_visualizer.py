"""The visualizer itself: its options, its registry and the backends that it writes to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from featmap.errors import OptionError
from featmap.registry import VISUALIZERS
from featmap.visualizer import FeatMapVisualizer
from tests.visualizer_helpers import GREY, RAMP, feature_map, photo


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'alpha': 1.5}, 'from 0 to 1'),
        ({'alpha': -0.1}, 'from 0 to 1'),
        ({'colormap': 'jett'}, 'jet'),
        ({'colourbar': True}, "no option 'colourbar'; nearest: colorbar"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        FeatMapVisualizer(**options)


def test_two_visualizers_do_not_share_their_settings():
    item = feature_map(RAMP)
    first = FeatMapVisualizer(alpha=1.0, colormap='jet')
    before = first.draw_maps(GREY, [item]).image
    second = FeatMapVisualizer(alpha=0.25, colormap='bone', labels=False, arrangement=(1, 1))
    assert (second.alpha, second.labels, second.arrangement) == (0.25, False, (1, 1))
    assert second.draw_maps(GREY, [item]).image.shape != before.shape
    np.testing.assert_array_equal(first.draw_maps(GREY, [item]).image, before)


def test_the_registry_builds_one_visualizer_a_name():
    config = {'type': 'FeatMapVisualizer', 'name': 'test-one', 'alpha': 0.1}
    first = VISUALIZERS.build(config)
    second = VISUALIZERS.build({**config, 'name': 'test-two', 'alpha': 0.9})
    assert isinstance(first, FeatMapVisualizer)
    assert (first.alpha, second.alpha) == (0.1, 0.9)
    assert config == {'type': 'FeatMapVisualizer', 'name': 'test-one', 'alpha': 0.1}


def png(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


def test_a_picture_is_written_by_the_local_backend(tmp_path):
    visualizer = FeatMapVisualizer(vis_backends=[{'type': 'LocalVisBackend'}], save_dir=str(tmp_path))
    rendering = visualizer.add_maps('street', GREY, [feature_map(RAMP)], step=3)
    (path,) = tmp_path.rglob('*.png')
    assert path.name == 'street_3.png'
    np.testing.assert_array_equal(png(path), rendering.image)
    assert rendering.panels[0].label == 'street · 32×32'


def test_backends_given_twice_write_to_their_own_folders(tmp_path):
    backends = [{'type': 'LocalVisBackend'}]
    for folder in ('one', 'two'):
        visualizer = FeatMapVisualizer(vis_backends=backends, save_dir=str(tmp_path / folder))
        visualizer.add_maps(folder, GREY, [feature_map(RAMP)])
    assert backends == [{'type': 'LocalVisBackend'}]
    assert sorted(path.name for path in (tmp_path / 'one').rglob('*.png')) == ['one_0.png']
    assert sorted(path.name for path in (tmp_path / 'two').rglob('*.png')) == ['two_0.png']


@pytest.mark.parametrize('backends', [None, [], {'type': 'LocalVisBackend'}])
def test_backends_as_mmengine_takes_them(backends, tmp_path):
    visualizer = FeatMapVisualizer('name', None, backends, str(tmp_path))
    visualizer.add_maps('x', GREY, [feature_map(RAMP)])
    assert len(list(tmp_path.rglob('*.png'))) == (1 if backends else 0)


def test_a_picture_is_written_by_the_tensorboard_backend(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    visualizer = FeatMapVisualizer(vis_backends=[{'type': 'TensorboardVisBackend'}], save_dir=str(tmp_path))
    renderings = {
        step: visualizer.add_maps('street', photo(32, 32, seed=step), [feature_map(RAMP)], step=step) for step in (0, 7)
    }
    visualizer.close()
    (events,) = tmp_path.rglob('events.out*')
    accumulator = EventAccumulator(str(events.parent))
    accumulator.Reload()
    assert accumulator.Tags()['images'] == ['street']
    written = accumulator.Images('street')
    assert [event.step for event in written] == [0, 7]
    for event in written:
        bgr = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(bgr[..., ::-1], renderings[event.step].image)
