"""One forward, from an image to reduced maps: what is kept, in what precision, and where the forward ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featmap.errors import DrawError, LayerError, OptionError, SourceError
from featmap.extractor import MapExtractor
from featmap.inferencer import FeatMapInferencer
from featmap.models.openmmlab.detector import Detector
from featmap.reducers import PCA, Reducer, SqueezeMean, build_reducer
from tests.conftest import CHECKPOINT, CONFIG, hooks
from tests.conftest import IMAGE as DEMO_IMAGE

SMALL = {
    'test_dataloader.dataset.pipeline.1.scale': (160, 160),
    'test_dataloader.dataset.pipeline.2.scale': (160, 160),
}
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
OTHER = np.random.default_rng(1).integers(0, 200, (100, 80, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def detector():
    detector = Detector(CONFIG, CHECKPOINT, device='cpu', cfg_options=SMALL)
    yield detector
    assert hooks(detector.model) == 0


@pytest.fixture(scope='module')
def half():
    """The same detector under autocast, which is bfloat16 on a CPU."""
    detector = Detector(CONFIG, CHECKPOINT, device='cpu', cfg_options=SMALL, amp=True)
    yield detector
    assert hooks(detector.model) == 0


def extractor(detector: Detector, *names: str, reducer=None, **options) -> MapExtractor:
    return MapExtractor(detector, names or ('neck',), reducer or SqueezeMean(), 'squeeze_mean', **options)


def outputs(detector: Detector, image: np.ndarray, *names: str) -> dict[str, torch.Tensor | tuple]:
    """What modules put out, cloned in hooks of the test's own."""
    seen, handles = {}, []

    def keep(name):
        def hook(module, inputs, output):
            seen[name] = output.clone() if torch.is_tensor(output) else tuple(each.clone() for each in output)

        return hook

    for name in names:
        handles.append(detector.model.get_submodule(name).register_forward_hook(keep(name)))
    try:
        detector.predict(detector.prepare([image]))
    finally:
        for handle in handles:
            handle.remove()
    return seen


class Counter:
    """Counts how often modules run, by a wrapped forward and without hooks."""

    def __init__(self, detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = {'backbone': 0, 'neck': 0, 'bbox_head': 0}
        for name in self.calls:
            module = getattr(detector.model, name)
            monkeypatch.setattr(module, 'forward', self._counting(name, module.forward))

    def _counting(self, name, forward):
        def counted(*args, **kwargs):
            self.calls[name] += 1
            return forward(*args, **kwargs)

        return counted


# --- full features


def test_kept_features_are_exactly_what_the_layer_put_out(detector):
    maps, _ = extractor(detector, 'neck', 'backbone.stage1', keep_features=True).extract(IMAGE)
    seen = outputs(detector, IMAGE, 'neck', 'backbone.stage1')
    expected = [*seen['neck'], seen['backbone.stage1']]
    assert [item.name for item in maps] == ['neck[0]', 'neck[1]', 'neck[2]', 'backbone.stage1']
    for item, output in zip(maps, expected):
        assert item.features.dtype == np.float32
        assert item.features.shape == item.shape == tuple(output.shape[1:])
        np.testing.assert_array_equal(item.features, output[0].numpy())
        np.testing.assert_allclose(item.values[0], output[0].double().numpy().mean(0), atol=1e-5)


def test_kept_features_are_from_before_the_next_layer_overwrites_them(detector):
    # An in-place SiLU follows, so that a reference would hold no value below -0.28.
    maps, _ = extractor(detector, 'backbone.stem.bn', keep_features=True).extract(IMAGE)
    np.testing.assert_array_equal(maps[0].features, outputs(detector, IMAGE, 'backbone.stem.bn')['backbone.stem.bn'][0])
    assert maps[0].features.min() < -0.3
    later = maps[0].features.copy()
    extractor(detector, 'backbone.stem.bn', keep_features=True).extract(OTHER)
    np.testing.assert_array_equal(maps[0].features, later)


def test_unasked_no_features_are_kept(detector):
    for run in (extractor(detector).extract(IMAGE)[0], extractor(detector).maps(IMAGE)):
        assert [item.features for item in run] == [None] * 3


def test_features_of_every_call_of_a_layer(detector):
    pool = 'backbone.stage4.2.poolings'
    maps, _ = extractor(detector, pool, keep_features=True).extract(IMAGE)
    assert [item.name for item in maps] == [f'{pool}#{call}' for call in range(3)]
    first, second, third = (item.features for item in maps)  # each is the maximum over a larger neighbourhood
    assert (second >= first).all()
    assert (second > first).any()
    assert (third >= second).all()


# --- half precision


def test_under_autocast_the_network_runs_in_bfloat16_and_maps_are_float32(detector, half):
    seen = outputs(half, IMAGE, 'neck')['neck']
    assert {each.dtype for each in seen} == {torch.bfloat16}
    exact, _ = extractor(detector, keep_features=True).extract(IMAGE)
    maps, detections = extractor(half, keep_features=True).extract(IMAGE)
    assert detections is not None
    for item, output, other in zip(maps, seen, exact):
        assert item.values.dtype == item.features.dtype == np.float32
        np.testing.assert_array_equal(item.features, output[0].float().numpy())
        # The mean of what the layer put out is taken in float32.
        np.testing.assert_allclose(item.values[0], output[0].double().numpy().mean(0), atol=1e-5)
        # Eight bits are two to three digits.
        difference = np.abs(item.values - other.values)
        assert 0 < difference.mean() < 0.02 * np.ptp(other.values)


@pytest.mark.filterwarnings('ignore::sklearn.exceptions.ConvergenceWarning')
@pytest.mark.parametrize('name', ['select_max', 'l2', 'std', 'pca', 'eigen', 'nmf', 'kmeans', ['topk', 'pca'], None])
def test_every_reducer_takes_half_precision(half, name):
    maps, _ = extractor(half, 'neck', reducer=build_reducer(name), boxes=False).extract(IMAGE)
    assert {item.values.dtype for item in maps} == {np.dtype(np.float32)}
    for item in maps:
        assert np.isfinite(item.content).all()


def test_a_reducer_runs_in_single_precision_under_autocast(half):
    seen = []

    class Look(Reducer):
        def __call__(self, features, weights):
            planes = features.float().flatten(1)
            seen.append((torch.is_autocast_enabled(), torch.is_autocast_cpu_enabled(), (planes @ planes.T).dtype))
            return features[0]

        def observe(self, features, weights):
            self(features, weights)

        needs_fit = True

    made = extractor(half, reducer=Look())
    made.extract(IMAGE)
    made.observe(IMAGE)
    assert len(seen) == 6
    assert set(seen) == {(False, False, torch.float32)}


def test_autocast_ends_with_the_forward_though_a_reducer_fails(half):
    def fail(features, weights):
        raise ZeroDivisionError

    with pytest.raises(DrawError, match=r'the reducer fail failed: ZeroDivisionError'):
        extractor(half, reducer=fail).extract(IMAGE)
    assert not torch.is_autocast_cpu_enabled()
    product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == torch.float32
    assert hooks(half.model) == 0


# --- where the forward ends


@pytest.mark.parametrize('way', ['maps', 'observe'])
@pytest.mark.parametrize(('layer', 'runs'), [('backbone.stage1', ('backbone',)), ('neck', ('backbone', 'neck'))])
def test_what_needs_no_detections_runs_no_further_than_it_must(detector, way, layer, runs, monkeypatch):
    reducer = PCA()
    made = extractor(detector, layer, reducer=reducer, boxes=True)
    counter = Counter(detector, monkeypatch)
    for number in (1, 2, 3):
        getattr(made, way)(IMAGE)
        assert counter.calls == {name: number * (name in runs) for name in counter.calls}
        assert hooks(detector.model) == 0
        assert made._batch is None
    maps, detections = made.extract(IMAGE)
    assert counter.calls['bbox_head'] == 1
    assert detections is not None
    assert len(maps) > 0


def test_without_boxes_there_are_no_detections_and_no_head(detector, monkeypatch):
    made = extractor(detector, boxes=False)
    expected, detections = extractor(detector).extract(IMAGE)
    assert detections is not None
    counter = Counter(detector, monkeypatch)
    for _ in range(2):
        maps, none = made.extract(IMAGE)
        assert none is None
        for item, other in zip(maps, expected):
            np.testing.assert_array_equal(item.values, other.values)
    assert counter.calls['bbox_head'] == 0


def test_the_quick_way_gives_the_same_maps(detector):
    made = extractor(detector, 'backbone', 'neck')
    for image in (IMAGE, OTHER, IMAGE):
        for item, other in zip(made.maps(image), made.extract(image)[0]):
            np.testing.assert_array_equal(item.values, other.values)
            assert (item.name, item.stride, item.geometry) == (other.name, other.stride, other.geometry)


# --- learning


def test_what_is_observed_is_what_would_be_reduced(detector):
    shown = []

    class Look(Reducer):
        needs_fit = True

        def observe(self, features, weights):
            shown.append((features.clone(), weights.clone()))

        def __call__(self, features, weights):
            shown.append((features.clone(), weights.clone()))
            return features[0]

    made = extractor(detector, reducer=Look())
    made.observe(IMAGE)
    observed, shown[:] = list(shown), []
    made.extract(IMAGE)
    assert len(observed) == len(shown) == 3
    for (features, weights), (others, counts) in zip(observed, shown):
        # Observed in the default memory layout, drawn in the fastest.
        torch.testing.assert_close(features, others, rtol=1e-4, atol=1e-5)
        assert torch.equal(weights, counts)
        assert not features.requires_grad
    # 100 x 60 becomes 160 x 96 in 160 x 160: 32 rows of padding above and below.
    assert [weights.sum(1).bool().sum().item() for _, weights in observed] == [12, 6, 3]


@pytest.mark.parametrize('way', ['extract', 'maps', 'observe'])
def test_a_layer_of_another_memory_layout_shows_nothing_twice(way):
    detector = Detector(CONFIG, CHECKPOINT, device='cpu', cfg_options=SMALL)
    runs, seen = [], []

    def refuse(module, args):
        runs.append(args[0][0].is_contiguous())
        args[0][0].view(-1)

    detector.model.neck.register_forward_pre_hook(refuse)

    class Look(Reducer):
        needs_fit = True

        def observe(self, features, weights):
            seen.append(tuple(features.shape))

        def __call__(self, features, weights):
            return features[0]

    made = extractor(detector, 'backbone', 'neck', reducer=Look())
    getattr(made, way)(IMAGE)
    if way == 'observe':
        assert runs == [True]
        assert len(seen) == 6
    else:
        assert runs == [False, True]
        found = made.maps(OTHER)
        assert runs == [False, True, True]
        assert [(item.layer, item.call, item.calls) for item in found] == [('backbone', 0, 1)] * 3 + [
            ('neck', 0, 1)
        ] * 3


@pytest.mark.parametrize('way', ['extract', 'maps', 'observe'])
def test_a_failure_leaves_nothing_behind(detector, way, monkeypatch):
    made = extractor(detector, reducer=PCA())
    expected = made.maps(IMAGE)[0].values
    with monkeypatch.context() as patch:
        patch.setattr(detector.model.neck, 'forward', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            getattr(made, way)(IMAGE)
    assert hooks(detector.model) == 0
    assert made._batch is None
    np.testing.assert_array_equal(made.maps(IMAGE)[0].values, expected)


@pytest.mark.parametrize('way', ['extract', 'maps', 'observe'])
@pytest.mark.parametrize('image', [IMAGE[..., 0], IMAGE.astype(float), IMAGE[..., :2]])
def test_what_is_no_rgb_image_is_refused(detector, way, image):
    with pytest.raises(OptionError, match=r'expected an RGB image of shape \(H, W, 3\) and uint8, got'):
        getattr(extractor(detector, reducer=PCA()), way)(image)


def test_a_layer_that_never_runs_is_an_error(detector):
    with pytest.raises(LayerError, match='was never run'):
        extractor(detector, 'neck.out_layers').maps(IMAGE)
    assert hooks(detector.model) == 0


def test_learning_skips_images_that_cannot_be_read(tmp_path):
    from featmap.sources import Source

    (tmp_path / 'bad.png').write_bytes(b'no image')
    bad = Source(str(tmp_path / 'bad.png'), 'bad.png')
    made = [
        FeatMapInferencer(
            CONFIG, CHECKPOINT, device='cpu', cfg_options=SMALL, channel_reduction=['pca', 'l2'], norm='run'
        )
        for _ in range(2)
    ]
    made[0].learn([IMAGE, OTHER])
    made[1].learn([bad, IMAGE, bad, OTHER], skip=(SourceError,))
    assert made[0].run == made[1].run
    for channels, basis in made[0].reducer.steps[0].bases.items():
        assert torch.equal(basis.directions, made[1].reducer.steps[0].bases[channels].directions)
    with pytest.raises(SourceError, match=r'bad\.png'):
        made[1].learn([bad, IMAGE])
    assert hooks(made[1].network.model) == 0


# --- heads


def by_name(detector, *channels, names=('bbox_head',), **options):
    return extractor(detector, *names, reducer=build_reducer('channels', channels=list(channels)), **options)


def test_a_class_of_a_head_by_its_name(detector):
    seen = []
    handle = detector.model.bbox_head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    maps, found = by_name(detector, 'kite').extract(IMAGE)
    handle.remove()
    assert found is not None
    assert [(item.meaning, item.path) for item in maps] == [(f'cls P{3 + n}', f'[0][{n}]') for n in range(3)]
    for item, scores in zip(maps, seen[0][0]):
        expected = scores[0].view(3, 8, *scores.shape[2:])[:, 1].sigmoid().amax(0)  # kite is the second of eight
        np.testing.assert_allclose(item.values[0], expected.numpy(), rtol=1e-5)
        assert item.names == ('kite · sigmoid, max of 3 anchors',)


def test_objectness_and_the_score_by_name(detector):
    maps, _ = by_name(detector, 'objectness', 'kite:score').extract(IMAGE)
    assert [item.meaning for item in maps] == ['cls P3', 'cls P4', 'cls P5', 'obj P3', 'obj P4', 'obj P5']
    assert maps[0].names == ('kite · score = cls × obj, max of 3 anchors',)
    assert maps[3].names == ('sigmoid, max of 3 anchors',)
    for score, objectness in zip(maps[:3], maps[3:]):
        assert (score.values <= objectness.values + 1e-6).all()


def test_the_best_score_is_that_of_the_best_detection(detector):
    image = np.asarray(Image.open(DEMO_IMAGE))
    maps, found = by_name(detector, 'score').extract(image)
    assert max(item.values.max() for item in maps) == pytest.approx(found.scores.max(), abs=1e-5)


def test_channels_of_a_head_say_what_they_are(detector):
    maps, _ = by_name(detector, 9, names=['bbox_head[0]']).extract(IMAGE)
    assert {item.names for item in maps} == {('channel 9 (kite, anchor 1)',)}
    maps, _ = extractor(detector, 'bbox_head').extract(IMAGE)
    assert [item.meaning for item in maps] == [f'{kind} P{n}' for kind in ('cls', 'box', 'obj') for n in (3, 4, 5)]
    assert {item.names for item in maps} == {()}


def test_a_class_that_the_head_does_not_have(detector):
    with pytest.raises(OptionError, match="no class 'balon'; nearest: balloon, ball, "):
        by_name(detector, 'balon')
    with pytest.raises(
        OptionError, match=r"neck\[0\]: no channel is called 'kite': it is no output of a detection head"
    ):
        by_name(detector, 'kite', names=('neck',)).extract(IMAGE)
    with pytest.raises(OptionError, match="no class 'centerness'"):
        by_name(detector, 'centerness')
