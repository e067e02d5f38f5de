"""Instance masks and segments: what goes in comes out, in little memory, and through any window."""

from __future__ import annotations

import numpy as np
import pytest

from featmap.masks import Masks, Segments
from featmap.structures import Detections


def noise(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, height, width)) < 0.3


class TestMasks:
    @pytest.mark.parametrize('size', [(1, 1), (7, 9), (8, 16), (33, 20)])
    def test_what_goes_in_comes_out(self, size: tuple[int, int]) -> None:
        given = noise(5, *size)
        given[1, : size[0] // 2] = False  # windows of several sizes
        given[3] = False
        kept = Masks.of(given, size)
        assert len(kept) == 5
        for index in range(5):
            np.testing.assert_array_equal(kept.whole(index), given[index])

    def test_a_window_is_the_box_around_a_mask(self) -> None:
        given = np.zeros((2, 20, 30), dtype=bool)
        given[0, 5:9, 10:14] = True
        given[0, 8, 28] = True
        kept = Masks.of(given, (20, 30))
        assert kept.windows.tolist() == [[10, 5, 29, 9], [0, 0, 0, 0]]
        assert kept.part(0).shape == (4, 19)
        assert kept.part(1).shape == (0, 0)

    def test_none_at_all(self) -> None:
        kept = Masks.of(iter(()), (4, 5))
        assert (len(kept), kept.windows.shape, kept.bits.shape) == (0, (0, 4), (0,))
        assert len(kept.seen((0, 0, 5, 4), (8, 10))) == 0

    def test_fifty_masks_of_twelve_megapixels_take_a_few(self) -> None:
        mask = np.zeros((3000, 4000), dtype=bool)
        mask[500:1100, 800:1800] = True
        kept = Masks.of((mask for _ in range(50)), mask.shape)
        assert kept.bits.nbytes + kept.windows.nbytes < 4e6

    def test_a_window_of_the_image_at_its_own_size(self) -> None:
        given = noise(3, 30, 40)
        seen = Masks.of(given, (30, 40)).seen((7, 3, 31, 20), (17, 24))
        for index in range(3):
            np.testing.assert_array_equal(seen.whole(index), given[index, 3:20, 7:31])

    @pytest.mark.parametrize('factor', [2, 3])
    def test_enlarged_and_made_smaller(self, factor: int) -> None:
        given = noise(2, 12, 15)
        large = given.repeat(factor, 1).repeat(factor, 2)
        seen = Masks.of(given, (12, 15)).seen((0, 0, 15, 12), large.shape[1:])
        back = Masks.of(large, large.shape[1:]).seen((0, 0, large.shape[2], large.shape[1]), (12, 15))
        for index in range(2):
            np.testing.assert_array_equal(seen.whole(index), large[index])
            np.testing.assert_array_equal(back.whole(index), given[index])

    def test_the_whole_image_is_not_copied(self) -> None:
        kept = Masks.of(noise(1, 6, 8), (6, 8))
        assert kept.seen((0, 0, 8, 6), (6, 8)) is kept

    @pytest.mark.parametrize(
        ('windows', 'count', 'said'),
        [
            ([[0, 0, 9, 4]], 5, 'beyond the image of 4x8'),
            ([[0, 0, 8, 5]], 5, 'beyond the image'),
            ([[-1, 0, 8, 4]], 5, 'beyond the image'),
            ([[4, 0, 2, 4]], 0, 'beyond the image'),
            ([[0, 0, 8, 4]], 3, '4 bytes of masks expected'),
            ([[0, 0, 8]], 3, 'whole numbers'),
            ([[0.5, 0, 8, 4]], 4, 'whole numbers'),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, windows: list, count: int, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            Masks((4, 8), np.array(windows), np.zeros(count, np.uint8))


def by_hundreds(numbers: np.ndarray) -> np.ndarray:
    """Classes 0 to 4; 9 is nothing."""
    return np.where(numbers % 100 == 9, -1, numbers % 100)


class TestSegments:
    IDS = np.array([[103, 103, 203, 9], [103, 4, 203, 9]], np.int32)

    @pytest.mark.parametrize('factor', [1, 1_000_000])  # looked up, and sorted
    def test_numbers_of_any_size_become_small_ones(self, factor: int) -> None:
        ids = self.IDS.astype(np.int64) * 100 * factor + self.IDS % 100
        found = Segments.of(ids, by_hundreds, 'panoptic')
        assert found.labels == (4, 3, 3)
        assert found.numbers.dtype == np.uint8
        assert found.numbers.tolist() == [[2, 2, 3, 0], [2, 1, 3, 0]]
        assert found.areas == (1, 3, 2)
        assert list(found.classes()) == [(3, 2, 5 / 8), (4, 1, 1 / 8)]
        assert found.count == '3 segments of 2 classes'

    def test_negative_numbers_and_many_segments(self) -> None:
        ids = np.arange(-100, 500).reshape(20, 30)
        found = Segments.of(ids, lambda numbers: np.where(numbers < 0, -1, numbers), 'semantic')
        assert found.numbers.dtype == np.uint16
        assert found.labels == tuple(range(500))
        np.testing.assert_array_equal(found.numbers.ravel(), [0] * 100 + list(range(1, 501)))
        assert found.count == '500 classes'

    def test_nothing_but_nothing(self) -> None:
        found = Segments.of(np.full((2, 3), 9), by_hundreds, 'semantic')
        assert (found.labels, found.count, list(found.classes())) == ((), '0 classes', [])

    def test_one_class(self) -> None:
        assert Segments.of(np.ones((2, 2), int), by_hundreds, 'semantic').count == '1 class'

    def test_a_window_enlarged(self) -> None:
        found = Segments.of(self.IDS, by_hundreds, 'panoptic')
        seen = found.seen((1, 0, 3, 2), (4, 4))
        assert seen.numbers.tolist() == [[2, 2, 3, 3]] * 2 + [[1, 1, 3, 3]] * 2
        assert seen.labels == found.labels
        assert seen.count == '3 segments of 2 classes'
        assert found.seen((0, 0, 4, 2), (2, 4)) is found

    @pytest.mark.parametrize(
        ('numbers', 'kind'),
        [(np.full((2, 2), 2, np.uint8), 'semantic'), (np.ones((2, 2), np.int64), 'semantic'),
         (np.ones(4, np.uint8), 'semantic'), (np.ones((2, 2), np.uint8), 'other')],
    )  # fmt: skip
    def test_what_does_not_go_together_is_refused(self, numbers: np.ndarray, kind: str) -> None:
        with pytest.raises(ValueError, match='segments'):
            Segments(numbers, (5,), kind)


def test_they_say_what_they_are_on_one_line():
    masks = Masks.of(noise(3, 4, 5), (4, 5))
    segments = Segments.of(TestSegments.IDS, by_hundreds, 'panoptic')
    assert repr(masks) == '<Masks: 3 of 4x5>'
    assert repr(segments) == '<Segments: 3 segments of 2 classes, 2x4>'
    assert repr(Detections(masks=masks, segments=segments)) == ('<Detections: 3 segments of 2 classes · 0 detections>')
