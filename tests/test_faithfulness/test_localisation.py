import numpy as np
import pytest

from featmap.faithfulness import box_map, box_mask, energy, energy_of_others, gaussian_map, pointing, random_map

HEAT = np.array([[0, 1, 2, 0], [0, 3, 4, 0], [5, 0, 0, 1]], np.float32)


@pytest.mark.parametrize(
    ('box', 'rows', 'columns'),
    [
        ((1, 0, 3, 2), slice(0, 2), slice(1, 3)),
        ((0.4, 0.6, 2.6, 2.4), slice(1, 2), slice(0, 3)),  # centres at 0.5, 1.5 and 2.5
        ((-5, -5, 50, 50), slice(0, 3), slice(0, 4)),
        ((1.6, 1.6, 1.8, 1.9), slice(1, 2), slice(1, 2)),  # no centre inside: the pixel that holds it
        ((9, 9, 10, 10), slice(2, 3), slice(3, 4)),
    ],
)
def test_a_box_holds_the_pixels_whose_centres_it_holds(box, rows, columns):
    expected = np.zeros((3, 4), bool)
    expected[rows, columns] = True
    np.testing.assert_array_equal(box_mask(box, (3, 4)), expected)


def test_energy_is_the_share_inside():
    assert energy(HEAT, box_mask((1, 0, 3, 2), HEAT.shape)) == pytest.approx(10 / 16)
    assert np.isnan(energy(np.zeros((3, 4)), box_mask((0, 0, 1, 1), (3, 4))))


def test_heat_on_other_objects_is_a_share_of_that_on_all():
    own = box_mask((1, 0, 3, 2), HEAT.shape)
    corner = box_mask((0, 2, 1, 3), HEAT.shape)
    overlapping = box_mask((2, 1, 4, 3), HEAT.shape)  # of which 4 belongs to the own box
    assert energy_of_others(HEAT, own, [corner]) == pytest.approx(5 / 15)
    assert energy_of_others(HEAT, own, [corner, overlapping]) == pytest.approx(6 / 16)
    assert energy_of_others(HEAT, own, [own]) == 0
    assert np.isnan(energy_of_others(HEAT, own, []))
    assert np.isnan(energy_of_others(np.zeros((3, 4)), own, [corner]))


def test_pointing_asks_for_the_maximum():
    assert pointing(HEAT, box_mask((0, 2, 1, 3), HEAT.shape)) == 1
    assert pointing(HEAT, box_mask((1, 0, 3, 2), HEAT.shape)) == 0
    two = HEAT.copy()
    two[0, 0] = 5
    assert pointing(two, box_mask((0, 2, 1, 3), two.shape)) == 0.5
    assert np.isnan(pointing(np.zeros((3, 4)), box_mask((0, 0, 1, 1), (3, 4))))


def test_controls():
    noise = random_map((30, 40), seed=3)
    np.testing.assert_array_equal(noise, random_map((30, 40), seed=3))
    assert (noise != random_map((30, 40), seed=4)).mean() > 0.99
    assert noise.dtype == np.float32
    assert 0.45 < noise.mean() < 0.55

    assert box_map((10, 5, 20, 25), (30, 40)).sum() == 200

    bell = gaussian_map((10, 5, 20, 25), (30, 40))
    assert bell.dtype == np.float32
    assert bell[box_mask((10, 5, 20, 25), (30, 40)) == 0].max() == 0
    assert energy(bell, box_mask((10, 5, 20, 25), (30, 40))) == 1
    # Half a pixel off the middle both ways, where the standard deviations are 2.5 and 5 pixels.
    assert bell[14, 14] == bell.max() == pytest.approx(np.exp(-((0.5 / 2.5) ** 2 + (0.5 / 5) ** 2) / 2), rel=1e-6)
    np.testing.assert_allclose(bell[5:25, 10:20], bell[5:25, 10:20][::-1, ::-1], rtol=1e-6)
