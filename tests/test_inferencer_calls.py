"""One loaded model, many uses: options for a call, a model of the user's own, threads, attributes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from featmap import FeatMapInferencer
from featmap.errors import LayerError, OptionError
from featmap.models.openmmlab.build import build_model
from featmap.models.openmmlab.config import load_config
from tests.conftest import hooks
from tests.inferencer_helpers import IMAGE, SMALL, YOLOV5, build, names, with_featmap


@pytest.fixture(scope='module')
def vis() -> FeatMapInferencer:
    return build(with_featmap(alpha=0.25), target_layers=['neck'], channel_reduction='squeeze_mean')


@pytest.mark.parametrize(
    'options',
    [
        {'target_layers': ['backbone.stage2']},
        {'channel_reduction': 'l2', 'norm': 'layer'},
        {'channels': [3, 1]},
        {'norm': 'run', 'alpha': 1.0, 'colormap': 'viridis'},
        {'boxes': False, 'channel_reduction': 'pca'},
    ],
)
def test_options_of_a_call_do_what_those_of_the_constructor_do(vis: FeatMapInferencer, options: dict[str, Any]) -> None:
    before, model = vis(IMAGE), vis.model
    given = {'target_layers': ['neck'], 'channel_reduction': 'squeeze_mean', **options}
    if 'channels' in options:
        given.pop('channel_reduction')
    if options.get('boxes') is False:
        given.pop('score_thr', None)
    np.testing.assert_array_equal(vis(IMAGE, **options).image, build(with_featmap(alpha=0.25), **given)(IMAGE).image)
    np.testing.assert_array_equal(vis(IMAGE).image, before.image)
    assert vis.with_options(**options).model is model is vis.model


def test_a_model_that_is_none_is_told():
    with pytest.raises(OptionError, match='int was given as the model: expected an nn'):
        FeatMapInferencer(YOLOV5, model=5)
    with pytest.raises(OptionError, match=r'Conv2d was given as the model beside a config: .* without one'):
        FeatMapInferencer(YOLOV5, model=nn.Conv2d(3, 3, 3))


def test_the_same_options_are_built_once(vis: FeatMapInferencer) -> None:
    assert vis.with_options(alpha=0.1) is vis.with_options(alpha=0.1)
    for step in range(30):
        vis.with_options(alpha=step / 100)
    assert len(vis._others) <= 8


def test_a_threshold_of_a_call(vis: FeatMapInferencer) -> None:
    scores = np.sort(vis(IMAGE).predictions.scores)
    cut = int(np.diff(scores).argmax())
    middle = float(scores[cut : cut + 2].mean())
    assert len(vis(IMAGE, score_thr=middle).predictions) == len(scores) - cut - 1
    assert len(vis(IMAGE).predictions) == len(scores)


def test_options_of_the_model_need_another_one(vis: FeatMapInferencer) -> None:
    with pytest.raises(OptionError, match='device is of the model, which is loaded'):
        vis(IMAGE, device='cpu')
    with pytest.raises(OptionError, match="no option 'target_layer'; nearest: target_layers"):
        vis(IMAGE, target_layer='neck')
    with pytest.raises(LayerError, match="no layer 'nek'"):
        vis(IMAGE, target_layers='nek')


def test_what_was_learned_serves_calls_that_leave_it_as_it_is() -> None:
    other = np.ascontiguousarray(IMAGE[:, ::-1] // 2)
    vis = build(target_layers=['neck'], channel_reduction='pca')
    vis.learn([IMAGE, other])
    learned = vis(IMAGE, alpha=1.0)
    assert learned.maps[0].ranges == vis(IMAGE).maps[0].ranges
    fresh = vis(IMAGE, channel_reduction='pca', components=2)
    assert len(fresh.maps[0]) == 2
    np.testing.assert_array_equal(vis(IMAGE, alpha=1.0).image, learned.image)


def test_what_a_call_learns_for_itself_leaves_what_was_learned() -> None:
    dark, turned = IMAGE // 3, np.ascontiguousarray(IMAGE[:, ::-1])
    vis = build(target_layers=['neck'], channel_reduction='pca', components=2)
    held = vis.with_options(alpha=0.1)
    vis.learn([IMAGE, dark])
    learned = vis(dark).maps[0].values
    np.testing.assert_array_equal(vis(dark, colorbar=True).maps[0].values, learned)
    for use in (held, vis.with_options(target_layers=['neck', 'backbone']), vis.with_options(components=3)):
        use(turned)
        np.testing.assert_array_equal(vis(dark).maps[0].values, learned)
    np.testing.assert_array_equal(vis(dark, alpha=0.1).maps[0].values, learned)


def test_a_range_of_a_run_is_that_of_the_layers_that_are_drawn() -> None:
    dark = IMAGE // 3
    vis = build(target_layers=['neck'], channel_reduction='squeeze_mean', norm='run')
    before = vis.with_options(alpha=0.1)
    vis.learn([IMAGE, dark])
    assert vis.with_options(alpha=0.1) is not before
    assert vis.with_options(alpha=0.1).run == vis.with_options(colorbar=True).run == vis.run
    drawn = (vis(dark, alpha=0.1, colorbar=True), vis(dark))
    assert len({each.rendering.panels[1].label for each in drawn}) == 1
    expected = build(target_layers=['backbone'], channel_reduction='squeeze_mean', norm='run')
    vis(dark, target_layers=['backbone'])
    expected(dark)
    assert vis.with_options(target_layers=['backbone']).run == expected.run != vis.run


def test_layers_that_are_written_alike_are_told_apart(vis: FeatMapInferencer) -> None:
    layers = [vis.model.backbone.stem.activate, vis.model.backbone.stage1[0].activate]
    assert repr(layers[0]) == repr(layers[1])
    found = [names(vis(IMAGE, target_layers=[layer])) for layer in layers]
    assert found == [['backbone.stem.activate'], ['backbone.stage1.0.activate']]


def test_a_model_that_is_built_already() -> None:
    cfg = load_config(YOLOV5, SMALL)
    model = build_model(cfg, random_weights=True)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    head_threshold = model.bbox_head.test_cfg.score_thr
    vis = FeatMapInferencer(cfg, model=model, device='cpu', target_layers=[model.neck])
    assert vis.model is model
    expected = build(target_layers=['neck'], score_thr=0.3)(IMAGE)
    result = vis(IMAGE)
    for one, other in zip(result.maps, expected.maps):
        np.testing.assert_array_equal(one.values, other.values)
    assert len(result.maps) == 3
    assert 'random' not in result.rendering.panels[0].label  # whose weights they are is not known
    assert not model.training
    assert hooks(model) == 0
    assert model.bbox_head.test_cfg.score_thr == head_threshold
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(OptionError, match='a config is needed beside a YOLODetector'):
        FeatMapInferencer(model=model)
    model.cfg = cfg
    remembered = FeatMapInferencer(model=model, device='cpu', target_layers=[model.neck])(IMAGE)
    np.testing.assert_array_equal(remembered.image, result.image)


def test_threads_take_turns(vis: FeatMapInferencer) -> None:
    with pytest.raises(OptionError):  # after which MMEngine would keep a lock that all threads share
        build(visualizer={'no_such_argument': 1})
    images = [np.roll(IMAGE, 7 * number, axis=1) for number in range(6)]
    expected = [vis(image).image for image in images]
    found: dict[int, np.ndarray] = {}
    others = [vis, vis.with_options(alpha=0.25)]

    def work(number: int) -> None:
        found[number] = others[number % 2](images[number]).image

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, image in enumerate(expected):
        np.testing.assert_array_equal(found[number], image)
    assert hooks(vis.model) == 0


def test_setting_what_does_nothing_is_an_error(vis: FeatMapInferencer) -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'alpha', .* give it to a call: vis\(image, alpha=…\)"):
        vis.alpha = 0.3
    with pytest.raises(AttributeError, match="no attribute 'targt'"):
        vis.targt = ['neck']
    with pytest.raises(AttributeError):
        vis.targets = ['neck']
    with pytest.raises(AttributeError):
        vis.reducer = None


def test_it_is_one_line(vis: FeatMapInferencer) -> None:
    assert repr(vis) == '<FeatMapInferencer of YOLODetector on cpu: neck by squeeze_mean>'


def test_a_threshold_under_the_heads_own_is_said() -> None:
    with pytest.warns(UserWarning, match=r'score_thr=0\.01 is below the 0\.05 that the head .*, which is in force'):
        build(score_thr=0.01, cfg_options={**SMALL, 'model.test_cfg.score_thr': 0.05})


# --- layers that put out no map


def test_one_refused_layer_among_several_leaves_the_others() -> None:
    vis = build(target_layers=['neck[0]', 'neck.out_layers', 'backbone', 'neck[7]'])
    result = vis(IMAGE)
    assert names(result) == ['neck[0]', 'backbone[0]', 'backbone[1]', 'backbone[2]']
    assert len(result.refused) == 2
    assert 'neck has no output [7]' in result.refused[0]
    assert 'neck.out_layers (ModuleList) was never run' in result.refused[1]
    assert vis(IMAGE, target_layers='neck').refused == ()


def test_where_none_is_left_the_reasons_are_the_error() -> None:
    with pytest.raises(LayerError) as caught:
        build(target_layers=['neck.out_layers', 'neck[7]'])(IMAGE)
    assert 'neck has no output [7]' in str(caught.value)
    assert 'was never run' in str(caught.value)
