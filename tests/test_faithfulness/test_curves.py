import numpy as np
import pytest

from featmap.errors import OptionError
from featmap.faithfulness import Protocol, Ranked, area, insertion_deletion, measured_curves, turns

HEAT = np.array([[0.1, 0.9], [0.5, 0.0]], np.float32)
WORTH = np.array([[3.0, 10.0], [5.0, 2.0]])  # what each pixel adds to the value


def worth_kept(masks, baseline):
    return (masks * WORTH).sum(axis=(1, 2)) + (100 if baseline == 'black' else 0)


def test_turns_are_of_equal_area_the_hottest_first():
    np.testing.assert_array_equal(turns(HEAT, 4), [[2, 0], [1, 3]])
    np.testing.assert_array_equal(turns(HEAT, 2), [[1, 0], [0, 1]])
    heat = np.random.default_rng(0).random((7, 9))
    counts = np.bincount(turns(heat, 5).ravel())
    assert counts.tolist() == [13, 13, 12, 13, 12]  # 63 pixels


def test_more_steps_than_pixels_leave_some_idle():
    np.testing.assert_array_equal(turns(HEAT, 8), [[4, 0], [2, 6]])


def test_equal_heat_comes_in_the_same_order_drawn_by_lot():
    flat = np.zeros((40, 60))
    first = turns(flat, 10)
    np.testing.assert_array_equal(first, turns(flat, 10))
    assert (first != turns(flat, 10, seed=1)).any()
    # No corner comes first: each quarter has its share of the first tenth.
    quarters = [(part == 0).mean() for half in np.split(first, 2) for part in np.split(half, 2, axis=1)]
    assert min(quarters) > 0.06
    assert max(quarters) < 0.14
    # Where one part is hotter, lots decide only within it.
    flat[:20] = 1
    assert turns(flat, 10)[:20].max() == 4


def test_heat_that_is_no_number_comes_last_and_unseen_pixels_never():
    heat = np.array([[np.nan, 1.0], [np.inf, -5.0]])
    assert turns(heat, 4)[0, 1] == 0
    assert turns(heat, 4)[1, 1] == 1
    seen = np.array([[True, True], [False, True]])
    np.testing.assert_array_equal(turns(HEAT, 3, seen), [[1, 0], [-1, 2]])


def test_curves_against_values_by_hand():
    curves = insertion_deletion(HEAT, worth_kept, protocol=Protocol(steps=4))
    np.testing.assert_allclose(curves.insertion, [0, 10, 15, 18, 20])
    np.testing.assert_allclose(curves.deletion, [20, 10, 5, 2, 0])
    assert curves.insertion_area == pytest.approx((10 + 15 + 18 + 20 / 2) / 4)
    assert curves.deletion_area == pytest.approx((20 / 2 + 10 + 5 + 2) / 4)
    assert curves.gap == pytest.approx(6.5)


def test_the_baseline_is_handed_on():
    curves = insertion_deletion(HEAT, worth_kept, 'black', Protocol(steps=2))
    np.testing.assert_allclose(curves.insertion, [100, 115, 120])
    assert curves.baseline == 'black'


def test_pixels_the_network_does_not_see_take_no_step():
    seen = np.array([[True, True], [False, True]])
    curves = insertion_deletion(HEAT, worth_kept, protocol=Protocol(steps=3), seen=seen)
    # The unseen pixel, worth 5, goes and comes with the whole image alone; the others take one step each.
    assert curves.insertion[1] - curves.insertion[2] == -3
    assert curves.deletion[1] - curves.deletion[2] == 3


@pytest.mark.parametrize('batch_size', [1, 3, 64])
def test_maps_share_batches_and_the_ends(batch_size):
    sizes = []

    def answer(masks, baseline):
        sizes.append(len(masks))
        return list(masks)

    def value(answers, target):
        return np.array([(mask * WORTH).sum() * (1 if target == 0 else -1) for mask in answers])

    maps = [Ranked(HEAT, (0, 1)), Ranked(-HEAT, (1,))]
    protocol = Protocol(steps=4)
    both, lone = measured_curves(maps, answer, value, 'blur', protocol, batch_size=batch_size)
    assert sum(sizes) == 2 + 2 * 2 * 3
    assert max(sizes) <= max(batch_size, 2)
    np.testing.assert_allclose(both[0].insertion, [0, 10, 15, 18, 20])
    np.testing.assert_allclose(both[1].insertion, [0, -10, -15, -18, -20])
    np.testing.assert_allclose(lone[1].insertion, [0, -2, -5, -10, -20])
    np.testing.assert_allclose(lone[1].deletion, [-20, -18, -15, -10, 0])


def test_area_is_that_of_rise():
    assert area([1, 1, 1]) == 1
    assert area([0, 1]) == 0.5
    assert area([0, 0, 1, 1, 1]) == pytest.approx(0.625)


def test_a_protocol_names_all_that_figures_must_share():
    assert Protocol().name == 'featmap-1 · IoU × score · 50 equal areas · blur'
    assert 'black' in Protocol(baselines=('blur', 'black')).name
    with pytest.raises(OptionError, match='expected one or more of blur, black'):
        Protocol(baselines=('grey',))
    with pytest.raises(OptionError, match='1 or more'):
        Protocol(steps=0)
