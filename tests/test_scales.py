"""Which values the ends of the colours stand for: by plane, layer, run, hand or percentile."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from featmap.errors import DrawError
from featmap.geometry import ImageGeometry
from featmap.norm import Norm, parse_norm
from featmap.rendering.normalize import Range, to_levels
from featmap.rendering.scales import run_range, scales_of, union
from featmap.structures import FeatureMap
from featmap.visualizer import FeatMapVisualizer

NAN, INF = float('nan'), float('inf')
PADDED = ImageGeometry((32, 64), (64, 64), offset=(0, 16))  # of 8 rows of 8 pixels, rows 2 to 5 lie on the image


def feature_map(values, layer: str = 'neck', geometry: ImageGeometry | None = None, **fields) -> FeatureMap:
    """A map of (h, w) or (K, h, w) values, by default over an image of 8 pixels a cell."""
    planes = np.asarray(values, np.float32)
    planes = planes[None] if planes.ndim == 2 else planes
    rows, columns = planes.shape[1:]
    geometry = geometry or ImageGeometry.whole((rows * 8, columns * 8))
    given = {'shape': (64, rows, columns), 'stride': geometry.stride((rows, columns)), 'reducer': 'l2'}
    return FeatureMap(planes, layer, geometry=geometry, **{**given, **fields})


def padded(values: np.ndarray, layer: str = 'neck', **fields) -> FeatureMap:
    """(K, 4, 8) values on the image, with others on the padding that no range may contain."""
    planes = np.full((len(values), 8, 8), 1e6, np.float32)
    planes[:, 0] = -1e6
    planes[:, 7] = NAN
    planes[:, 2:6] = values
    return feature_map(planes, layer, PADDED, **fields)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ends(scales: tuple[Range, ...]) -> list[tuple[float, float]]:
    return [(scale.low, scale.high) for scale in scales]


def of_planes(values: np.ndarray) -> list[tuple[float, float]]:
    """NumPy's answer for (K, h, w)."""
    return [(plane.min(), plane.max()) for plane in values.astype(np.float64)]


def test_by_default_every_plane_has_its_own_range_on_the_image():
    one, other = noise(3, 4, 8), noise(2, 4, 8, seed=1) * 9
    first, second = scales_of([padded(one), padded(other)])
    assert ends(first) == of_planes(one)
    assert ends(second) == of_planes(other)
    assert {scale.bad for scale in first + second} == {0}


def test_nothing_to_scale():
    for kind in ('map', 'layer', 'image', 'run', '0,1', 'p1,p99'):
        assert scales_of([], parse_norm(kind)) == []


def test_a_layer_shares_one_range_over_its_own_maps_only():
    small, large, other = noise(2, 4, 8), noise(1, 2, 3, seed=1) * 5, noise(2, 4, 8, seed=2) * 90
    call = noise(1, 4, 8, seed=3) - 7
    maps = [
        padded(small, path='[0]'),
        feature_map(other, 'backbone'),
        feature_map(large, path='[1]'),
        padded(call, call=1, calls=2),
    ]
    scales = scales_of(maps, parse_norm('layer'))
    neck = (
        min(values.min() for values in (small, large, call)),
        max(values.max() for values in (small, large, call)),
    )
    assert ends(scales[0]) == [neck] * 2
    assert ends(scales[2]) == ends(scales[3]) == [neck]
    assert ends(scales[1]) == [(other.min(), other.max())] * 2


def test_a_run_shares_one_range_over_everything_whatever_the_order():
    images = [
        [padded(noise(2, 4, 8, seed=seed) * seed), feature_map(noise(1, 5, 5, seed=9 * seed), 'head')]
        for seed in range(1, 5)
    ]
    values = [item.values[:, 2:6] if item.layer == 'neck' else item.values for maps in images for item in maps]
    expected = (min(each.min() for each in values), max(each.max() for each in values))
    for order in itertools.permutations(images):
        whole = None
        for maps in order:
            whole = run_range(maps, whole)
        assert ends([whole]) == [expected]
    for maps in images:
        for scales in scales_of(maps, parse_norm('run'), whole):
            assert set(ends(scales)) == {expected}


def test_without_a_run_the_range_is_that_of_the_image():
    maps = [padded(noise(2, 4, 8)), feature_map(noise(1, 5, 5, seed=1) * 3, 'head')]
    both = np.concatenate([noise(2, 4, 8).ravel(), noise(1, 5, 5, seed=1).ravel() * 3])
    for scales in scales_of(maps, parse_norm('run')):
        assert set(ends(scales)) == {(both.min(), both.max())}


def test_a_run_of_nothing():
    assert run_range([]) is None
    assert run_range([], Range(1, 2)) == Range(1, 2)


@pytest.mark.parametrize('text', ['0,1', '-3,0.5'])
def test_ends_by_hand(text):
    low, high = map(float, text.split(','))
    for scales in scales_of([padded(noise(2, 4, 8) * 9), feature_map(noise(1, 5, 5))], parse_norm(text)):
        assert set(ends(scales)) == {(low, high)}


def test_values_beyond_the_ends_have_the_colours_of_the_ends():
    values = np.array([[-9, 0, 1, 9]] * 4)
    picture = drawn(feature_map(values), norm='0,1')[0]
    low, high = (0, 0, 128), (128, 0, 0)  # jet's
    assert (picture[:, :12] == low).all()
    assert (picture[:, 20:] == high).all()
    assert tuple(picture[16, 16]) not in (low, high)


@pytest.mark.parametrize(('low', 'high'), [(0, 100), (1, 99), (2.5, 60), (50, 51)])
def test_percentiles_of_each_plane_on_the_image(low, high):
    values = np.random.default_rng(0).gamma(0.5, size=(3, 4, 8)).astype(np.float32)
    (scales,) = scales_of([padded(values)], parse_norm(f'p{low},p{high}'))
    expected = np.percentile(values.reshape(3, -1).astype(np.float64), [low, high], axis=1).T
    np.testing.assert_allclose(ends(scales), expected, rtol=1e-5)


@pytest.mark.parametrize('bad', [NAN, INF, -INF])
@pytest.mark.parametrize('text', ['map', 'layer', 'image', 'run', '-1,1', 'p10,p90'])
def test_cells_that_are_not_finite_are_left_out_and_counted(text, bad):
    values = noise(2, 4, 8)
    spoilt = values.copy()
    spoilt[1, 0, 0] = spoilt[1, 3, 7] = bad
    finite = [values[0].ravel(), np.delete(values[1].ravel(), [0, 31])]
    (scales,) = scales_of([padded(spoilt)], parse_norm(text))
    assert [scale.bad for scale in scales] == [0, 2]  # the NaN on padding are no one's concern
    expected = {
        'map': [(plane.min(), plane.max()) for plane in finite],
        '-1,1': [(-1, 1)] * 2,
        'p10,p90': [tuple(np.percentile(plane.astype(float), [10, 90])) for plane in finite],
    }.get(text, [(min(map(np.min, finite)), max(map(np.max, finite)))] * 2)
    np.testing.assert_allclose(ends(scales), expected, rtol=1e-6)


@pytest.mark.parametrize('text', ['map', 'layer', 'image', 'run', '0,1', 'p1,p99'])
def test_a_plane_without_a_finite_cell_on_the_image_is_refused(text):
    values = noise(2, 4, 8)
    values[1] = NAN
    with pytest.raises(DrawError, match='neck holds no finite value: all 32 cells'):
        scales_of([padded(values)], parse_norm(text))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('map', [(-4, 4), (-2, 2), (-3, 3)]),
        ('layer', [(-4, 4)] * 3),
        ('run', [(-4, 4)] * 3),
        ('-1,5', [(-5, 5)] * 3),
        ('p0,p100', [(-4, 4), (-2, 2), (-3, 3)]),
    ],
)
def test_a_symmetric_range_has_zero_in_its_middle(text, expected):
    item = feature_map([[[-1, 4], [0, 1]], [[-2, 0], [0, 0]], [[-3, -3], [-3, -3]]])
    (scales,) = scales_of([item], parse_norm(text, symmetric=True))
    assert ends(scales) == expected


def test_symmetric_colours_are_grey_at_zero_whatever_the_values():
    for values in ([[0, 0, 5, 5]] * 4, [[0, 0, -1, -1]] * 4):
        picture = drawn(feature_map(np.array(values)), symmetric=True)[0]
        pixel = picture[16, 4].astype(int)
        assert np.ptp(pixel) <= 2  # coolwarm's middle
        assert 215 <= pixel.mean() <= 225
        red, _, blue = picture[16, 28].astype(int)
        assert (red > blue + 100) == (values[0][3] > 0)


# --- a constant plane


@pytest.mark.parametrize('value', [0.0, 0.5, -2.0])
def test_a_constant_plane_has_no_range(value):
    (scales,) = scales_of([feature_map(np.full((4, 4), value))])
    assert ends(scales) == [(value, value)]
    assert scales[0].constant
    picture, label = drawn(feature_map(np.full((4, 4), value)))
    assert (picture == (0, 0, 128)).all()
    assert label.endswith(f' · constant {value:g}')


def test_a_zero_has_no_sign():
    assert drawn(feature_map(np.zeros((4, 4))), symmetric=True)[1].endswith(' · constant 0')
    assert drawn(feature_map([[-0.0, 1.0]]))[1].endswith(' · 0 … 1')
    assert Range(-1, -0.0).ends == ('-1', '0')


@pytest.mark.parametrize(
    ('text', 'note'),
    [('layer', '0 … 4 (layer)'), ('image', '0 … 4 (image)'), ('run', '0 … 4 (run)'), ('0,4', '0 … 4 (fixed)')],
)
def test_under_a_shared_scale_a_constant_plane_has_its_place(text, note):
    maps = [feature_map(np.full((4, 4), 4.0)), feature_map([[0, 0], [0, 4]]), feature_map(np.full((4, 4), 2.0))]
    for values, red, blue in ((maps[0], True, False), (maps[2], False, False)):
        rendering = FeatMapVisualizer(alpha=1.0, norm=text).draw_maps(
            np.zeros((32, 32, 3), np.uint8), [values, *[resized(maps[1])]]
        )
        panel = rendering.panels[1]
        pixels = rendering.image[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width]
        assert (pixels == pixels[0, 0]).all()
        assert (tuple(pixels[0, 0]) == (128, 0, 0)) is red
        assert (tuple(pixels[0, 0]) == (0, 0, 128)) is blue
        assert panel.label.endswith(' · ' + note)


def resized(item: FeatureMap) -> FeatureMap:
    """The 2 x 2 map over the same image as the 4 x 4 ones."""
    return feature_map(item.values, geometry=ImageGeometry.whole((32, 32)))


def test_few_strong_cells_are_seen_though_both_percentiles_are_equal():
    values = np.zeros((16, 16))
    values[3, 4] = 7
    (scales,) = scales_of([feature_map(values)], parse_norm('p1,p99'))
    assert ends(scales) == [(0, 7)]
    picture, label = drawn(feature_map(values), norm='p1,p99')
    assert tuple(picture[0, 0]) == (0, 0, 128)
    assert picture[28, 36, 0] > 100  # the middle of the cell is red
    assert ' · 0 … 7' in label


# --- planes that make one picture


@pytest.mark.parametrize('kind', ['image', 'concepts'])
def test_planes_that_make_one_picture_share_their_range(kind):
    values = np.stack([noise(4, 8), noise(4, 8, seed=1) * 3, noise(4, 8, seed=2) + 5])
    whole = (values.min(), values.max())
    for text in ('map', 'layer', 'image', 'run'):
        (scales,) = scales_of([padded(values, kind=kind)], parse_norm(text))
        assert ends(scales) == [whole] * 3
    (scales,) = scales_of([padded(values, kind=kind)], parse_norm('p5,p80'))
    np.testing.assert_allclose(ends(scales), [np.percentile(values.astype(float), [5, 80])] * 3, rtol=1e-5)


def test_planes_that_make_one_picture_count_their_own_bad_cells():
    values = noise(3, 4, 8)
    values[1, 0, 0] = NAN
    for text in ('map', 'p5,p80'):
        (scales,) = scales_of([padded(values, kind='concepts')], parse_norm(text))
        assert [scale.bad for scale in scales] == [0, 1, 0]


@pytest.mark.parametrize('text', ['map', 'layer', 'image', 'run', '0,1', 'p1,p99'])
@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('kind', ['heat', 'image'])
def test_ranges_that_the_reducer_fixed_stand_above_any_rule(text, symmetric, kind):
    fixed = ((-2.5, 2.5), (-1, 1), (0, 0))
    values = noise(3, 4, 8)
    values[0, 1, 1] = NAN
    item = padded(values, ranges=fixed, kind=kind)
    other = feature_map(noise(1, 5, 5) * 40)
    scales = scales_of([item, other], parse_norm(text, symmetric), Range(-99, 99))
    assert ends(scales[0]) == list(fixed)
    assert [scale.bad for scale in scales[0]] == [1, 0, 0]
    assert scales[1] == scales_of([other, item], parse_norm(text, symmetric), Range(-99, 99))[0]


def test_what_the_label_says_of_a_range():
    values = [[0, 1, 2, 3]] * 4
    other = feature_map([[0, 9]] * 4, 'backbone', ImageGeometry.whole((32, 32)))
    for text, said in [
        ('map', '0 … 3'),
        ('layer', '0 … 3 (layer)'),
        ('run', '0 … 9 (run)'),
        ('-1,2', '-1 … 2 (fixed)'),
        ('p0,p50', '0 … 1.5 (p0–p50)'),
    ]:
        picture = FeatMapVisualizer(norm=text).draw_maps(np.zeros((32, 32, 3), np.uint8), [feature_map(values), other])
        assert picture.panels[1].label.endswith(f' · stride 8 · {said}')
    fixed = feature_map(values, ranges=((-5, 5),))
    assert drawn(fixed, norm='layer')[1].endswith(' · stride 8 · -5 … 5')


def test_the_range_of_a_run_is_handed_on():
    picture = FeatMapVisualizer(norm='run', alpha=1.0).draw_maps(
        np.zeros((32, 32, 3), np.uint8), [feature_map(np.full((4, 4), 10.0))], run=Range(-10, 10)
    )
    assert picture.panels[1].label.endswith(' · -10 … 10 (run)')
    assert tuple(picture.image[picture.panels[1].y, picture.panels[1].x]) == (128, 0, 0)


def test_union():
    assert union([Range(0, 1), Range(-3, 0.5), Range(2, 2, 4)]) == Range(-3, 2)


def test_the_default_is_the_rule_map():
    maps = [padded(noise(2, 4, 8)), padded(noise(1, 4, 8, seed=1))]
    assert scales_of(maps) == scales_of(maps, Norm('map'))


def drawn(item: FeatureMap, **options) -> tuple[np.ndarray, str]:
    """The panel of a map's first plane, fully opaque, and its label."""
    image = np.zeros((*item.geometry.image_shape, 3), np.uint8)
    rendering = FeatMapVisualizer(alpha=1.0, **options).draw_maps(image, [item])
    panel = rendering.panels[1]
    return rendering.image[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width], panel.label


def noisy(values, noise, **more):
    """A map of (K, h, w) values that are known to be this far off, over an image of its own size."""
    geometry = ImageGeometry.whole(values.shape[1:])
    return FeatureMap(
        np.float32(values), 'neck', (4, *values.shape[1:]), (1.0, 1.0), geometry, noise=(noise,) * len(values), **more
    )


@pytest.mark.parametrize('text', ['map', 'layer', 'image', 'run', 'p1,p99'])
@pytest.mark.parametrize('symmetric', [False, True])
def test_noise_about_zero_is_flat_by_every_rule_that_looks_at_values(text, symmetric):
    values = np.linspace(-1e-8, 1e-8, 16).reshape(1, 4, 4)
    (scale,) = scales_of([noisy(values, 1e-7)], parse_norm(text, symmetric))[0]
    assert scale.constant
    assert str(scale) == 'constant 0 but for rounding'
    assert (to_levels(np.float32(values), scale) == (128 if symmetric else 0)).all()
    (scale,) = scales_of([noisy(values, 1e-9)], parse_norm(text, symmetric))[0]
    assert not scale.constant


def test_a_fixed_scale_stays_as_it_was_asked_for():
    values = np.linspace(0.5, 0.5001, 16).reshape(1, 4, 4)
    (scale,) = scales_of([noisy(values, 1)], parse_norm('0.5,0.5001'))[0]
    assert (scale.low, scale.high, scale.constant) == (0.5, 0.5001, False)


def test_a_basis_of_noise_is_flat():
    values = np.random.default_rng(0).normal(size=(3, 4, 4)) * 1e-8
    item = noisy(values, 1e-6, kind='image', ranges=((-2e-8, 2e-8),) * 3)
    assert all(scale.constant for scale in scales_of([item])[0])


def test_noise_of_a_run_is_kept():
    values = np.full((1, 4, 4), 16.0)
    values[0, 0, 0] += 1e-5
    run = run_range([noisy(values, 1e-4)])
    assert run.constant
    assert run_range([noisy(values + 3, 1e-4)], run) == Range(16, pytest.approx(19.00001), noise=1e-4)


def test_the_maps_of_an_image_share_a_range_whatever_the_run_has():
    maps = [feature_map([[0, 3]], 'a'), feature_map([[-2, 1]], 'b'), feature_map([[0, 9]], 'b', path='[1]')]
    assert [ends(scales) for scales in scales_of(maps, parse_norm('image'), Range(-50, 50))] == [[(-2, 9)]] * 3
    assert [ends(scales) for scales in scales_of(maps[:1], parse_norm('image'))] == [[(0, 3)]]
