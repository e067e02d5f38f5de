"""What is handed from room to room: frozen dataclasses that carry where their numbers come from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featmap.classification import Classification
from featmap.errors import DrawError
from featmap.geometry import ImageGeometry, Offset, Stride, View
from featmap.masks import Masks, Segments
from featmap.notebook import screen_png
from featmap.tokens import Tokens

if TYPE_CHECKING:
    import torch


MOST_GROUPS = 256
"""No map is cut into more segments."""
KINDS = ('heat', 'image', 'segments', 'concepts')
"""Planes each on a colour scale; one grey or RGB picture of 1 or 3 planes; one plane of numbers without order; planes
of non-negative parts, which also make one picture of the strongest."""


@dataclass(frozen=True)
class Reduction:
    """What a reducer makes of a layer's (C, h, w) features.

    Attributes:
        values: (K, h, w) float32, on the features' device.
        channels: The feature channel that each plane shows; None where a plane is made of several. Numbers that were
            found on a device may stay there as a tensor.
        kind: How the planes are drawn, see :data:`KINDS`.
        names: What each plane shows, where that is no channel.
        ranges: A (low, high) for each plane, where the reducer knows what the colours should stand for.
        magnitude: A scalar on the features' device: the size of what the values were added up from, where terms
            cancel and the values do not tell it.
        sums: What the channels were ranked by: (K,), or one more for the best of those that were not chosen.
        ranking: What these are sums of, for a label.
    """

    values: torch.Tensor
    channels: tuple[int | None, ...] | torch.Tensor
    kind: str = 'heat'
    names: tuple[str, ...] = ()
    ranges: tuple[tuple[float, float], ...] = ()
    magnitude: torch.Tensor | None = None
    sums: torch.Tensor | None = None
    ranking: str = 'sum'


@dataclass(frozen=True, repr=False)
class FeatureMap:
    """One output of one call of one layer, reduced, with the place where it belongs.

    Attributes:
        values: (K, h, w) float32 planes at the layer's own resolution.
        layer: The layer's name, a pattern resolved.
        shape: (C, h, w) of what the layer put out.
        stride: ``(sy, sx)``, network input pixels per cell.
        geometry: How the original image lies in the network input.
        path: Where in a nested output the map was found, such as ``[0]``; empty for a plain tensor.
        call: Which call of the layer in this forward, from 0.
        calls: How often the layer was called in this forward.
        reducer: Name of the reducer.
        channels: The channel that each plane shows, or None.
        kind: How the planes are drawn, see :data:`KINDS`.
        names: What each plane shows, where that is no channel.
        ranges: A (low, high) for each plane, where the reducer fixed what the colours stand for.
        meaning: Which output of a head this is, such as ``cls P3``; empty for other layers.
        noise: For each plane, how far apart its values may be by rounding alone; empty where that is not known.
        why: For each plane, why this channel was chosen; empty where it was not for what is in it.
        note: What has to be known of all values, such as ``random weights``.
        features: The full (C, h, w) output, where it was asked for.
        offset: ``(oy, ox)`` in cells: cell ``i`` of an axis is centred on ``(i + 0.5 + o) · stride`` of the input.
            Whole numbers are cells that convolutions without padding took away; a fraction is measured.
        stride_known: Whether the stride comes of the operations that made the map, and not of its size.
        query: The position in the original, ``(x, y)``, that was asked about and is marked; None for none.
        pca: The same output as the picture of its three leading components; None where it was not asked for.
        tokens: Of which tokens the map was made; None where the layer put out a map.
    """

    values: np.ndarray
    layer: str
    shape: tuple[int, int, int]
    stride: Stride
    geometry: ImageGeometry
    path: str = ''
    call: int = 0
    calls: int = 1
    reducer: str = ''
    channels: tuple[int | None, ...] = ()
    kind: str = 'heat'
    names: tuple[str, ...] = ()
    ranges: tuple[tuple[float, float], ...] = ()
    meaning: str = ''
    noise: tuple[float, ...] = ()
    why: tuple[str, ...] = ()
    note: str = ''
    features: np.ndarray | None = None
    offset: Offset = (0.0, 0.0)
    stride_known: bool = True
    query: tuple[float, float] | None = None
    pca: FeatureMap | None = None
    tokens: Tokens | None = None

    def __post_init__(self) -> None:
        wrong = self._wrong()
        if wrong:
            raise DrawError(f'a feature map of {self.layer!r}: {wrong}')

    def _wrong(self) -> str:
        """What could not be drawn; a map may be of a caller's own making."""
        values = self.values
        if not isinstance(values, np.ndarray) or values.dtype.kind != 'f' or values.ndim != 3 or not len(values):
            given = f'{values.dtype} {values.shape}' if isinstance(values, np.ndarray) else type(values).__name__
            hint = ': .detach().cpu().numpy() makes an array of it' if hasattr(values, 'detach') else ''
            return f'expected values of (K, h, w) floats, got {given}{hint}'
        if len(self.shape) != 3 or values.shape[1:] != tuple(self.shape[1:]):
            return f'values of {values.shape} for a shape (C, h, w) of {self.shape}'
        if not isinstance(self.geometry, ImageGeometry):
            return f'expected an ImageGeometry, got {type(self.geometry).__name__}'
        for name in ('stride', 'offset'):
            if np.shape(getattr(self, name)) != (2,):
                return f'expected two numbers as the {name}, vertical first, got {getattr(self, name)!r}'
        if not all(0 < step < math.inf for step in self.stride) or not all(map(math.isfinite, self.offset)):
            return f'a stride of {self.stride} and an offset of {self.offset}: expected finite numbers, strides above 0'
        for name in ('channels', 'ranges', 'noise', 'why'):
            if len(getattr(self, name)) not in (0, len(values)):
                return f'{len(getattr(self, name))} {name} for {len(values)} planes'
        if self.kind not in KINDS or (self.kind == 'image' and len(values) not in (1, 3)):
            return f'{len(values)} planes of kind {self.kind!r}, expected one of {", ".join(KINDS)}; 1 or 3 of image'
        if self.kind == 'segments' and not ((values >= 0) & (values < MOST_GROUPS) | np.isnan(values)).all():
            return f'groups of other numbers than 0 to {MOST_GROUPS - 1}'
        return ''

    @property
    def name(self) -> str:
        """Layer, call where there are several, and output path: ``bbox_head.cls_convs.0#2[1]``."""
        return self.layer + (f'#{self.call}' if self.calls > 1 else '') + self.path

    @property
    def content(self) -> np.ndarray:
        """The (K, h', w') part of the values that lies on image content."""
        rows, columns = self.geometry.content_cells(self.shape[1:], self.stride, self.offset)
        return self.values[:, rows, columns]

    def check_image(self, image: np.ndarray) -> None:
        """Raise DrawError where an (H, W, 3) image is not of the size of the one that the map was computed from."""
        if self.geometry.image_shape != image.shape[:2]:
            raise DrawError(
                f'{self.name} belongs to an image of {self.geometry.image_shape}, got one of {image.shape[:2]}'
            )

    def __repr__(self) -> str:
        """One line: name, reducer, C×h×w, stride, number of planes."""
        (channels, rows, columns), (sy, sx) = self.shape, self.stride
        stride = f'{sy:.3g}' if sy == sx else f'{sy:.3g}×{sx:.3g}'
        count = f'{len(self)} plane{"s" * (len(self) != 1)}'
        reducer = f' by {self.reducer}' if self.reducer else ''
        return f'<FeatureMap {self.name}{reducer}: {channels}×{rows}×{columns}, stride {stride}, {count}>'

    def __len__(self) -> int:
        """The number of planes."""
        return len(self.values)


@dataclass(frozen=True, repr=False)
class Detections:
    """What the model found, in original pixels.

    Attributes:
        boxes: (N, 4) x1 y1 x2 y2; where the model gives masks alone, the boxes around them.
        scores: (N,).
        labels: (N,) class numbers.
        classes: The classes' names.
        palette: The classes' RGB colours, as the data set has them; empty where it has none.
        masks: N instance masks; None where the model gives none.
        segments: A panoptic or semantic result; None where the model gives none.
        kind: What the boxes are: ``detection``, ``instance``, ``proposal``; empty where the model gives none.
        boxed: Whether the boxes are the model's own.
        undrawn: What else the model gives, and is not drawn, such as ``keypoints``.
        classification: The best classes of the whole image; None where the model gives none.
    """

    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    masks: Masks | None = None
    segments: Segments | None = None
    kind: str = 'detection'
    boxed: bool = True
    undrawn: tuple[str, ...] = ()
    classification: Classification | None = None

    def __repr__(self) -> str:
        """One line: the best classes of the image, how many boxes of each class."""
        names = Counter(self.name(index) for index in range(len(self)))
        told = ', '.join(f'{n} {name}' for name, n in names.items())
        return f'<Detections: {self._count(None, None)}{": " * bool(names)}{told}>'

    def __len__(self) -> int:
        """The number of boxes."""
        return len(self.boxes)

    @property
    def count(self) -> str:
        """What there is, for a label: ``tench 93.2%``, ``3 instances``, ``5 segments of 2 classes``."""
        return self.count_in(None)

    def count_in(self, view: View | None) -> str:
        """As :attr:`count`, and how many of the boxes a view shows where that is not all: ``3 of 19 detections``."""
        return self._count(view, 1)

    def _count(self, view: View | None, best: int | None) -> str:
        parts = [] if self.classification is None else [self.classification.brief(self.classes, best)]
        parts += [self.segments.count] if self.segments is not None else []
        if self.kind:
            shown = len(self) if view is None else int(view.shows(self.boxes).sum())
            some = '' if shown == len(self) else f'{shown} of '
            parts.append(f'{some}{len(self)} {self.kind}{"s" * (len(self) != 1)}')
        parts += [f'{what} not drawn' for what in self.undrawn]
        return ' · '.join(parts) or 'no result that is drawn'

    def class_name(self, label: int) -> str:
        """The name of a class, or its number where the model names no classes."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)

    def seen(self, view: View) -> Detections:
        """Those that reach into a view, in pixels of its panel."""
        shown = np.flatnonzero(view.shows(self.boxes))
        masks, segments = self.masks, self.segments
        return replace(
            self,
            boxes=view.boxes(self.boxes[shown]),
            scores=self.scores[shown],
            labels=self.labels[shown],
            masks=None if masks is None else masks.seen(view.window, view.shape, shown),
            segments=None if segments is None else segments.seen(view.window, view.shape),
        )

    def name(self, index: int) -> str:
        """The class name of box ``index``, or its number where the model names no classes."""
        return self.class_name(int(self.labels[index]))


@dataclass(frozen=True)
class GroundTruth:
    """What an image is labelled with.

    Attributes:
        boxes: (N, 4) x1 y1 x2 y2 in original pixels.
        labels: (N,) class numbers of the model.
        crowd: (N,) whether a box is of many objects that are not told apart.
        ignored: (N,) whether a box counts neither as found nor as missed; crowds never do.
        left_out: How many boxes are of classes that the model does not have, and are not among these.
    """

    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    crowd: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    ignored: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    left_out: int = 0

    def __len__(self) -> int:
        """The number of boxes."""
        return len(self.boxes)


@dataclass(frozen=True)
class Panel:
    """Where one map's plane stands in a picture: x, y, width and height in pixels, and its label."""

    x: int
    y: int
    width: int
    height: int
    label: str


@dataclass(frozen=True, repr=False)
class Rendering:
    """A finished picture: (H, W, 3) RGB uint8, and its panels in drawing order, the original first."""

    image: np.ndarray
    panels: tuple[Panel, ...]

    def __repr__(self) -> str:
        """One line: its size and the number of panels."""
        height, width = self.image.shape[:2]
        return f'<Rendering {width}×{height} of {len(self.panels)} panels>'

    def _repr_png_(self) -> bytes:
        return screen_png(self.image)


def check_drawable(image: Any, maps: Any, detections: Any = None) -> None:
    """Raise DrawError unless these are an (H, W, 3) RGB uint8 image, feature maps, and detections or None."""
    shaped = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.size
    if not shaped or image.shape[2] != 3:
        given = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise DrawError(f'{given} was given as the image: expected an array of (H, W, 3) RGB and uint8')
    if not isinstance(maps, Sequence) or not all(isinstance(item, FeatureMap) for item in maps):
        raise DrawError(f'{type(maps).__name__} was given as the maps: expected a list of FeatureMap')
    if not isinstance(detections, (Detections, type(None))):
        raise DrawError(f'{type(detections).__name__} was given as the detections: expected Detections or None')
