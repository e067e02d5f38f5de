from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from featmap.drawer import MapDrawer
from featmap.options import Run
from featmap.visualizer import FeatMapVisualizer
from tests.inferencer_helpers import IMAGE, build


def test_it_draws_what_the_visualizer_draws():
    vis = build(target_layers=['neck'], norm='layer', colorbar=True)
    result = vis(IMAGE)
    assert type(vis._drawer) is MapDrawer
    drawn = FeatMapVisualizer(norm='layer', colorbar=True).draw_maps(IMAGE, result.maps, result.predictions, 'image')
    np.testing.assert_array_equal(drawn.image, result.image)
    np.testing.assert_array_equal(
        MapDrawer(Run.of({'norm': 'layer', 'colorbar': True})).draw_maps(IMAGE, result.maps, result.predictions).image,
        result.image,
    )


def test_the_visualizer_is_made_when_it_is_asked_for():
    vis = build(target_layers=['neck'], alpha=0.25)
    visualizer = vis.visualizer
    assert isinstance(visualizer, FeatMapVisualizer)
    assert vis.visualizer is visualizer
    assert visualizer.alpha == 0.25
    assert not vis.logs
    vis.close()


@pytest.mark.parametrize('backends', [(), ('LocalVisBackend',)])
def test_one_that_a_run_needs_is_made_at_once(backends, tmp_path):
    vis = build(target_layers=['neck'], vis_backends=backends, save_dir=tmp_path)
    assert vis.logs is bool(backends)
    assert (type(vis._drawer) is MapDrawer) is not bool(backends)
    assert vis.with_options(alpha=0.1).logs is vis.logs


def test_a_model_of_ones_own_costs_no_visualizer_of_mmengine(tmp_path):
    code = (
        'import sys, numpy as np, featmap; from torch import nn; theirs = {*sys.modules}; '
        'net, image = nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1)), np.zeros((32, 32, 3), np.uint8); '
        'featmap.visualize(net, image, "0", input_size=32).image; '
        'print([name for name in ("mmengine.visualization", "mmengine.model", "matplotlib", "scipy", "sympy", '
        '"torch.distributed.fsdp", "torchvision") if name in {*sys.modules} - theirs])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == '[]'


def test_vis_backends_are_found_by_who_has_not_imported_them(tmp_path):
    code = (
        'import sys, numpy as np, featmap; from torch import nn; image = np.zeros((32, 32, 3), np.uint8); '
        'net = nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1)); '
        'featmap.visualize(net, image, "0", input_size=32, vis_backends=["LocalVisBackend"], save_dir="logs")'
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=tmp_path, capture_output=True)
    assert len(list(tmp_path.rglob('*.png'))) == 1
