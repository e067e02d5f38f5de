"""A network input for which a picture of it stands."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featmap.errors import GeometryError
from featmap.models.preprocessing import InputAlone


def test_the_picture_spans_all_values_of_the_input():
    tensor = torch.tensor([-1.0, 0.0, 3.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 5)
    alone = InputAlone(tensor)
    assert (alone.picture.shape, alone.picture.dtype) == ((2, 5, 3), np.uint8)
    assert alone.picture[0, 0].tolist() == [0, 64, 255]
    given = alone(alone.picture)
    assert torch.equal(given.tensor, tensor[0])
    assert (given.geometry.scale, given.geometry.image_shape) == ((1.0, 1.0), (2, 5))


def test_other_pictures_become_inputs_by_the_same_levels():
    alone = InputAlone(torch.tensor([-1.0, 0.0, 3.0]).reshape(3, 1, 1).expand(3, 2, 5))
    other = np.full((2, 5, 3), 51, np.uint8)  # a fifth
    torch.testing.assert_close(alone(other).tensor, torch.full((3, 2, 5), -0.2))
    # Of another size there is nothing to say: the network is given what it is given.
    assert alone(np.zeros((7, 7, 3), np.uint8)).shape == (2, 5)


@pytest.mark.parametrize('channels', [1, 4])
def test_other_numbers_of_channels_are_grey(channels):
    tensor = torch.rand(channels, 6, 7)
    alone = InputAlone(tensor)
    assert (alone.picture == alone.picture[:, :, :1]).all()
    assert torch.equal(alone(alone.picture).tensor, tensor)
    assert alone(np.zeros((6, 7, 3), np.uint8)).tensor.shape == (channels, 6, 7)


def test_one_value_and_none_that_is_finite():
    assert (InputAlone(torch.full((3, 2, 2), 5.0)).picture == 0).all()
    assert InputAlone(torch.full((3, 2, 2), float('nan'))).picture.shape == (2, 2, 3)


@pytest.mark.parametrize('given', [torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8), 'a.jpg'])
def test_what_is_no_network_input(given):
    with pytest.raises(GeometryError, match='the network input: got'):
        InputAlone(given)
