"""Which pixels belong to what the model found, in little memory: instance masks, and segments of a whole image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Window = tuple[int, int, int, int]
"""Left, top, right and bottom, in whole pixels of the original; right and bottom are the first outside."""


@dataclass(frozen=True, eq=False, repr=False)
class Masks:
    """Instance masks of an image, a bit for each pixel of the box around each: 50 of 12 megapixels take a few MB.

    Attributes:
        shape: Height and width of the image.
        windows: (N, 4) int32, the box around each mask: left, top, right, bottom; zeros for an empty mask.
        bits: (B,) uint8, the windows' pixels row by row, eight to a byte; each mask begins a new byte.

    Raises:
        ValueError: where the three do not go together.
    """

    shape: tuple[int, int]
    windows: np.ndarray
    bits: np.ndarray

    def __post_init__(self) -> None:
        height, width = self.shape
        windows = np.asarray(self.windows)
        if windows.ndim != 2 or windows.shape[1] != 4 or windows.dtype.kind not in 'iu':
            raise ValueError(f'windows of masks are whole numbers (N, 4), got {windows.dtype} {windows.shape}')
        left, top, right, bottom = windows.astype(np.int64).T
        if (
            not ((left >= 0) & (left <= right) & (right <= width) & (top >= 0) & (top <= bottom)).all()
            or (bottom > height).any()
        ):
            raise ValueError(f'a window of a mask reaches beyond the image of {height}x{width}')
        if self.bits.dtype != np.uint8 or self.bits.shape != (self._starts[-1],):
            raise ValueError(f'{self._starts[-1]} bytes of masks expected, got {self.bits.dtype} {self.bits.shape}')

    @classmethod
    def of(cls, masks: Iterable[np.ndarray], shape: tuple[int, int]) -> Masks:
        """From (H, W) bool masks of an image of this shape; one is looked at after the other."""
        windows, bits = [], []
        for mask in masks:
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            left, top, right, bottom = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else (0,) * 4
            windows.append((left, top, right, bottom))
            bits.append(np.packbits(mask[top:bottom, left:right]))
        return cls(
            shape,
            np.array(windows, np.int32).reshape(-1, 4),
            np.concatenate(bits) if bits else np.zeros(0, np.uint8),
        )

    @cached_property
    def _starts(self) -> np.ndarray:
        """Where each mask's bytes begin, and where the last one's end: (N + 1,)."""
        left, top, right, bottom = np.asarray(self.windows, np.int64).T
        return np.concatenate([[0], np.cumsum(-(-(right - left) * (bottom - top) // 8))])

    def __len__(self) -> int:
        """The number of masks."""
        return len(self.windows)

    def __repr__(self) -> str:
        """On one line, without the pixels."""
        return f'<Masks: {len(self)} of {self.shape[0]}x{self.shape[1]}>'

    def part(self, index: int) -> np.ndarray:
        """What lies in the window of mask ``index``: (h, w) bool."""
        left, top, right, bottom = (int(edge) for edge in self.windows[index])
        packed = self.bits[self._starts[index] : self._starts[index + 1]]
        size = (bottom - top, right - left)
        return np.unpackbits(packed, count=size[0] * size[1]).reshape(size).astype(bool)

    def whole(self, index: int) -> np.ndarray:
        """Mask ``index`` over the image: (H, W) bool."""
        left, top, right, bottom = self.windows[index]
        mask = np.zeros(self.shape, dtype=bool)
        mask[top:bottom, left:right] = self.part(index)
        return mask

    def seen(self, window: Window, shape: tuple[int, int], which: Sequence[int] | np.ndarray | None = None) -> Masks:
        """The masks in a window of the image that is drawn in this height and width; pixels are taken as they are.

        ``which`` are the numbers of the masks to take; None takes all.
        """
        which = range(len(self)) if which is None else which
        if window == (0, 0, self.shape[1], self.shape[0]) and shape == self.shape and len(which) == len(self):
            return self
        rows, columns = _pixels(window, shape)
        return Masks.of((self._drawn(int(index), rows, columns) for index in which), shape)

    def _drawn(self, index: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        left, top, right, bottom = self.windows[index]
        mask = np.zeros((len(rows), len(columns)), dtype=bool)
        down, across = np.searchsorted(rows, (top, bottom)), np.searchsorted(columns, (left, right))
        inside = np.ix_(rows[slice(*down)] - top, columns[slice(*across)] - left)
        mask[slice(*down), slice(*across)] = self.part(index)[inside]
        return mask


@dataclass(frozen=True, eq=False, repr=False)
class Segments:
    """What each pixel of an image belongs to, by a panoptic or semantic result.

    Attributes:
        numbers: (H, W) uint8 or uint16: 0 for nothing, else the number of a segment, counted from 1.
        labels: The class of each segment. A semantic result has one segment a class.
        kind: ``panoptic`` or ``semantic``.

    Raises:
        ValueError: where a number has no class.
    """

    numbers: np.ndarray
    labels: tuple[int, ...]
    kind: str = 'semantic'

    def __post_init__(self) -> None:
        if self.numbers.ndim != 2 or self.numbers.dtype not in (np.uint8, np.uint16):
            raise ValueError(f'segments are uint8 or uint16 (H, W), got {self.numbers.dtype} {self.numbers.shape}')
        if self.kind not in ('panoptic', 'semantic') or self.numbers.max(initial=0) > len(self.labels):
            raise ValueError(f'{self.kind} segments up to {self.numbers.max(initial=0)} of {len(self.labels)} classes')

    @classmethod
    def of(cls, ids: np.ndarray, classes_of: Callable[[np.ndarray], np.ndarray], kind: str) -> Segments:
        """From (H, W) whole numbers of any size.

        Args:
            ids: A number for each pixel.
            classes_of: From distinct numbers (K,) to their classes (K,); below 0 for nothing.
            kind: See the class.
        """
        first, last = int(ids.min(initial=0)), int(ids.max(initial=0))
        if last - first < 1 << 22:  # looking up is quicker than sorting
            index = (ids - first).astype(np.int64)
            distinct = np.flatnonzero(np.bincount(index.ravel(), minlength=1))
            lookup = np.zeros(last - first + 1, np.int64)
            lookup[distinct] = np.arange(len(distinct))
            index, distinct = lookup[index], distinct + first
        else:
            distinct, index = np.unique(ids, return_inverse=True)
        labels = classes_of(distinct)
        real = labels >= 0
        kept = tuple(int(label) for label in labels[real])
        numbers = np.zeros(len(labels), np.uint8 if len(kept) < 256 else np.uint16)
        numbers[real] = np.arange(1, len(kept) + 1)
        return cls(numbers[index.reshape(ids.shape)], kept, kind)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.numbers.shape[0], self.numbers.shape[1]

    @cached_property
    def areas(self) -> tuple[int, ...]:
        """The pixels of each segment."""
        counts = np.bincount(self.numbers.ravel(), minlength=len(self.labels) + 1)
        return tuple(int(count) for count in counts[1:])

    def classes(self) -> Iterator[tuple[int, int, float]]:
        """Each class that can be seen, the largest first: label, number of segments, share of the image (0 to 1)."""
        found: dict[int, list[int]] = {}
        for label, area in zip(self.labels, self.areas):
            if area:
                found.setdefault(label, []).append(area)
        for label, areas in sorted(found.items(), key=lambda item: -sum(item[1])):
            yield label, len(areas), sum(areas) / max(self.numbers.size, 1)

    def __repr__(self) -> str:
        """On one line, without the pixels."""
        return f'<Segments: {self.count}, {self.shape[0]}x{self.shape[1]}>'

    @property
    def count(self) -> str:
        """How many there are, for a label."""
        found = list(self.classes())
        classes = f'{len(found)} class{"es" * (len(found) != 1)}'
        if self.kind == 'semantic':
            return classes
        segments = sum(count for _, count, _ in found)
        return f'{segments} segment{"s" * (segments != 1)} of {classes}'

    def seen(self, window: Window, shape: tuple[int, int]) -> Segments:
        """The segments in a window of the image that is drawn in this height and width."""
        if window == (0, 0, self.shape[1], self.shape[0]) and shape == self.shape:
            return self
        return Segments(self.numbers[np.ix_(*_pixels(window, shape))], self.labels, self.kind)


def _pixels(window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column of the image that is drawn at each row and column of a window's picture."""
    left, top, right, bottom = window
    rows = top + (np.arange(shape[0]) + 0.5) * (bottom - top) / shape[0]
    columns = left + (np.arange(shape[1]) + 0.5) * (right - left) / shape[1]
    return np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
