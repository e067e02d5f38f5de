"""Strides, what the metainfo says of an image, and which cells lie on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry, is_regular, nominal_stride
from tests.geometry_helpers import SCHEMES, flips_of, geometry_of, names

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
        ((300, 300), (1, 1), (300, 300)),
        # as exact, but less likely than a power of two
        ((300, 300), (10, 10), (32, 32)),
        ((300, 300), (5, 5), (64, 64)),
        ((800, 1333), (25, 41), (32, 32)),
        ((300, 300), (18, 18), (16, 16)),
        # as whole as the quotient may be
        ((60, 90), (20, 30), (3, 3)),
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


def test_the_geometry_of_an_image_that_is_resized_unevenly():
    geometry = ImageGeometry((100, 200), (128, 128), (0.5, 0.75), (3, 7)).resized((50, 400))
    assert (geometry.image_shape, geometry.scale) == ((50, 400), (0.25, 1.5))
    assert (geometry.input_shape, geometry.offset, geometry.content_shape) == ((128, 128), (3, 7), (75, 100))


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


def test_cells_that_are_offset_count_where_they_look():
    geometry = ImageGeometry((300, 300), (300, 300))
    # 3 cells of 64 pixels whose first is centred on 96: they reach from 64 to 256.
    assert geometry.content_cells((3, 3), (64, 64), (1, 1)) == (slice(0, 3), slice(0, 3))
    letterboxed = ImageGeometry((480, 640), (640, 640), offset=(0, 80))
    assert letterboxed.content_cells((20, 20), (32, 32)) == (slice(2, 17), slice(0, 20))
    assert letterboxed.content_cells((20, 20), (32, 32), (-0.25, 0)) == (slice(3, 18), slice(0, 20))
    assert letterboxed.weights((20, 20), (32, 32), (-0.25, 0)).sum(axis=1).nonzero()[0].tolist() == list(range(3, 18))


def test_content_smaller_than_a_cell_counts_the_cell_that_holds_its_middle():
    geometry = ImageGeometry((20, 640), (640, 640), offset=(0, 310))  # rows 310 to 330, cell centres at 288 and 352
    assert geometry.content_cells((10, 10)) == (slice(5, 6), slice(0, 10))
    assert geometry.weights((10, 10)).sum() == 10


# --- crops


class TestCrops:
    # Columns 16 to 48 of 64 fill the input; 40 rows are doubled and lie at row 10.
    CUT = ImageGeometry((40, 64), (100, 32), (1.0, 2.0), (-16, 10))
    # The same, mirrored, with a window and padding beside it.
    PADDED = ImageGeometry((40, 64), (100, 60), (1.0, 2.0), (5, 10), (True, False), (16, 0, 48, 40))

    def test_the_part_that_the_input_holds(self):
        assert self.CUT.visible == (16, 0, 48, 40)
        assert self.PADDED.visible == (16, 0, 48, 40)
        assert self.CUT.is_cropped
        assert self.PADDED.is_cropped
        assert not ImageGeometry((40, 64), (40, 64)).is_cropped
        assert not ImageGeometry((40, 64), (40, 63)).is_cropped  # rounded

    def test_there_and_back(self):
        for geometry in (self.CUT, self.PADDED):
            assert geometry.to_image(*geometry.to_input(20.5, 7)) == pytest.approx((20.5, 7))
        boxes = np.array([[1, 12, 4, 30]], np.float32)
        assert self.CUT.boxes_to_image(boxes).tolist() == [[17, 1, 20, 10]]
        # u = 5 + 64 - x
        assert self.PADDED.boxes_to_image(boxes).tolist() == [[65, 1, 68, 10]]
        assert self.PADDED.boxes_to_image(boxes).dtype == np.float32

    def test_cells_that_count(self):
        assert self.CUT.content_cells((13, 4), (8, 8)) == (slice(1, 11), slice(0, 4))
        # The window begins at 69 - 48 = 21 and ends at 53 of the input: centres from 28 to 52.
        assert self.PADDED.content_cells((13, 8), (8, 8)) == (slice(1, 11), slice(3, 7))

    def test_nothing_is_warped_to_where_the_image_was_cut_off(self):
        cells = np.arange(52, dtype=np.float32).reshape(13, 4)
        warped = self.CUT.warp(cells, (8, 8))
        assert np.isnan(warped[:, :16]).all()
        assert np.isnan(warped[:, 48:]).all()
        assert np.isfinite(warped[:, 16:48]).all()
        assert warped[20, 20] == pytest.approx((20.5 * 2 + 10) / 8 * 4 - 2 + (20.5 - 16) / 8 - 0.5, abs=1e-4)

    def test_pixels_of_the_input_on_the_image(self):
        planes = np.arange(100 * 60).reshape(1, 100, 60)
        found = self.PADDED.planes_to_image(planes, void=-1)
        assert found.shape == (1, 40, 64)
        assert (found[0, :, :16] == -1).all()
        assert (found[0, :, 48:] == -1).all()
        # x 20.5 is at 48.5, y 7.5 at 25.
        assert found[0, 7, 20] == 25 * 60 + 48

    def test_a_resized_image(self):
        geometry = self.PADDED.resized((80, 32))
        assert geometry.visible == (8, 0, 24, 80)
        assert geometry.to_input(8, 40) == pytest.approx(self.PADDED.to_input(16, 20))

    @pytest.mark.parametrize('change', [{'offset': (-70, 0)}, {'offset': (0, 200)}, {'crop': (70, 0, 80, 40)}])
    def test_an_image_that_is_not_in_the_input(self, change):
        with pytest.raises(GeometryError, match='nothing of an image'):
            ImageGeometry((40, 64), (100, 32), **change)
