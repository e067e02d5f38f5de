"""Semantic segments on the original, with values worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featmap.models.outputs.segments import class_planes
from tests.test_models.test_outputs import CROPPED, FLIPPED, HEIGHT, LETTERBOXED, NAMES, WIDTH, read


def halves(rows: int, columns: int, left: int = 1, right: int = 2, count: int = 3) -> torch.Tensor:
    """Scores of classes of which one wins in the left half, and another in the right."""
    planes = torch.zeros(1, count, rows, columns)
    planes[0, left, :, : columns // 2] = 5
    planes[0, right, :, columns // 2 :] = 5
    return planes


def labels_in(found) -> np.ndarray:
    """The class of each pixel; -1 for none."""
    return np.array([-1, *found.segments.labels])[found.segments.numbers]


EXPECTED = np.repeat([[1] * (WIDTH // 2) + [2] * (WIDTH // 2)], HEIGHT, axis=0)


@pytest.mark.parametrize(
    ('output', 'reader'),
    [
        (halves(HEIGHT, WIDTH), {}),
        ({'out': halves(HEIGHT, WIDTH), 'aux': halves(HEIGHT, WIDTH, 0, 0)}, {}),
        (SimpleNamespace(logits=halves(HEIGHT // 4, WIDTH // 4)), {}),
        (SimpleNamespace(logits=halves(HEIGHT // 4, WIDTH // 4).half()), {'classes': ()}),
        (halves(HEIGHT, WIDTH).bfloat16(), {'classes': (), 'task': 'segmentation'}),
    ],
)
def test_the_highest_class_of_each_pixel(output, reader):
    found = read(output, **reader)
    np.testing.assert_array_equal(labels_in(found), EXPECTED)
    assert (found.kind, found.segments.kind, found.count) == ('', 'semantic', '2 classes')
    assert len(found) == 0


def test_planes_of_any_number_are_compared_in_parts():
    planes = torch.rand(1, 50, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    planes[0, 49] = planes[0, 3]  # of equal ones the first
    np.testing.assert_array_equal(
        labels_in(read(planes, classes=(), task='segmentation')), planes[0].argmax(dim=0).numpy()
    )


def test_scores_are_interpolated_before_they_are_compared():
    """Two cells of 4 and 1 against 0 and 2: 4 - 3t = 2t at t = 0.8, which is 2.6 of 4 pixels from the left."""
    planes = torch.tensor([[[[4.0, 1.0]], [[0.0, 2.0]], [[-9.0, -9.0]]]])
    found = read(SimpleNamespace(logits=planes))
    # From centre to centre are 20 pixels: 10 + 16 are of the first.
    np.testing.assert_array_equal(labels_in(found)[0], [0] * 26 + [1] * 14)


def test_they_lie_where_the_image_does():
    planes = halves(80, 80)
    planes[0, 0, :20] = planes[0, 0, 60:] = 9  # the padding
    np.testing.assert_array_equal(labels_in(read(planes, LETTERBOXED)), EXPECTED)
    np.testing.assert_array_equal(labels_in(read(planes, FLIPPED)), EXPECTED[:, ::-1])
    cropped = labels_in(read(halves(20, 20), CROPPED))
    np.testing.assert_array_equal(cropped[:, 10:30], EXPECTED[:, 10:30])
    assert (cropped[:, :10] == -1).all()
    assert (cropped[:, 30:] == -1).all()


def test_a_background_is_not_coloured():
    found = read(halves(HEIGHT, WIDTH, 0, 1), classes=('__background__', 'cat', 'dog'))
    np.testing.assert_array_equal(labels_in(found)[:, :20], -1)
    np.testing.assert_array_equal(labels_in(found)[:, 20:], 1)


@pytest.mark.parametrize(('low', 'high'), [(-3.0, 0.1), (0.4, 0.6)])
def test_a_single_plane_is_one_class_against_none(low, high):
    plane = torch.full((1, 1, HEIGHT, WIDTH), low)
    plane[..., 5:9, :7] = high
    found = labels_in(read(plane, classes=('lesion',)))
    assert (found[5:9, :7] == 0).all()
    assert (found == 0).sum() == 28


def test_mask_queries():
    """Two queries: the left half is surely a dog, the right a fox rather than a dog; a third is nothing."""
    names = torch.tensor([[(0.05, 0.9, 0.0, 0.05), (0.1, 0.3, 0.5, 0.1), (0.0, 0.1, 0.0, 0.9)]])
    masks = torch.full((1, 3, HEIGHT, WIDTH), -20.0)
    masks[0, 0, :, :20] = masks[0, 1, :, 20:] = 20
    masks[0, 2] = 20
    output = SimpleNamespace(class_queries_logits=names.clamp(min=1e-9).log(), masks_queries_logits=masks)
    np.testing.assert_array_equal(labels_in(read(output)), EXPECTED)
    planes = class_planes(output, 1, len(NAMES), False)
    np.testing.assert_allclose(planes[0, :, 2, 2], [0.05, 1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(planes[0, :, 2, 27], [0.1, 0.4, 0.5], atol=1e-6)
    assert read(SimpleNamespace(class_queries_logits=names, masks_queries_logits=masks[:, :2])) is None
