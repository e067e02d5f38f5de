"""Rows of panels from one forward: the components beside the maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featmap.errors import OptionError
from featmap.inferencer import FeatMapInferencer
from featmap.reducers import PCA, reduce
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, hooks


@pytest.fixture(scope='module')
def vis():
    inferencer = FeatMapInferencer(
        CONFIG, CHECKPOINT, device='cpu', target_layers=['backbone.stage*'], channel_reduction='l2',
        panels=['heat', 'pca'], boxes=False, keep_features=True,
    )  # fmt: skip
    yield inferencer
    assert hooks(inferencer.model) == 0


def test_components_come_from_the_same_forward(vis):
    calls = []
    handle = vis.model.backbone.register_forward_hook(lambda *_: calls.append(1))
    try:
        result = vis(str(IMAGE))
    finally:
        handle.remove()
    assert len(calls) == 1
    assert [item.reducer for item in result.maps] == ['l2'] * 4
    for item in result.maps:
        rows, columns = item.shape[1:]
        weights = torch.from_numpy(item.geometry.weights((rows, columns), item.stride, item.offset))
        expected = reduce(PCA(), torch.from_numpy(item.features), weights)
        assert (item.pca.kind, item.pca.names) == ('image', expected.names)
        np.testing.assert_allclose(item.pca.values, expected.values.numpy(), atol=1e-3)
        assert (item.pca.name, item.pca.stride, item.pca.geometry) == (item.name, item.stride, item.geometry)
    assert len(result.rendering.panels) == 1 + 4 * 2


def test_no_components_are_made_where_no_panel_shows_them(vis):
    assert [item.pca for item in vis(str(IMAGE), panels=['grey', 'heat']).maps] == [None] * 4


def test_a_run_by_pca_needs_no_others(vis):
    result = vis(str(IMAGE), channel_reduction='pca', panels=['pca', 'overlay'])
    assert [item.pca for item in result.maps] == [None] * 4
    assert len(result.rendering.panels) == 9
    planes = vis(str(IMAGE), channel_reduction='pca', components=2, panels=['heat', 'pca'])
    assert [len(item.pca.values) for item in planes.maps] == [3] * 4


def test_a_basis_is_that_of_the_panels_too(vis, tmp_path):
    pca = vis.with_options(channel_reduction='pca', target_layers=['backbone.stage4'], panels=[])
    pca.learn([str(IMAGE)])
    (tmp_path / 'basis.npz').write_bytes(pca.reducer.dump())
    given = {'target_layers': ['backbone.stage4'], 'panels': ['pca']}
    (item,) = vis(str(IMAGE), basis=str(tmp_path / 'basis.npz'), **given).maps
    assert item.pca.names == ('pca by basis.npz',)
    (own,) = vis(str(IMAGE), **given).maps
    np.testing.assert_allclose(item.pca.values, own.pca.values, atol=1e-3)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (
            {'panels': ['grey'], 'channel_reduction': 'pca'},
            'panels grey has no effect with .*whose colours are its own',
        ),
        ({'panels': ['heat'], 'alpha': 0.3}, 'alpha has no effect with panels=.*it is about overlay'),
        ({'panels': ['pca'], 'colorbar': True}, 'colorbar has no effect with panels'),
        ({'panels': ['heat'], 'topk': 4, 'channel_reduction': None, 'arrangement': '2x2'}, 'arrangement has no effect'),
        ({'panels': ['heat', 'heat']}, 'expected some of grey, heat, overlay, pca, each once'),
        ({'panels': ['gray']}, 'expected some of grey'),
        ({'panels': 3}, 'expected some of grey'),
    ],
)
def test_what_would_have_no_effect_is_refused(vis, options, said):
    with pytest.raises(OptionError, match=said):
        vis.with_options(**options)


def test_a_result_s_figure_has_the_rows(vis):
    figure = vis(str(IMAGE)).figure(dpi=40)
    assert [axes.get_label() for axes in figure.axes].count('panel') == 8
