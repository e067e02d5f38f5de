"""The default picture of any photograph stays under 8 MB."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from featmap.geometry import ImageGeometry
from featmap.rendering.budget import bytes_a_pixel
from featmap.sinks import save_image
from featmap.visualizer import FeatMapVisualizer
from tests.visualizer_helpers import RAMP, feature_map


def grainy(height: int, width: int, noise: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    scene = (128 + 60 * np.sin(rows / 97) + 50 * np.cos(columns / 61))[..., None]
    grain = np.random.default_rng(0).standard_normal((height, width, 3), dtype=np.float32)
    return np.clip(scene + noise * grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize('noise', [3, 25])
@pytest.mark.parametrize('strength', [1.0, 0.5])
def test_the_estimate(noise, strength):
    picture = (grainy(200, 300, noise) * strength).round().astype(np.uint8)
    size = len(cv2.imencode('.png', picture)[1]) / (200 * 300)
    assert bytes_a_pixel(picture) == pytest.approx(size, rel=0.2)


def test_flat_pictures_take_nothing():
    assert bytes_a_pixel(np.full((1, 1, 3), 7, np.uint8)) == 0
    assert bytes_a_pixel(np.full((300, 400, 3), 7, np.uint8)) == 0


@pytest.mark.parametrize(('shape', 'maps', 'noise'), [((960, 1280), 3, 25), ((960, 1280), 5, 8), ((1300, 1700), 9, 20)])
def test_a_noisy_photograph_is_drawn_smaller(tmp_path, shape, maps, noise):
    image = grainy(*shape, noise)
    items = [feature_map(RAMP, geometry=ImageGeometry.whole(shape), layer=f'l{n}') for n in range(maps)]
    rendering = FeatMapVisualizer().draw_maps(image, items)
    save_image(rendering.image, tmp_path / 'a.png')
    assert 5.5e6 < (tmp_path / 'a.png').stat().st_size < 8e6
    assert 640 <= rendering.panels[0].width < 1280
    # What is asked for is done.
    assert max(FeatMapVisualizer(panel_size=1280).view(image, None, items).shape) == 1280


def test_a_small_image_keeps_its_size():
    image = grainy(640, 1024, 40)
    items = [feature_map(RAMP, geometry=ImageGeometry.whole((640, 1024)))] * 20
    assert FeatMapVisualizer().view(image, None, items).shape == (640, 1024)


def test_a_calm_photograph_keeps_its_size():
    image = grainy(960, 1280, 0)
    items = [feature_map(RAMP, geometry=ImageGeometry.whole((960, 1280)))] * 3
    assert FeatMapVisualizer().view(image, None, items).shape == (960, 1280)
