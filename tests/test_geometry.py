from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry, is_regular, nominal_stride

# What test pipelines hand on, measured or worked out by hand:
# image (h, w), network input (h, w), metainfo -> scale (x, y), offset (left, top), content (h, w)
SCHEMES = {
    'letterbox': (
        (375, 500),
        (640, 640),
        {
            'scale_factor': (1.28, 1.28),
            'pad_param': np.array([80, 80, 0, 0], np.float32),
            'img_shape': (640, 640, 3),
            'half_pad_param': True,
        },
        (1.28, 1.28),
        (0, 80),
        (480, 640),
    ),
    'letterbox of a wide image': (
        (1080, 1920),
        (640, 640),
        {'scale_factor': (1 / 3, 1 / 3), 'pad_param': [140, 140, 0, 0]},
        (1 / 3, 1 / 3),
        (0, 140),
        (360, 640),
    ),
    'letterbox of a tall image, halved pads': (
        (1000, 333),
        (640, 640),
        {'scale_factor': (0.64, 0.64), 'pad_param': [0.0, 0.0, 213.5, 213.5]},
        (0.64, 0.64),
        (213, 0),
        (640, 213),
    ),
    'letterbox of a tiny image': (
        (14, 20),
        (640, 640),
        {'scale_factor': (32.0, 32.0), 'pad_param': [96, 96, 0, 0]},
        (32.0, 32.0),
        (0, 96),
        (448, 640),
    ),
    'right and bottom pad': (
        (375, 500),
        (640, 640),
        {'scale_factor': (1.28, 1.28), 'img_shape': (640, 640)},
        (1.28, 1.28),
        (0, 0),
        (480, 640),
    ),
    'pad to a multiple of 32': (
        (375, 500),
        (800, 1088),
        {'scale_factor': (2.134, 2.1333333), 'img_shape': (800, 1067)},
        (2.134, 2.1333333),
        (0, 0),
        (800, 1067),
    ),
    'in a batch with a larger image': (
        (375, 500),
        (1344, 1344),
        {'scale_factor': (2.134, 2.1333333), 'img_shape': (800, 1067)},
        (2.134, 2.1333333),
        (0, 0),
        (800, 1067),
    ),
    'square pad at the right': (
        (427, 213),
        (640, 640),
        {'scale_factor': (1.497653, 1.498829), 'pad_param': None},
        (1.497653, 1.498829),
        (0, 0),
        (640, 319),
    ),
    'border around the unscaled image': (
        (375, 500),
        (383, 511),
        {'scale_factor': np.array([1.0, 1.0, 1.0, 1.0]), 'border': np.array([4, 379, 5, 505], np.float32)},
        (1.0, 1.0),
        (5, 4),
        (375, 500),
    ),
    'anisotropic': ((375, 500), (300, 300), {'scale_factor': (0.6, 0.8)}, (0.6, 0.8), (0, 0), (300, 300)),
    'as it is': ((120, 160), (120, 160), {}, (1.0, 1.0), (0, 0), (120, 160)),
    'mirrored letterbox': (
        (375, 500),
        (640, 640),
        {'scale_factor': (1.28, 1.28), 'pad_param': [80, 80, 0, 0], 'flip': True, 'flip_direction': 'horizontal'},
        (1.28, 1.28),
        (0, 80),
        (480, 640),
    ),
    'upside down, right and bottom pad': (
        (375, 500),
        (640, 640),
        {'scale_factor': (1.28, 1.28), 'flip': True, 'flip_direction': 'vertical'},
        (1.28, 1.28),
        (0, 0),
        (480, 640),
    ),
    'turned by half, right and bottom pad': (
        (375, 500),
        (800, 1088),
        {'scale_factor': (2.134, 2.1333333), 'flip': True, 'flip_direction': 'diagonal'},
        (2.134, 2.1333333),
        (0, 0),
        (800, 1067),
    ),
}
STRIDES = (4, 8, 16, 32, 64)
names = pytest.mark.parametrize('name', SCHEMES)


def geometry_of(name: str) -> ImageGeometry:
    image, batched, metainfo, *_ = SCHEMES[name]
    return ImageGeometry.from_metainfo({'ori_shape': image, 'batch_input_shape': batched, **metainfo})


def flips_of(name: str) -> tuple[bool, bool]:
    direction = SCHEMES[name][2].get('flip_direction', '')
    return direction in ('horizontal', 'diagonal'), direction in ('vertical', 'diagonal')


# --- strides


@pytest.mark.parametrize(
    ('input_shape', 'map_shape', 'stride'),
    [
        # exact
        ((640, 640), (80, 80), (8, 8)),
        ((800, 1088), (25, 34), (32, 32)),
        ((512, 512), (512, 512), (1, 1)),
        ((64, 64), (1, 1), (64, 64)),
        ((256, 320), (512, 640), (0.5, 0.5)),
        ((300, 300), (10, 10), (30, 30)),
        ((300, 300), (5, 5), (60, 60)),
        ((300, 300), (3, 3), (100, 100)),
        ((300, 300), (1, 1), (300, 300)),
        # rounded up, as convolutions do
        ((300, 300), (38, 38), (8, 8)),
        ((300, 300), (19, 19), (16, 16)),
        ((800, 1088), (13, 17), (64, 64)),
        ((800, 1088), (7, 9), (128, 128)),
        ((800, 1333), (50, 84), (16, 16)),
        ((375, 500), (94, 125), (4, 4)),
        ((32, 640), (1, 10), (64, 64)),
        ((640, 32), (10, 1), (64, 64)),
        ((10, 10), (3, 3), (4, 4)),
        # rounded down, as patch embedding without padding does
        ((224, 224), (16, 16), (14, 14)),
        ((480, 640), (34, 45), (14, 14)),
        # stretched to a fixed size: an axis at a time
        ((480, 640), (7, 7), (480 / 7, 640 / 7)),
        ((100, 200), (10, 10), (10, 20)),
    ],
)
def test_nominal_stride(input_shape, map_shape, stride):
    assert nominal_stride(input_shape, map_shape) == stride


def test_the_stride_of_a_large_map_is_the_one_that_made_it():
    rng = np.random.default_rng(0)
    for _ in range(500):
        stride = int(rng.choice([2, 4, 8, 16, 32]))
        height, width = (int(side) for side in rng.integers(stride * stride + 1, 3000, 2))
        assert nominal_stride((height, width), (-(-height // stride), -(-width // stride))) == (stride, stride)


@pytest.mark.parametrize(
    ('input_shape', 'map_shape'), [((0, 640), (1, 1)), ((640, 640), (0, 5)), ((640, 640), (5, 0)), ((-1, 4), (1, 1))]
)
def test_nothing_leads_to_an_empty_map(input_shape, map_shape):
    with pytest.raises(GeometryError, match='no stride leads from'):
        nominal_stride(input_shape, map_shape)


@pytest.mark.parametrize(
    ('input_shape', 'map_shape', 'regular'),
    [
        ((640, 640), (80, 80), True),
        ((800, 1088), (7, 9), True),
        ((256, 320), (512, 640), True),
        ((480, 640), (7, 7), False),
        ((480, 640), (80, 256), False),
        ((640, 640), (400, 400), False),  # the same quotient each way, but 1.6
    ],
)
def test_is_regular(input_shape, map_shape, regular):
    assert is_regular(input_shape, map_shape) is regular


# --- reading the metainfo


@names
def test_metainfo_is_read(name):
    image, batched, _, scale, offset, content = SCHEMES[name]
    geometry = geometry_of(name)
    assert (geometry.image_shape, geometry.input_shape) == (image, batched)
    assert geometry.scale == pytest.approx(scale)
    assert geometry.offset == offset
    assert geometry.content_shape == content
    assert geometry.flip == flips_of(name)


def test_metainfo_with_a_third_axis_and_tensors_for_shapes():
    metainfo = {'ori_shape': (375, 500, 3), 'batch_input_shape': torch.Size([640, 640]), 'scale_factor': 1.28}
    geometry = ImageGeometry.from_metainfo(metainfo)
    assert (geometry.image_shape, geometry.input_shape, geometry.scale) == ((375, 500), (640, 640), (1.28, 1.28))


def test_the_shape_of_the_batch_at_hand_wins():
    metainfo = {'ori_shape': (100, 100), 'batch_input_shape': (128, 128)}
    assert ImageGeometry.from_metainfo(metainfo, (256, 320)).input_shape == (256, 320)


@pytest.mark.parametrize(
    ('entries', 'flip'),
    [
        ({'flip': False, 'flip_direction': 'horizontal'}, (False, False)),
        ({'flip': False, 'flip_direction': None}, (False, False)),
        ({'flip': True, 'flip_direction': None}, (True, False)),
        ({'flip': True}, (True, False)),
        ({'flip': True, 'flip_direction': 'vertical'}, (False, True)),
        ({'flip': True, 'flip_direction': 'diagonal'}, (True, True)),
    ],
)
def test_flip_entries(entries, flip):
    assert ImageGeometry.from_metainfo({'ori_shape': (8, 8), 'batch_input_shape': (8, 8), **entries}).flip == flip


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        ({'ori_shape': None}, "no 'ori_shape' or 'batch_input_shape'"),
        ({'batch_input_shape': None}, 'add them to the meta_keys of PackDetInputs'),
        ({'scale_factor': (2.0, 2.0)}, 'content of 200x400 at row 0, column 0 does not fit'),
        ({'pad_param': [40, 0, 0, 0]}, 'content of 100x200 at row 40, column 0 does not fit'),
        ({'pad_param': [0, 0, 42, 0]}, 'content of 100x200 at row 0, column 42 does not fit'),
        ({'pad_param': [-1, 0, 0, 0]}, 'seems to crop'),
        ({'border': [0, 100, -8, 192]}, 'seems to crop'),
        ({'scale_factor': (0.0, 1.0)}, 'expected two positive numbers'),
        ({'scale_factor': (1.0, float('nan'))}, 'expected two positive numbers'),
    ],
)
def test_metainfo_that_contradicts_itself_is_refused(entries, message):
    metainfo = {'ori_shape': (100, 200), 'batch_input_shape': (128, 240), **entries}
    metainfo = {key: value for key, value in metainfo.items() if value is not None}
    with pytest.raises(GeometryError, match=message):
        ImageGeometry.from_metainfo(metainfo)


def test_the_last_pixel_may_be_lost_to_rounding():
    assert ImageGeometry((100, 200), (127, 255), (1.28, 1.28)).content_shape == (128, 256)


@pytest.mark.parametrize(
    ('name', 'point', 'expected'),
    [
        ('letterbox', (0, 0), (0, 80)),
        ('letterbox', (500, 375), (640, 560)),
        ('letterbox', (100, 50), (128, 144)),
        ('right and bottom pad', (100, 50), (128, 64)),
        ('anisotropic', (100, 50), (60, 40)),
        ('border around the unscaled image', (100, 50), (105, 54)),
        ('mirrored letterbox', (100, 50), (512, 144)),
        ('upside down, right and bottom pad', (100, 50), (128, 416)),
    ],
)
def test_positions_in_the_input(name, point, expected):
    assert geometry_of(name).to_input(*point) == pytest.approx(expected)


# --- which cells count


@pytest.mark.parametrize(
    ('name', 'map_shape', 'rows', 'columns'),
    [
        ('letterbox', (80, 80), (10, 70), (0, 80)),
        ('letterbox', (20, 20), (2, 17), (0, 20)),  # 80 / 32 = 2.5: the centre of cell 2
        ('letterbox', (10, 10), (1, 9), (0, 10)),
        ('letterbox', (1, 1), (0, 1), (0, 1)),
        ('letterbox of a tall image, halved pads', (80, 80), (0, 80), (27, 53)),  # 213 / 8 = 26.6, 426 / 8 = 53.25
        ('right and bottom pad', (40, 40), (0, 30), (0, 40)),
        ('pad to a multiple of 32', (100, 136), (0, 100), (0, 133)),  # 1067 / 8 = 133.4
        ('pad to a multiple of 32', (7, 9), (0, 6), (0, 8)),
        ('in a batch with a larger image', (42, 42), (0, 25), (0, 33)),  # 1067 / 32 = 33.3
        ('border around the unscaled image', (96, 128), (1, 95), (1, 126)),  # rows 4 to 379, columns 5 to 505
    ],
)
def test_content_cells(name, map_shape, rows, columns):
    geometry = geometry_of(name)
    assert geometry.content_cells(map_shape) == (slice(*rows), slice(*columns))
    weights = geometry.weights(map_shape)
    assert (weights.shape, weights.dtype) == (map_shape, np.float32)
    expected = np.zeros(map_shape)
    for row in range(*rows):
        for column in range(*columns):
            expected[row, column] = 1
    np.testing.assert_array_equal(weights, expected)


def test_content_smaller_than_a_cell_counts_the_cell_that_holds_its_middle():
    geometry = ImageGeometry((20, 640), (640, 640), offset=(0, 310))  # rows 310 to 330, cell centres at 288 and 352
    assert geometry.content_cells((10, 10)) == (slice(5, 6), slice(0, 10))
    assert geometry.weights((10, 10)).sum() == 10


# --- the warp


def naive_input(image: np.ndarray, name: str) -> np.ndarray:
    """The network input of a grey image: nearest neighbour resize, flip, zero padding, pixel by pixel centre."""
    _, batched, _, (sx, sy), (left, top), (height, width) = SCHEMES[name]
    rows = np.minimum(((np.arange(height) + 0.5) / sy).astype(int), image.shape[0] - 1)
    columns = np.minimum(((np.arange(width) + 0.5) / sx).astype(int), image.shape[1] - 1)
    resized = image[rows][:, columns]
    mirrored, upside_down = flips_of(name)
    resized = resized[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
    padded = np.zeros(batched, np.float32)
    padded[top : top + height, left : left + width] = resized[: batched[0] - top, : batched[1] - left]
    return padded


def pool(picture: np.ndarray, stride: int) -> np.ndarray:
    """Means of stride x stride blocks, the last ones filled with zeros: as many cells as a convolution makes."""
    height, width = (-(-side // stride) * stride for side in picture.shape)
    full = np.zeros((height, width), np.float32)
    full[: picture.shape[0], : picture.shape[1]] = picture
    return full.reshape(height // stride, stride, width // stride, stride).mean((1, 3))


def off_by(picture: np.ndarray, point: tuple[int, int]) -> tuple[float, float]:
    """How far, in x and y, the brightest pixels end from a point; the outermost cells make several pixels brightest."""
    rows, columns = np.nonzero(picture >= picture.max() * (1 - 1e-5))
    return np.abs(columns + 0.5 - point[0]).min(), np.abs(rows + 0.5 - point[1]).min()


@pytest.mark.parametrize('stride', STRIDES)
@names
def test_a_bright_dot_lights_up_under_itself(name, stride):
    image_shape, _, _, scale, _, _ = SCHEMES[name]
    geometry = geometry_of(name)
    rng = np.random.default_rng(stride)
    # The dot is about as large as a cell, at least a pixel.
    half = [max(round(stride / factor / 2), 1) for factor in scale]
    for _ in range(3):
        x, y = (int(rng.integers(reach, side - reach + 1)) for reach, side in zip(half, image_shape[::-1]))
        image = np.zeros(image_shape, np.float32)
        image[y - half[1] : y + half[1], x - half[0] : x + half[0]] = 1
        cells = pool(naive_input(image, name), stride)
        warped = geometry.warp(cells, (stride, stride))
        assert warped.shape == image_shape
        for off, factor in zip(off_by(warped, (x, y)), scale):
            # Half a stride, and the half pixels that the two resamplings may take.
            assert off * factor <= stride / 2 + factor / 2 + 0.5


@pytest.mark.parametrize('stride', STRIDES)
@names
def test_a_ramp_of_positions_puts_every_pixel_at_its_own_position(name, stride):
    (height, width), batched, _, (sx, sy), (left, top), content = SCHEMES[name]
    mirrored, upside_down = flips_of(name)
    rows, columns = (-(-side // stride) for side in batched)

    # Where in the original the middle of each cell lies, in pixels.
    u = (np.arange(columns) + 0.5) * stride - left
    v = (np.arange(rows) + 0.5) * stride - top
    x = (content[1] - u if mirrored else u) / sx
    y = (content[0] - v if upside_down else v) / sy
    planes = np.stack([np.broadcast_to(x, (rows, columns)), np.broadcast_to(y[:, None], (rows, columns))])
    warped = geometry_of(name).warp(planes, (stride, stride))

    # Interpolation between cell centres gives a linear function back exactly; beyond the outermost it is cut.
    for plane, found, side in ((x, warped[0, 0], width), (y, warped[1, :, 0], height)):
        inside = plane[(plane > 0) & (plane < side)]
        expected = np.arange(side) + 0.5
        between = (expected >= inside.min()) & (expected <= inside.max()) if inside.size else np.zeros(side, bool)
        np.testing.assert_allclose(found[between], expected[between], atol=2e-3)
        assert between.sum() > side / 2 or stride >= 32 or side < 100


@pytest.mark.parametrize(('factor', 'map_shape'), [(8, (15, 20)), (4, (30, 40)), (2.5, (48, 64)), (40, (3, 4))])
def test_without_padding_the_warp_is_plain_bilinear_interpolation(factor, map_shape):
    planes = torch.randn(2, *map_shape, generator=torch.Generator().manual_seed(1))
    geometry = ImageGeometry.whole((120, 160))
    expected = F.interpolate(planes[None], (120, 160), mode='bilinear', align_corners=False)[0]
    warped = geometry.warp(planes.numpy(), (factor, factor))
    np.testing.assert_allclose(warped, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ('name', 'stride', 'rows', 'columns'),
    [
        ('letterbox', 8, (10, 70), (0, 80)),
        ('letterbox', 16, (5, 35), (0, 40)),
        ('letterbox of a tiny image', 32, (3, 17), (0, 20)),
        ('right and bottom pad', 32, (0, 15), (0, 20)),
        ('anisotropic', 4, (0, 75), (0, 75)),
        ('mirrored letterbox', 16, (5, 35), (0, 40)),
        ('upside down, right and bottom pad', 32, (0, 15), (0, 20)),
    ],
)
@pytest.mark.parametrize('padding', [0.0, 1e6, -np.inf, np.nan])
def test_where_padding_ends_between_cells_the_rest_is_interpolated_alone(name, stride, rows, columns, padding):
    image_shape, batched, *_ = SCHEMES[name]
    cells = np.full([side // stride for side in batched], padding, np.float32)
    rng = np.random.default_rng(3)
    cells[slice(*rows), slice(*columns)] = rng.normal(size=(rows[1] - rows[0], columns[1] - columns[0]))
    mirrored, upside_down = flips_of(name)
    content = cells[slice(*rows), slice(*columns)][:: -1 if upside_down else 1, :: -1 if mirrored else 1]
    expected = F.interpolate(
        torch.from_numpy(content.copy())[None, None], image_shape, mode='bilinear', align_corners=False
    )
    np.testing.assert_allclose(geometry_of(name).warp(cells), expected[0, 0].numpy(), atol=1e-4)


@pytest.mark.parametrize('stride', STRIDES)
@names
def test_no_value_comes_from_padding(name, stride):
    _, batched, _, _, (left, top), (height, width) = SCHEMES[name]
    middles = [np.arange(-(-side // stride)) * stride for side in batched]
    on_content = [
        (starts + stride > begin) & (starts < begin + length)
        for starts, begin, length in zip(middles, (top, left), (height, width))
    ]
    cells = np.where(np.outer(*on_content), 1.0, 1e6).astype(np.float32)
    np.testing.assert_allclose(geometry_of(name).warp(cells, (stride, stride)), 1, atol=1e-5)


def test_the_outermost_cell_extends_to_the_edge():
    cells = np.arange(12, dtype=np.float32).reshape(3, 4)
    warped = ImageGeometry.whole((96, 128)).warp(cells)
    assert [warped[0, 0], warped[0, -1], warped[-1, 0], warped[-1, -1]] == [0, 3, 8, 11]
    assert (warped[:16, :16] == 0).all()  # up to the middle of the corner cell
    assert warped[0, 16] == pytest.approx(0.5 / 32)


def test_the_weights_of_a_row_and_column_by_hand():
    rows, columns = geometry_of('letterbox').warper((80, 80))
    assert (len(rows.lower), len(columns.lower), rows.fraction.dtype) == (375, 500, np.float32)
    # ((5 + .5) * 1.28 + 80) / 8 - .5 = 10.38, ((100 + .5) * 1.28 + 0) / 8 - .5 = 15.58
    assert (rows.lower[5], rows.upper[5]) == (10, 11)
    assert rows.fraction[5] == pytest.approx(0.38, abs=1e-5)
    assert (columns.lower[100], columns.upper[100]) == (15, 16)
    assert columns.fraction[100] == pytest.approx(0.58, abs=1e-5)
    # ((0 + .5) * 1.28 + 80) / 8 - .5 = 9.58: cell 9 is padding, so cell 10 alone
    assert (rows.lower[0], rows.fraction[0]) == (10, 0)
    assert (rows.lower[374], rows.upper[374], rows.fraction[374]) == (69, 69, 0)


def test_how_often_a_cell_is_used():
    rows, columns = ImageGeometry.whole((4, 6)).warper((2, 3), (2.0, 2.0))
    # Positions of the 4 rows: -.25 (0), .25, .75, 1.25 (1); a cell gets 1 + .75 + .25.
    assert rows.counts(2).tolist() == [2.0, 2.0]
    assert columns.counts(3).tolist() == [2.0, 2.0, 2.0]


def test_a_nan_cell_hides_only_the_pixels_that_are_mostly_its_own():
    cells = np.array([[3.0, 3.0, 3.0, 3.0]] * 4, np.float32)
    cells[1, 2] = np.nan
    warped = ImageGeometry.whole((32, 32)).warp(cells)
    # Cell centres are at 4, 12, 20, 28: the share of the cell at row 12 and column 20 falls to 0 within 8 pixels.
    y, x = np.mgrid[:32, :32] + 0.5
    share = np.clip(1 - abs(y - 12) / 8, 0, 1) * np.clip(1 - abs(x - 20) / 8, 0, 1)
    np.testing.assert_array_equal(np.isnan(warped), share > 0.5)
    np.testing.assert_allclose(warped[share <= 0.5], 3, rtol=1e-6)


def test_planes_are_warped_each_and_stay_float32():
    cells = np.random.default_rng(0).normal(size=(2, 3, 6, 8)).astype(np.float16)
    geometry = ImageGeometry.whole((48, 64))
    warped = geometry.warp(cells)
    assert (warped.shape, warped.dtype) == ((2, 3, 48, 64), np.float32)
    np.testing.assert_array_equal(warped[1, 2], geometry.warp(cells[1, 2]))
