import numpy as np
import pytest

from featmap.errors import OptionError
from featmap.faithfulness import Protocol, Ranked, area, insertion_deletion, measured_curves, ranks

HEAT = np.array([[0.1, 0.9], [0.5, 0.0]], np.float32)
WORTH = np.array([[3.0, 10.0], [5.0, 2.0]])  # what each pixel adds to the value


def worth_kept(masks, baseline):
    return (masks * WORTH).sum(axis=(1, 2)) + (100 if baseline == 'black' else 0)


def test_the_hottest_comes_first():
    np.testing.assert_array_equal(ranks(HEAT), [[2, 0], [1, 3]])


def test_equal_heat_comes_in_the_same_order_drawn_by_lot():
    flat = np.zeros((40, 60))
    first = ranks(flat)
    np.testing.assert_array_equal(first, ranks(flat))
    assert (first != ranks(flat, seed=1)).any()
    np.testing.assert_array_equal(np.sort(first.ravel()), np.arange(2400))
    # No corner comes first: each quarter has its share of the first tenth.
    quarters = [(part < 240).mean() for half in np.split(first, 2) for part in np.split(half, 2, axis=1)]
    assert min(quarters) > 0.06
    assert max(quarters) < 0.14
    # Where one part is hotter, lots decide only within it.
    flat[:20] = 1
    assert ranks(flat)[:20].max() == 1199


def test_heat_that_is_no_number_comes_last_and_unseen_pixels_never():
    heat = np.array([[np.nan, 1.0], [np.inf, -5.0]])
    assert ranks(heat)[0, 1] == 0
    assert ranks(heat)[1, 1] == 1
    seen = np.array([[True, True], [False, True]])
    np.testing.assert_array_equal(ranks(HEAT, seen), [[1, 0], [3, 2]])


def test_curves_against_values_by_hand():
    curves = insertion_deletion(HEAT, worth_kept, protocol=Protocol(steps=4))
    np.testing.assert_allclose(curves.insertion, [0, 10, 15, 18, 20])
    np.testing.assert_allclose(curves.deletion, [20, 10, 5, 2, 0])
    assert curves.insertion_area == pytest.approx((10 + 15 + 18 + 20 / 2) / 4)
    assert curves.deletion_area == pytest.approx((20 / 2 + 10 + 5 + 2) / 4)
    assert curves.gap == pytest.approx(6.5)


def test_octaves_halve_the_area():
    heat = np.random.default_rng(0).random((32, 64)).astype(np.float32)
    protocol = Protocol('octaves')
    assert protocol.shares[0] == 1 / 1024
    assert protocol.shares[-1] == 1 / 2
    curves = insertion_deletion(heat, lambda masks, _: masks.sum(axis=(1, 2)), protocol=protocol)
    expected = 2.0 ** np.arange(1, 11)  # of 2,048 pixels
    np.testing.assert_array_equal(curves.insertion, expected)
    np.testing.assert_array_equal(curves.deletion, 2048 - expected)
    assert (curves.whole, curves.bare) == (2048, 0)
    assert curves.insertion_area == pytest.approx((expected.sum() - 1 - 512) / 9)


def test_more_steps_than_pixels_take_at_least_one():
    curves = insertion_deletion(HEAT, worth_kept, protocol=Protocol(steps=8))
    np.testing.assert_allclose(curves.insertion, [0, 10, 10, 15, 15, 15, 18, 20, 20])


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
    assert Protocol('octaves').name == 'featmap-1 · IoU × score · 10 octaves of area · blur'
    assert 'black' in Protocol(baselines=('blur', 'black')).name
    with pytest.raises(OptionError, match='expected one or more of blur, black'):
        Protocol(baselines=('grey',))
    with pytest.raises(OptionError, match='equal, octaves'):
        Protocol('log')
    with pytest.raises(OptionError, match='1 or more'):
        Protocol(steps=0)
