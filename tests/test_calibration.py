"""How far maps lie from their nominal cells: found where it is known, bounded by what is possible, kept and said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from featmap.calibration import Displacement, MirrorShift, energy
from featmap.extractor import MapExtractor
from featmap.geometry import Place
from featmap.geometry.places import AxisPlace
from featmap.inferencer import FeatMapInferencer
from featmap.models.openmmlab.detector import Detector
from featmap.reducers import build_reducer
from featmap.storage import load_maps, save_maps
from tests.conftest import CHECKPOINT, CONFIG, hooks
from tools.demo_scenes import draw_scene

SMALL = {f'test_dataloader.dataset.pipeline.{step}.scale': (320, 320) for step in (1, 2)}
SCENE = draw_scene(5, (320, 256))[0]


def blobs(seed: int, cells: int = 40, rows: int = 24) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).random((rows, cells)), 1.5)


def shifted(plane: np.ndarray, right: float) -> np.ndarray:
    return ndimage.shift(plane, (0, right), order=5, mode='nearest')


def measured(right: float, slack: float = 0.0, images: int = 3, noise: float = 0.0) -> tuple[float, float] | None:
    """What comes of maps that lie so far right of their cells, as those of mirrored images do of theirs."""
    found = MirrorShift()
    rng = np.random.default_rng(0)
    for seed in range(images):
        plane = blobs(seed)
        unlike = rng.standard_normal(plane.shape) * noise * plane.std()
        found.observe(shifted(plane, right), shifted(plane, slack - right) + unlike, slack)
    return found.estimate()


@pytest.mark.parametrize('right', [-0.47, -0.2, 0, 0.13, 0.25, 0.5, 0.7])
@pytest.mark.parametrize('slack', [0, 0.34, 1])
def test_a_known_displacement_is_found(right: float, slack: float) -> None:
    shift, error = measured(right, slack)
    assert shift == pytest.approx(right, abs=0.02)
    assert error < 0.02


def test_the_error_grows_with_what_is_not_alike_and_falls_with_images() -> None:
    clean, noisy, many = measured(0.3)[1], measured(0.3, noise=1)[1], measured(0.3, noise=1, images=20)[1]
    assert clean < many < noisy


@pytest.mark.parametrize('right', [0, 0.2, 0.4])
def test_unlike_detail_does_not_pull_towards_half_a_cell(right: float) -> None:
    assert measured(right, noise=1, images=40)[0] == pytest.approx(right, abs=0.02)


def test_no_telling() -> None:
    assert MirrorShift().estimate() is None
    assert measured(3) is None  # beyond what is looked at
    for plane in (np.ones((20, 20)), blobs(0)[:, :7], blobs(0)[:3]):
        found = MirrorShift()
        found.observe(plane, plane)
        assert found.estimate() is None


def displacement(y: float, x: float, noise: float = 0.0) -> Displacement:
    found = Displacement()
    for axis, right in ((found.rows, y), (found.columns, x)):
        rng = np.random.default_rng(1)
        plane = blobs(0)
        axis.observe(shifted(plane, right), shifted(plane, -right) + rng.standard_normal(plane.shape) * noise)
    return found


def place(low: float, high: float, columns: tuple[float, float] | None = None) -> Place:
    return Place(
        AxisPlace(40, 8.0, low * 8, high * 8), AxisPlace(40, 8.0, *(8 * end for end in columns or (low, high)))
    )


def test_a_measurement_stands_within_what_the_arithmetic_allows() -> None:
    assert displacement(0.1, 0.3).offset(place(-0.4, -0.4)) == pytest.approx((-0.1, -0.3), abs=0.02)
    assert displacement(-0.1, 0.6).offset(place(-0.4, -0.4)) == pytest.approx((0, -0.4), abs=1e-9)
    assert displacement(-0.1, 0.6).offset(None) == pytest.approx((0.1, -0.5), abs=0.02)
    # Ways that differ: between the nominal cells and the farthest of them.
    assert displacement(0.1, 0.9).offset(place(-1.5, -0.4)) == pytest.approx((-0.1, -0.9), abs=0.02)
    # What unpadded convolutions take away whole is in the nominal place already.
    assert displacement(0.1, 0.3).offset(place(0.6, 0.6)) == pytest.approx((-0.1, -0.3), abs=0.02)


def test_where_nothing_can_be_measured_the_arithmetic_speaks_if_it_is_of_one_mind() -> None:
    assert Displacement().offset(place(-0.4, -0.4)) == pytest.approx((-0.4, -0.4))
    assert Displacement().offset(place(-0.9, -0.4)) == (0, 0)
    assert Displacement().offset(None) == (0, 0)


def test_an_axis_that_cannot_be_measured_goes_with_the_other_where_both_are_computed_alike() -> None:
    found = Displacement(columns=displacement(0, 0.3).columns)
    assert found.offset(place(-0.4, -0.4)) == pytest.approx((-0.3, -0.3), abs=0.02)
    assert found.offset(place(-0.2, -0.2, (-0.4, -0.4))) == pytest.approx((-0.2, -0.3), abs=0.02)
    noisy = Displacement(displacement(0, 0, noise=2).rows, displacement(0, 0.3).columns)
    assert noisy.offset(place(-0.4, -0.4)) == pytest.approx((-0.3, -0.3), abs=0.02)


def test_energy_is_the_distance_from_the_mean_cell() -> None:
    features = np.array([[[1, 3]], [[0, 8]]], np.float32)
    np.testing.assert_allclose(energy(features), [[17**0.5, 17**0.5]])
    assert energy(np.ones((3, 2, 2), np.float16)).max() == 0


@pytest.fixture(scope='module')
def detector() -> Detector:
    return Detector(CONFIG, CHECKPOINT, device='cpu', cfg_options=SMALL)


def extractor(detector: Detector, **options) -> MapExtractor:
    return MapExtractor(detector, ['backbone', 'neck'], build_reducer('l2'), 'l2', boxes=False, **options)


def test_what_remains_between_a_scene_and_its_mirror_image(detector: Detector) -> None:
    """Measured on some scenes, the displacement holds for others, left and right."""
    by = extractor(detector)
    found = []
    for group in np.array_split(np.arange(12), 2):
        by.placement.nominal()
        for seed in group:
            by.mirror(draw_scene(2_000_000 + int(seed), (320, 320))[0])
        by.placement.calibrate()
        found.append(np.array([item.offset for item in by.maps(SCENE)]))
    assert found[0].shape == (6, 2)
    nominal, residual = np.abs(found[0][:, 1]), np.abs(found[0] - found[1])[:, 1]
    assert nominal[:2].min() > 0.1
    assert residual.max() < 0.1  # six scenes of a quarter of the size
    assert residual[[0, 1, 3, 4]].max() < 0.05
    assert (found[0] <= 0).all()  # the arithmetic looks left and up, or straight
    assert hooks(detector.model) == 0


def test_maps_are_the_same_and_only_their_place_is_another(detector: Detector) -> None:
    nominal, calibrated = extractor(detector).extract(SCENE)[0], extractor(detector, calibrated=True).extract(SCENE)[0]
    for one, other in zip(nominal, calibrated):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-5)
        assert one.offset == (0, 0)
        assert one.stride == other.stride
        assert all(-0.5 < o <= 0 for o in other.offset)
    assert calibrated[0].offset[1] < -0.1
    again = extractor(detector, calibrated=True)
    assert [item.offset for item in again.extract(SCENE)[0]] == [item.offset for item in calibrated]
    # The next image is drawn by what the first has shown.
    assert [item.offset for item in again.extract(SCENE[:, ::-1].copy())[0]] == [item.offset for item in calibrated]


def test_the_option_its_label_and_its_sidecar(tmp_path) -> None:
    inferencer = FeatMapInferencer(
        CONFIG, CHECKPOINT, device='cpu', cfg_options=SMALL, placement='calibrated', target_layers='backbone[0]'
    )
    result = inferencer(SCENE)
    (item,) = result.maps
    assert f'calibrated ←{-item.offset[1]:.2f}' in result.rendering.panels[1].label
    assert ' cells · ' in result.rendering.panels[1].label
    saved = load_maps(save_maps(tmp_path / 'maps.npz', inferencer.record(result)))
    assert saved.maps[0].offset == item.offset
    assert saved.provenance['settings']['placement'] == 'calibrated'
    np.testing.assert_array_equal(saved.draw(SCENE).image, result.image)


def test_learning_measures_several_images_and_passes_over_broken_ones(tmp_path) -> None:
    from featmap.errors import SourceError
    from featmap.sources import Source

    (tmp_path / 'bad.png').write_bytes(b'no image')
    bad = Source(str(tmp_path / 'bad.png'), 'bad.png')
    options = {'placement': 'calibrated', 'target_layers': 'backbone', 'boxes': False}
    inferencer = FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', cfg_options=SMALL, **options)
    first = [item.offset for item in inferencer(SCENE).maps]
    inferencer.learn([bad, draw_scene(6, (320, 320))[0], draw_scene(7, (320, 320))[0]], skip=(SourceError,))
    assert [item.offset for item in inferencer(SCENE).maps] != first
