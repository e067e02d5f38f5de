import numpy as np
import pytest

from featmap.faithfulness import InputMasks
from featmap.geometry import ImageGeometry


def test_a_letterbox_moves_the_mask_and_leaves_the_padding():
    masks_on_input = InputMasks(ImageGeometry((2, 3), (4, 5), offset=(1, 1)))
    mask = np.array([[[1, 0, 1], [0, 0, 1]]], bool)
    expected = [[1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 0, 0, 1, 1], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(masks_on_input(mask)[0], expected)
    assert masks_on_input.seen.all()


def test_pixels_of_a_smaller_input_keep_the_share_of_their_area():
    masks_on_input = InputMasks(ImageGeometry((4, 4), (2, 2), scale=(0.5, 0.5)))
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 0, :3] = mask[0, 1, 0] = True
    np.testing.assert_allclose(masks_on_input(mask)[0], [[0.75, 0.25], [0, 0]])


def test_uneven_factors_share_pixels():
    masks_on_input = InputMasks(ImageGeometry((3, 3), (2, 2), scale=(2 / 3, 2 / 3)))
    mask = np.zeros((1, 3, 3), bool)
    mask[0, :, 1] = True  # columns 1 to 2 of 3: a third of the first input pixel, which ends at 1.5, and of the second
    np.testing.assert_allclose(masks_on_input(mask)[0], np.full((2, 2), 1 / 3), atol=1e-6)


def test_a_larger_input_has_several_pixels_of_each():
    masks_on_input = InputMasks(ImageGeometry((1, 2), (2, 4), scale=(2.0, 2.0)))
    np.testing.assert_array_equal(masks_on_input(np.array([[[True, False]]]))[0], [[1, 1, 0, 0]] * 2)


def test_a_mirrored_image_has_a_mirrored_mask():
    masks_on_input = InputMasks(ImageGeometry((1, 3), (1, 3), flip=(True, False)))
    np.testing.assert_array_equal(masks_on_input(np.array([[[True, False, False]]]))[0], [[0, 0, 1]])


def test_what_a_crop_cut_off_is_not_seen():
    geometry = ImageGeometry((4, 6), (4, 4), offset=(-1, 0), crop=(1, 0, 5, 4))
    masks_on_input = InputMasks(geometry)
    np.testing.assert_array_equal(masks_on_input.seen, [[False, True, True, True, True, False]] * 4)
    mask = np.zeros((1, 4, 6), bool)
    mask[0, :, :2] = True
    np.testing.assert_array_equal(masks_on_input(mask)[0], [[1, 0, 0, 0]] * 4)


@pytest.mark.parametrize('scale', [0.37, 1.0, 1.6])
def test_all_or_nothing_stays_so(scale):
    shape = (31, 47)
    content = (round(31 * scale), round(47 * scale))
    geometry = ImageGeometry(shape, (content[0] + 9, content[1] + 4), (content[1] / 47, content[0] / 31), (2, 5))
    masks_on_input = InputMasks(geometry)
    np.testing.assert_allclose(masks_on_input(np.ones((1, *shape), bool)), 1, atol=1e-6)
    nothing = masks_on_input(np.zeros((1, *shape), bool))[0]
    assert (nothing == 0).sum() == content[0] * content[1]
    assert masks_on_input.seen.all()
