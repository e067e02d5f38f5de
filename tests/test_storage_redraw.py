"""Saved maps draw the same picture again, without the model."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from featmap.errors import DrawError, OptionError, SourceError
from featmap.inferencer import FeatMapInferencer
from featmap.results import Result
from featmap.storage import SavedImage, versions
from featmap.visualizer import FeatMapVisualizer
from tests.conftest import CHECKPOINT, CONFIG, IMAGE
from tests.storage_helpers import PICTURE, a_map, a_record, assert_same_array, assert_same_map, round_trip


def record_of(vis: FeatMapInferencer, result: Result) -> SavedImage:
    run = None if vis.run is None else (vis.run.low, vis.run.high, vis.run.noise)
    return SavedImage(
        result.name,
        result.location,
        result.original.shape[:2],
        result.maps,
        result.predictions,
        {'settings': vis.options.values('look', 'scale'), 'versions': versions()},
        run,
    )


@pytest.mark.parametrize(
    'options',
    [
        {'channel_reduction': 'squeeze_mean', 'colorbar': True, 'norm': 'p2,p98'},
        {'channel_reduction': None, 'topk': 4, 'arrangement': (4, 1), 'symmetric': True, 'norm': 'run'},
        {'channel_reduction': 'channels', 'channels': 'all', 'labels': False, 'alpha': 0.8, 'colormap': 'viridis'},
        {'channel_reduction': 'pca'},
        {'channel_reduction': 'l2', 'symmetric': True, 'crop': 'box:1', 'interpolation': 'nearest', 'grid': True},
        {'channel_reduction': 'l2', 'panel_size': 200, 'background': 'none', 'colorbar': True},
        {'channel_reduction': 'nmf', 'components': 3, 'boxes': False},
        {'channel_reduction': 'kmeans', 'components': 4},
        {'channel_reduction': None, 'topk': 2, 'panels': ('pca', 'grey', 'overlay'), 'colorbar': True},
    ],
    ids=lambda options: ' '.join(map(str, options.values())),
)
def test_the_picture_of_the_shipped_detector_is_drawn_again(tmp_path, options):
    layers = ['neck[2]', 'backbone.stage1'] if options.get('channels') != 'all' else ['neck[2]']
    vis = FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', target_layers=layers, **options)
    result = vis(str(IMAGE))
    saved = round_trip(tmp_path, record_of(vis, result))
    pages = saved.draw_sheets()
    assert len(pages) == len(result.renderings)
    for page, expected in zip(pages, result.renderings):
        assert_same_array(page.image, expected.image)
        assert page.panels == expected.panels
    assert_same_array(saved.draw(result.original).image, result.image)
    for item, expected in zip(saved.maps, result.maps):
        assert_same_map(item, expected)


def test_a_look_given_wins_over_the_saved_one(tmp_path):
    settings = {'alpha': 0.25, 'arrangement': (3, 1), 'colorbar': True, 'topk': 9}
    saved = round_trip(tmp_path, a_record(a_map(), provenance={'settings': settings}))
    look = {'alpha': 0.25, 'arrangement': (3, 1), 'colorbar': True}
    for more in ({}, {'alpha': 1.0}, {'colormap': 'viridis', 'arrangement': None}, {'norm': '0,2'}):
        expected = FeatMapVisualizer(**{**look, **more}).draw_maps(PICTURE, saved.maps, title='dog.jpg')
        assert_same_array(saved.draw(PICTURE, **more).image, expected.image)
    assert_same_array(
        a_record(a_map()).draw(PICTURE).image,
        FeatMapVisualizer().draw_maps(PICTURE, saved.maps, title='dog.jpg').image,
    )


@pytest.mark.parametrize('look', [{'alfa': 0.5}, {'topk': 3}, {'alpha': 2}, {'norm': 'x'}])
def test_a_look_that_is_none(look):
    with pytest.raises(OptionError):
        a_record(a_map()).draw(PICTURE, **look)


def test_an_image_that_is_not_the_one(tmp_path, photo):
    with pytest.raises(SourceError, match='give the image'):
        a_record(a_map()).draw()
    with pytest.raises(SourceError, match=r'does not exist.*; draw\(image=…\) takes'):
        a_record(a_map(), location=str(tmp_path / 'gone.png')).draw()
    with pytest.raises(DrawError, match=r'photo\.png.* \(64, 96, 3\).*\(60, 100, 3\)'):
        a_record(location=str(photo)).draw()
    elsewhere = tmp_path / 'moved.png'
    Image.fromarray(PICTURE).save(elsewhere)
    for moved in (elsewhere, str(elsewhere)):
        again = a_record(a_map(), location=str(tmp_path / 'gone.png')).draw(moved)
        np.testing.assert_array_equal(again.image, a_record(a_map()).draw(PICTURE).image)
    for wrong in (PICTURE[:, :-1], PICTURE[..., 0], PICTURE.astype(float)):
        with pytest.raises(DrawError, match='given image'):
            a_record().draw(wrong)


@pytest.mark.parametrize('norm', ['map', 'run'])
def test_what_is_flat_but_for_rounding_is_flat_when_drawn_again(tmp_path, norm):
    values = np.float32(16) + np.random.default_rng(0).normal(size=(1, 12, 12)).astype(np.float32) * np.float32(1e-5)
    item = a_map(planes=1, values=values, noise=(1e-3,))
    run = (float(values.min()), float(values.max()), 1e-3) if norm == 'run' else None
    saved = a_record(item, provenance={'settings': {'norm': norm}}, run_range=run)
    again = round_trip(tmp_path, saved)
    assert again.maps[0].noise == (1e-3,)
    assert again.run_range == run
    assert 'constant 16 but for rounding' in again.draw(PICTURE).panels[1].label
    np.testing.assert_array_equal(again.draw(PICTURE).image, saved.draw(PICTURE).image)


def test_what_labels_say_is_said_again(tmp_path):
    item = a_map(planes=2, reducer='topk', channels=(7, 3), why=('sum 8', 'sum of |x| 5'), note='random weights')
    saved = a_record(item)
    again = round_trip(tmp_path, saved)
    assert_same_map(again.maps[0], item)
    labels = [panel.label for panel in again.draw(PICTURE).panels]
    assert labels == [panel.label for panel in saved.draw(PICTURE).panels]
    assert labels[2].startswith('neck · channel 3 · topk: sum of |x| 5 · 64×12×12 · stride 8 · random weights · ')


def test_columns_can_be_chosen_again_but_for_components_that_were_not_saved(tmp_path):
    vis = FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', target_layers=['neck[2]'], boxes=False)
    result = vis(str(IMAGE))
    saved = round_trip(tmp_path, record_of(vis, result))
    assert [panel.label.rpartition(' · ')[2] for panel in saved.draw(panels=['heat', 'grey']).panels[1:]] == [
        'heat',
        'grey',
    ]
    with pytest.raises(DrawError, match='holds no components to draw as pca'):
        saved.draw(panels=['pca'])


def test_single_panels_are_drawn_again(tmp_path):
    options = {'target_layers': ['neck[2]', 'backbone.stage1'], 'panels': ['heat', 'overlay', 'pca']}
    vis = FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', **options)
    result = vis(str(IMAGE))
    again = round_trip(tmp_path, record_of(vis, result)).panels()
    assert list(again) == list(result.panels())
    for one, other in zip(again.draw(), result.panels().draw()):
        assert (one.name, one.about) == (other.name, other.about)
        assert_same_array(one.image, other.image)
