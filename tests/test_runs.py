"""What the images of a run share: a scale, a basis. And what comes of it for each of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from sklearn import decomposition

from featmap.errors import DrawError, OptionError, SourceError
from featmap.inferencer import FeatMapInferencer
from featmap.models.openmmlab.config import load_config
from featmap.reducers import PCA
from featmap.results import Result
from tests.conftest import CHECKPOINT, CONFIG

SMALL = {
    'test_dataloader.dataset.pipeline.1.scale': (160, 160),
    'test_dataloader.dataset.pipeline.2.scale': (160, 160),
}


def picture(seed: int, height: int, width: int, lightest: int) -> np.ndarray:
    """Blocks of colours, from black to some grey."""
    blocks = np.random.default_rng(seed).integers(0, lightest, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST))


IMAGES = {
    'dark.png': picture(0, 60, 100, 40),
    'tall.png': picture(1, 110, 70, 150),
    'bright.png': picture(2, 80, 80, 256),
}
ORDERS = [
    ['dark.png', 'tall.png', 'bright.png'],
    ['bright.png', 'dark.png', 'tall.png'],
    ['tall.png', 'bright.png', 'dark.png'],
]


@cache
def demo_config() -> Config:
    return load_config(CONFIG, SMALL)


def build(config: Config | None = None, **options) -> FeatMapInferencer:
    options = {'device': 'cpu', 'boxes': False, 'target_layers': ['neck'], **options}
    return FeatMapInferencer(config or demo_config(), CHECKPOINT, **options)


def with_featmap(**settings) -> Config:
    cfg = load_config(demo_config())
    cfg.featmap = settings
    return cfg


@pytest.fixture(scope='module')
def plain() -> FeatMapInferencer:
    """Draws with every panel on its own scale, and keeps the features."""
    return build(channel_reduction='squeeze_mean', keep_features=True)


def labels(result: Result) -> list[str]:
    return [panel.label for panel in result.rendering.panels[1:]]


def said(result: Result) -> list[str]:
    """The last part of each panel's label."""
    return [label.rpartition(' · ')[2] for label in labels(result)]


def on_image(item, values: np.ndarray) -> np.ndarray:
    """The cells of (C, h, w) values whose centre lies on the image, (C, n), found cell by cell."""
    height, width = item.geometry.image_shape
    sx, sy = item.geometry.scale
    left, top = item.geometry.offset
    rows = [top < (row + 0.5) * item.stride[0] < top + round(height * sy) for row in range(values.shape[1])]
    columns = [left < (column + 0.5) * item.stride[1] < left + round(width * sx) for column in range(values.shape[2])]
    return values[:, rows][:, :, columns].reshape(len(values), -1)


def folder_of(tmp_path: Path, order: list[str]) -> Path:
    """A folder in which the images stand in this order."""
    folder = tmp_path / '-'.join(order)
    folder.mkdir()
    for number, name in enumerate(order):
        Image.fromarray(IMAGES[name]).save(folder / f'{number}_{name}')
    return folder


# --- a scale


@pytest.mark.parametrize('options', [{}, {'symmetric': True, 'colorbar': True}])
def test_with_the_norm_run_a_picture_does_not_depend_on_the_order_of_the_images(options, tmp_path):
    vis = build(channel_reduction='squeeze_mean', norm='run', **options)
    pictures: dict[str, list[np.ndarray]] = {}
    for order in ORDERS:
        results = vis(folder_of(tmp_path, order))
        assert [result.name for result in results] == [f'{number}_{name}' for number, name in enumerate(order)]
        for name, result in zip(order, results):
            panels = [result.image[p.y : p.y + p.height, p.x : p.x + p.width] for p in result.rendering.panels]
            pictures.setdefault(name, []).append(np.stack(panels))
            assert len(set(said(result))) == 1
    for several in pictures.values():
        for other in several[1:]:
            np.testing.assert_array_equal(other, several[0])
    arrays = [IMAGES[name] for name in ORDERS[0]]
    np.testing.assert_array_equal(vis(arrays[::-1])[0].image, vis(arrays)[2].image)


def test_the_range_of_a_run_is_that_of_all_cells_on_all_images(plain):
    values = np.concatenate(
        [on_image(item, item.values).ravel() for image in IMAGES.values() for item in plain(image).maps]
    )
    vis = build(channel_reduction='squeeze_mean', norm='run')
    results = vis(list(IMAGES.values()))
    assert (vis.run.low, vis.run.high) == (values.min(), values.max())
    text = f'{values.min():.3g} … {values.max():.3g} (run)'
    assert {each for result in results for each in said(result)} == {text}
    # Not each image has both ends.
    assert any(np.ptp([item.content.max() for item in result.maps]) > 0 for result in results)
    assert {tuple(said(result)) for result in plain(list(IMAGES.values()))} != {(text,) * 3}


def test_learning_once_holds_for_single_images():
    vis = build(channel_reduction='squeeze_mean', norm='run')
    together = vis(list(IMAGES.values()))
    alone = vis(IMAGES['dark.png'])
    assert said(alone) != said(together[0])
    vis.learn(list(IMAGES.values()))
    for image, expected in zip(IMAGES.values(), together):
        np.testing.assert_array_equal(vis(image).image, expected.image)


def test_the_norm_layer_is_shared_by_a_layers_outputs_of_one_image(plain):
    vis = build(channel_reduction='squeeze_mean', norm='layer', target_layers=['neck', 'backbone'])
    for name in ('dark.png', 'bright.png'):
        result = vis(IMAGES[name])
        for layer in ('neck', 'backbone'):
            values = np.concatenate([on_image(i, i.values).ravel() for i in result.maps if i.layer == layer])
            expected = f'{values.min():.3g} … {values.max():.3g} (layer)'
            assert [each for each, label in zip(said(result), labels(result)) if label.startswith(layer)] == [
                expected
            ] * 3
    assert said(vis(IMAGES['dark.png'])) != said(vis(IMAGES['bright.png']))


def test_percentiles_of_what_lies_on_the_image():
    result = build(channel_reduction='l2', norm='p5,p95')(IMAGES['tall.png'])
    for item, text in zip(result.maps, said(result)):
        low, high = np.percentile(on_image(item, item.values.astype(np.float64)), [5, 95])
        found = [float(each) for each in text.removesuffix(' (p5–p95)').split(' … ')]
        np.testing.assert_allclose(found, [low, high], rtol=0.006)


def test_every_page_of_a_run_has_its_range():
    vis = build(channel_reduction='channels', channels='all', norm='run', target_layers=['neck[1]'])
    results = vis(list(IMAGES.values()))
    assert [len(result.renderings) for result in results] == [2, 2, 2]
    found = {
        panel.label.rpartition(' · ')[2]
        for result in results
        for page in result.renderings
        for panel in page.panels[1:]
    }
    assert len(found) == 1
    assert found.pop().endswith(' (run)')


# --- a basis


def basis_of(plain: FeatMapInferencer, images, channels: int) -> decomposition.PCA:
    """scikit-learn's answer for all cells on these images."""
    cells = [
        on_image(item, item.features.astype(np.float64)).T
        for image in images
        for item in plain(image).maps
        if item.shape[0] == channels
    ]
    return decomposition.PCA(3, svd_solver='full').fit(np.concatenate(cells))


def test_one_basis_is_fitted_on_all_images(plain):
    vis = build(channel_reduction='pca')
    results = vis(list(IMAGES.values()))
    for image, result in zip(IMAGES.values(), results):
        for item, source in zip(result.maps, plain(image).maps):
            reference = basis_of(plain, IMAGES.values(), item.shape[0])
            signs = np.sign(reference.components_[np.arange(3), np.abs(reference.components_).argmax(1)])
            cells = on_image(source, source.features.astype(np.float64))
            expected = reference.transform(cells.T).T * signs[:, None]
            np.testing.assert_allclose(on_image(item, item.values), expected, atol=2e-3 * np.abs(expected).max())
            spread = np.sqrt(reference.explained_variance_)
            np.testing.assert_allclose(np.array(item.ranges)[:, 1], 2.5 * spread, rtol=0.02)
            share = 100 * reference.explained_variance_ratio_.sum()
            assert abs(float(item.names[0].split()[1].rstrip('%')) - share) < 0.6


def test_layers_of_as_many_channels_share_a_basis():
    vis = build(channel_reduction='pca', target_layers=['backbone', 'neck'])
    maps = vis([*IMAGES.values()])[0].maps
    assert sorted(vis.reducer.bases) == [64, 128, 256]
    for index in range(3):  # a level of each
        assert maps[index].ranges == maps[index + 3].ranges


def test_colours_of_pca_do_not_depend_on_the_order_of_the_images():
    drawn: dict[str, list[Result]] = {}
    for order in ORDERS:
        vis = build(channel_reduction='pca', labels=False)
        for name, result in zip(order, vis([IMAGES[name] for name in order])):
            drawn.setdefault(name, []).append(result)
    for several in drawn.values():
        for other in several[1:]:
            difference = np.abs(other.image.astype(int) - several[0].image)
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.01


def test_pca_is_the_same_from_run_to_run():
    torch.manual_seed(1)
    first = build(channel_reduction='pca')(list(IMAGES.values()))
    torch.manual_seed(2)
    for one, other in zip(first, build(channel_reduction='pca')(list(IMAGES.values()))):
        np.testing.assert_array_equal(one.image, other.image)
        assert labels(one) == labels(other)


def test_a_saved_basis_draws_the_same_pictures_and_is_not_fitted_again(tmp_path):
    vis = build(channel_reduction='pca', labels=False)
    expected = vis(list(IMAGES.values()))
    (tmp_path / 'basis.npz').write_bytes(vis.reducer.dump())
    again = build(channel_reduction='pca', basis=tmp_path / 'basis.npz', labels=False)
    for image, result in zip(IMAGES.values(), expected):
        found = again(image)
        np.testing.assert_array_equal(found.image, result.image)
        assert all('of variance' in text for text in labels(result))
        assert all('pca by basis.npz' in text for text in labels(found))
    alone = vis(IMAGES['dark.png'])
    assert np.abs(alone.image.astype(int) - expected[0].image).max() > 20


def test_a_saved_basis_is_for_its_channels(tmp_path):
    vis = build(channel_reduction='pca', target_layers=['neck[0]'])
    vis(IMAGES['dark.png'])
    (tmp_path / 'basis.npz').write_bytes(vis.reducer.dump())
    with pytest.raises(OptionError, match='the basis is for maps of 64 channels, got one of 128'):
        build(channel_reduction='pca', basis=tmp_path / 'basis.npz')(IMAGES['dark.png'])


def test_ranges_of_a_basis_stand_above_the_norm():
    expected = build(channel_reduction='pca', components=2)(list(IMAGES.values()))
    for norm in ('layer', 'run', '0,1'):
        vis = build(with_featmap(norm=norm), channel_reduction='pca', components=2)
        for one, other in zip(vis(list(IMAGES.values())), expected):
            np.testing.assert_array_equal(one.image, other.image)


def test_a_row_of_reducers_with_pca_is_fitted_on_the_run():
    vis = build(with_featmap(channel_reduction=[{'type': 'topk', 'k': 8}, 'pca']))
    results = vis(list(IMAGES.values()))
    assert {item.reducer for result in results for item in result.maps} == {'topk → pca'}
    assert [item.kind for item in results[0].maps] == ['image'] * 3
    assert len({item.ranges for result in results for item in result.maps}) == 1  # 8 channels each: one basis


def test_a_row_of_reducers_keeps_the_basis_of_its_pca(tmp_path):
    row = with_featmap(channel_reduction=[{'type': 'topk', 'k': 8}, 'pca'])
    vis = build(row)
    expected = vis(IMAGES['dark.png'])
    (tmp_path / 'basis.npz').write_bytes(vis.reducer.dump())
    again = build(row, basis=tmp_path / 'basis.npz')(IMAGES['dark.png'])
    for one, other in zip(again.maps, expected.maps):
        np.testing.assert_array_equal(one.values, other.values)
    with pytest.raises(OptionError, match='none of the reducers has a basis'):
        build(with_featmap(channel_reduction=['topk', 'l2'])).reducer.dump()


def test_a_row_of_channels_and_l2(plain):
    vis = build(with_featmap(channel_reduction=[{'type': 'channels', 'channels': [0, 1, 2]}, 'l2']))
    result = vis(IMAGES['tall.png'])
    for item, source in zip(result.maps, plain(IMAGES['tall.png']).maps):
        np.testing.assert_allclose(item.values[0], np.sqrt((source.features[:3] ** 2).sum(0)), rtol=1e-4, atol=1e-5)
    assert labels(result)[0].startswith('neck[0] · channels → l2 · 64×20×20 · stride 8 · ')


# --- learning


@pytest.mark.parametrize('options', [{'norm': 'run'}, {'channel_reduction': 'pca'}])
def test_looking_first_runs_the_network_no_further_than_needed(options, monkeypatch):
    vis = build(boxes=True, **options)
    calls = []
    forward = vis.model.bbox_head.forward
    monkeypatch.setattr(vis.model.bbox_head, 'forward', lambda *args: calls.append(1) or forward(*args))
    vis.learn(list(IMAGES.values()))
    assert not calls
    assert all(result.predictions is not None for result in vis(list(IMAGES.values())))
    assert len(calls) == 3
    assert not any(module._forward_hooks for module in vis.model.modules())


def test_what_shares_nothing_looks_at_no_image_first(monkeypatch):
    vis = build()
    calls = []
    forward = vis.model.backbone.forward
    monkeypatch.setattr(vis.model.backbone, 'forward', lambda *args: calls.append(1) or forward(*args))
    vis(list(IMAGES.values()))
    assert len(calls) == 3


@pytest.mark.parametrize('options', [{'norm': 'run'}, {'channel_reduction': 'pca'}])
def test_an_image_that_cannot_be_read_is_passed_over_where_that_is_asked_for(options, tmp_path):
    folder = folder_of(tmp_path, ORDERS[0])
    vis = build(**options)
    vis.learn(folder)
    expected = vis(folder)
    (folder / '0_0.png').write_bytes(b'no image')
    other = build(**options)
    other.learn(folder, skip=(SourceError,))
    for path, result in zip(sorted(folder.glob('[012]_[a-z]*.png')), expected):
        np.testing.assert_array_equal(other(path).image, result.image)
    with pytest.raises(SourceError):
        other.learn(folder)
    with pytest.raises(SourceError):
        build(**options)(folder)


def test_a_map_that_cannot_be_drawn_is_passed_over_in_the_range_of_a_run(monkeypatch):
    vis = build(norm='run', channel_reduction='squeeze_mean')
    vis.learn([IMAGES['dark.png']])
    expected = vis.run
    original = vis.model.neck.forward

    def broken_on_bright(inputs):
        outputs = original(inputs)
        return tuple(each * float('nan') for each in outputs) if broken else outputs

    monkeypatch.setattr(vis.model.neck, 'forward', broken_on_bright)
    broken = True
    with pytest.raises(DrawError, match='holds no finite value'):
        vis.learn([IMAGES['bright.png']])
    vis.learn([IMAGES['bright.png']], skip=(DrawError,))
    assert vis.run is None
    broken = False
    vis.learn([IMAGES['dark.png']], skip=(DrawError,))
    assert vis.run == expected


# --- settings


def test_channels_alone_choose_their_reducer_wherever_they_are_given():
    image = IMAGES['tall.png']
    expected = build(channel_reduction='channels', channels=(5, 2))(image)
    assert [item.channels for item in expected.maps] == [(5, 2)] * 3
    for vis in (build(channels=[5, 2]), build(with_featmap(channels='5 2')), build(with_featmap(channels=['5', '2']))):
        np.testing.assert_array_equal(vis(image).image, expected.image)
    assert build(with_featmap(channels=[1], channel_reduction='l2')).options.what.channel_reduction == 'l2'
    assert build(with_featmap(channels=[1]), channel_reduction='l2').options.what.channel_reduction == 'l2'
    assert build(with_featmap(channel_reduction='l2'), channels=[1]).options.what.channel_reduction == 'channels'
    assert build(with_featmap(channel_reduction='l2'), channels=None).options.what.channel_reduction == 'l2'


@pytest.mark.parametrize(
    ('norm', 'kind'),
    [((0, 1), 'fixed'), ([0, 2.5], 'fixed'), (('p1', 'p99'), 'percentile'), ('layer', 'layer'), ('-1,1', 'fixed')],
)
def test_a_norm_in_a_config(norm, kind):
    vis = build(with_featmap(norm=norm, symmetric=True))
    assert (vis.visualizer.look.norm.kind, vis.visualizer.look.norm.symmetric) == (kind, True)


def test_arguments_reach_the_reducer():
    assert build(channel_reduction='select_max', abs=True).reducer.abs is True
    assert build(channel_reduction=None, topk=3, abs=True).reducer.abs is True
    assert build(channel_reduction='kmeans', components=7).reducer.k == 7
    pca = build(with_featmap(channel_reduction={'type': 'pca', 'as_rgb': False}, components=3)).reducer
    assert isinstance(pca, PCA)
    assert (pca.k, pca.as_rgb) == (3, False)


@pytest.mark.parametrize(
    ('reduction', 'options', 'message'),
    [
        ('squeeze_mean', {'components': 3}, 'components goes with channel_reduction pca or nmf or kmeans, got squ'),
        ('l2', {'abs': True}, 'abs goes with channel_reduction None or topk or select_max, got l2'),
        (['topk', 'l2'], {'basis': 'b.npz'}, 'basis goes with channel_reduction pca or panels=.*, got topk, l2'),
        ({'type': 'eigen'}, {'channels': [1]}, 'channels goes with channel_reduction channels, got eigen'),
    ],
)
def test_an_option_that_the_reducer_would_ignore_is_refused(reduction, options, message):
    with pytest.raises(OptionError, match=message):
        build(channel_reduction=reduction, **options)


@pytest.mark.parametrize(
    ('reduction', 'options'),
    [
        ('l2', {'components': None, 'abs': False, 'basis': None, 'channels': None}),
        (['topk', 'pca'], {'topk': 6, 'components': 2, 'abs': True}),
        ([['topk', {'type': 'kmeans'}], 'l2'], {'components': 2}),
        ('featmap.kmeans', {'components': 2}),
    ],
)
def test_an_option_that_asks_for_nothing_or_that_a_step_takes_is_not(reduction, options):
    assert len(build(channel_reduction=reduction, **options)(IMAGES['dark.png']).maps) == 3


def test_random_weights_are_named_in_the_picture():
    image = IMAGES['bright.png']
    random = FeatMapInferencer(demo_config(), None, device='cpu', boxes=False, target_layers=['neck'])
    assert all('random weights' in label.split(' · ') for label in labels(random(image)))
    assert not any('random weights' in label for label in labels(build()(image)))
