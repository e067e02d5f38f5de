"""What the user gets for one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featmap.sinks import exact_file, save_image
from featmap.structures import Detections, FeatureMap, Rendering


@dataclass(frozen=True)
class Result:
    """All that came of one image.

    Attributes:
        name: Where the image came from.
        rendering: The picture and the places of its panels.
        maps: The reduced maps.
        predictions: The detections that are drawn; None where they were not asked for.
    """

    name: str
    rendering: Rendering
    maps: tuple[FeatureMap, ...]
    predictions: Detections | None

    @property
    def image(self) -> np.ndarray:
        """The picture, (H, W, 3) RGB uint8."""
        return self.rendering.image

    def save(self, path: str | Path) -> Path:
        """Write the picture and return its path; the suffix chooses the format, none means PNG."""
        target = exact_file(path)
        save_image(self.image, target)
        return target
