"""The warp that lays a map over its place in the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from featmap.geometry import ImageGeometry
from tests.geometry_helpers import SCHEMES, flips_of, geometry_of, names

STRIDES = (4, 8, 16, 32, 64)


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
    rows, columns, _ = geometry_of('letterbox').warper((80, 80))
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
    rows, columns, _ = ImageGeometry.whole((4, 6)).warper((2, 3), (2.0, 2.0))
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
