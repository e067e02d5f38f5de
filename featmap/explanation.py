"""``Explanation``: which part of an image made a model answer so, by one method, with what it is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from featmap.fusing import fused, on_image
from featmap.geometry import Cells
from featmap.structures import FeatureMap

if TYPE_CHECKING:
    from featmap.targets.trace import Trace


@dataclass(frozen=True, repr=False)
class Explanation:
    """What speaks for one target.

    Attributes:
        label: What is explained: ``box 0 · dog 0.87``.
        method: How, by its name in EXPLAINERS.
        maps: The heat of each layer that was asked, at its own resolution: one plane each, of 0 to 1.
        trace: The raw prediction that the target is the answer of; None where it is of none, or of several.
        box: (4,) x1 y1 x2 y2 in pixels of the original; None where it has no box.
        score: The target's score.
        class_index: Its class; None where it has none.
        index: Its rank among the detections; None where it is none.
        region: (H, W) bool, the part of a segmentation that is explained.
        part: What of a detection: its score, a side, …
        notes: What has to be known of it: why it was missed, how far a map has converged.
        fuse: How the maps became one.
        class_agnostic: Whether the method shows the same whatever is explained.
        faithfulness: How well it holds, where that was measured.
    """

    label: str
    method: str
    maps: tuple[FeatureMap, ...]
    trace: Trace | None = None
    box: np.ndarray | None = None
    score: float = 0.0
    class_index: int | None = None
    index: int | None = None
    region: np.ndarray | None = None
    part: str = 'score'
    notes: tuple[str, ...] = ()
    fuse: str = 'mean'
    class_agnostic: bool = False
    faithfulness: Any = field(default=None, compare=False)

    @property
    def heat(self) -> np.ndarray:
        """(H, W) float32 of 0 to 1 on the original image: the maps, fused. Made anew each time it is asked for."""
        return self.heat_on(self.maps[0].geometry.image_shape)

    def heat_on(self, shape: tuple[int, int]) -> np.ndarray:
        """The same on the image in another size, of this height and width."""
        planes = [
            on_image(item.values[0], Cells(item.stride, item.offset), item.geometry.resized(shape))
            for item in self.maps
        ]
        return planes[0] if len(planes) == 1 else fused(planes, self.fuse)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers' outputs that were asked; of what was asked of the network input alone ``input``."""
        return tuple(item.name for item in self.maps)

    @property
    def headline(self) -> str:
        """What is explained, and the raw prediction behind it."""
        return self.label + (f' ← {self.trace}' if self.trace is not None else '')

    def __repr__(self) -> str:
        """One line: the target, its trace, the method, the layers."""
        return f'<Explanation of {self.headline} by {self.method} on {", ".join(self.layers)}>'
